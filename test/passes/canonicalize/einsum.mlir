// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=batch=1,n=2..8" -snug-verify-canonical | FileCheck %s

// Labels are the maps of a contraction: nothing is transposed.
// CHECK-DAG: #[[$Q:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d4)>
// CHECK-DAG: #[[$K:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d3, d4)>
// CHECK-DAG: #[[$OUT:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3)>
// CHECK-LABEL: func.func @main
// CHECK-NOT: linalg.generic
// CHECK: snug_nn.contract
// CHECK-SAME: indexing_maps = [#[[$Q]], #[[$K]], #[[$OUT]]]
// CHECK-NOT: linalg.generic
// CHECK: return
module {
  func.func @main(%q: tensor<?x4x?x8xf32> {snug.name = "q", snug.dims = ["batch", "4", "n", "8"]}, %k: tensor<?x4x?x8xf32> {snug.name = "k", snug.dims = ["batch", "4", "n", "8"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "Einsum"(%q, %k) {equation = "...qc,...kc->...qk"} opset 20 : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Several summed labels become one dim; the weight is packed.
// CHECK-LABEL: func.func @main
// CHECK: %[[X:.*]] = tensor.collapse_shape %{{.*}} {{\[}}[0], [1], [2, 3]] : tensor<1x?x2x3xf32> into tensor<1x?x6xf32>
// CHECK: %[[W:.*]] = snug_nn.weight @weight_w recipe [#snug_nn.transpose<[2, 0, 1]>, #snug_nn.reshape<[5, 6]>, #snug_nn.transpose<[1, 0]>, #snug_nn.pack<32>]
// CHECK: snug_nn.contract ins(%[[X]], %[[W]] : {{.*}}) {{.*}} packed
module {
  snug_onnx.initializer @w file "w.bin" offset 0 length 120 : tensor<2x3x5xf32>
  func.func @main(%x: tensor<?x?x2x3xf32> {snug.name = "x", snug.dims = ["batch", "n", "2", "3"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %w = snug_onnx.get @w : tensor<2x3x5xf32>
    %y = snug_onnx.node "Einsum"(%x, %w) {equation = "bnhc,hcd->bnd"} opset 20 : (tensor<?x?x2x3xf32>, tensor<2x3x5xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Without a summed label: a product that broadcasts by its maps.
// CHECK-LABEL: func.func @main
// CHECK: linalg.generic {{.*}}iterator_types = ["parallel", "parallel"]{{.*}} ins(%{{.*}}, %{{.*}} : tensor<?xf32>, tensor<3xf32>)
// CHECK: arith.mulf
module {
  func.func @main(%x: tensor<?xf32> {snug.name = "x", snug.dims = ["n"]}, %z: tensor<3xf32> {snug.name = "z", snug.dims = ["3"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "Einsum"(%x, %z) {equation = "i,j"} opset 12 : (tensor<?xf32>, tensor<3xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
