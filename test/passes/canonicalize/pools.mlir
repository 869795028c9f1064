// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=seq=3..8" -snug-verify-canonical | FileCheck %s -enable-var-scope

// A window is a reduction over the input with its pads; its extents stand in a constant that is not read.
// CHECK-DAG: #[[$IN:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2 + d3, d5 * 2 + d4)>
// CHECK-DAG: #[[$WINDOW:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d3, d4)>
// CHECK-DAG: #[[$OUT:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2, d5)>
// CHECK-LABEL: func.func @main
// CHECK-SAME: -> (tensor<1x3x?x5xf32>
// CHECK: %[[LOW:.*]] = arith.constant 0xFF800000 : f32
// CHECK: %[[FILLED:.*]] = linalg.fill ins(%[[LOW]] : f32) {{.*}} -> tensor<1x3x?x10xf32>
// CHECK: %[[PADDED:.*]] = tensor.insert_slice %arg0 into %[[FILLED]][0, 0, 1, 0]
// CHECK: linalg.generic {indexing_maps = [#[[$IN]], #[[$WINDOW]], #[[$OUT]]], iterator_types = ["parallel", "parallel", "parallel", "reduction", "reduction", "parallel"]}
// CHECK-SAME: ins(%[[PADDED]], %{{.*}} : tensor<1x3x?x10xf32>, tensor<3x2xf32>)
// CHECK: arith.maximumf
// CHECK-NOT: linalg.generic
module {
  func.func @main(%x: tensor<1x3x?x9xf32> {snug.name = "x", snug.dims = ["1", "3", "seq", "9"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "MaxPool"(%x) {kernel_shape = array<i64: 3, 2>, strides = array<i64: 1, 2>, pads = array<i64: 1, 0, 1, 1>} opset 12 : (tensor<1x3x?x9xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Pads do not count in a mean: at the borders a window is cut to the input.
// CHECK-LABEL: func.func @main
// CHECK: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: linalg.fill ins(%[[ZERO]] : f32)
// CHECK: %[[SUM:.*]] = linalg.generic
// CHECK: arith.addf
// CHECK: linalg.generic {{.*}} ins(%[[SUM]] :
// CHECK: ^bb0(%[[IN:.*]]: f32, %{{.*}}: f32):
// CHECK: linalg.index 2
// CHECK: %[[END:.*]] = arith.minsi
// CHECK: %[[BEGIN:.*]] = arith.maxsi
// CHECK: arith.subi %[[END]], %[[BEGIN]]
// CHECK: linalg.index 3
// CHECK: %[[COUNT:.*]] = arith.sitofp
// CHECK: arith.divf %[[IN]], %[[COUNT]]
module {
  func.func @main(%x: tensor<1x3x?x9xf32> {snug.name = "x", snug.dims = ["1", "3", "seq", "9"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "AveragePool"(%x) {kernel_shape = array<i64: 3, 3>, pads = array<i64: 1, 0, 1, 0>} opset 12 : (tensor<1x3x?x9xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// A whole plane is a sum over its dims, divided by how many elements these have.
// CHECK-LABEL: func.func @main
// CHECK: %[[SEQ:.*]] = tensor.dim %arg0, %c2
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction", "reduction"]} ins(%arg0 :
// CHECK: %[[C9:.*]] = arith.constant 9 : index
// CHECK: %[[COUNT:.*]] = arith.muli %[[SEQ]], %[[C9]]
// CHECK: arith.divf
// CHECK: tensor.expand_shape {{.*}} into tensor<1x3x1x1xf32>
module {
  func.func @main(%x: tensor<1x3x?x9xf32> {snug.name = "x", snug.dims = ["1", "3", "seq", "9"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "GlobalAveragePool"(%x) {} opset 12 : (tensor<1x3x?x9xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
