// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=rows=2..8" -snug-verify-canonical | FileCheck %s

// CHECK-LABEL: func.func @main(
// CHECK: snug_nn.top_k ins(%{{.*}} : tensor<?x8xf16>) outs({{.*}} : tensor<?x3xf16>, tensor<?x3xi64>) dim = 1 {largest}
module {
  snug_onnx.initializer @three value dense<3> : tensor<1xi64>
  func.func @main(%x: tensor<?x8xf16> {snug.name = "x", snug.dims = ["rows", "8"]}) -> (tensor<*xf16> {snug.name = "y"}, tensor<*xi64> {snug.name = "i"}) {
    %k = snug_onnx.get @three : tensor<1xi64>
    %y, %i = snug_onnx.node "TopK"(%x, %k) {} opset 19 : (tensor<?x8xf16>, tensor<1xi64>) -> (tensor<*xf16>, tensor<*xi64>)
    return %y, %i : tensor<*xf16>, tensor<*xi64>
  }
}

// -----

// An index an element along one dim, the other in place.
// CHECK-DAG: #[[$IN:.*]] = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-DAG: #[[$PLACE:.*]] = affine_map<(d0, d1)[s0] -> (s0, d1)>
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[X:.*]]: tensor<4x?xf32>
// CHECK: %[[I:.*]] = tensor.expand_shape {{.*}} : tensor<2x?xi64> into tensor<2x?x1xi64>
// CHECK: snug_nn.scatter ins(%[[I]], %{{.*}} : tensor<2x?x1xi64>, tensor<2x?xf32>) outs(%[[X]] : tensor<4x?xf32>)
// CHECK-SAME: attributes {index_map = #[[$IN]], place = #[[$PLACE]]}
// CHECK: ^bb0(%[[OLD:.*]]: f32, %[[NEW:.*]]: f32):
// CHECK: %[[SUM:.*]] = arith.addf %[[OLD]], %[[NEW]]
// CHECK: snug_nn.yield %[[SUM]]
module {
  func.func @main(%x: tensor<4x?xf32> {snug.name = "x", snug.dims = ["4", "rows"]}, %i: tensor<2x?xi64> {snug.name = "i", snug.dims = ["2", "rows"]}, %u: tensor<2x?xf32> {snug.name = "u", snug.dims = ["2", "rows"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "ScatterElements"(%x, %i, %u) {reduction = "add"} opset 18 : (tensor<4x?xf32>, tensor<2x?xi64>, tensor<2x?xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Of the dim beside the axis there are fewer updates than elements.
// CHECK: #[[$AT:.*]] = affine_map<(d0, d1)[s0] -> (d0, s0)>
// CHECK-LABEL: func.func @main(
// CHECK: snug_nn.scatter {{.*}} outs(%{{.*}} : tensor<4x8xi32>)
// CHECK-SAME: place = #[[$AT]], uneven = array<i64: 0>}
module {
  func.func @main(%x: tensor<4x8xui32> {snug.name = "x", snug.dims = ["4", "8"]}, %i: tensor<3x?xi64> {snug.name = "i", snug.dims = ["3", "rows"]}, %u: tensor<3x?xui32> {snug.name = "u", snug.dims = ["3", "rows"]}) -> (tensor<*xui32> {snug.name = "y"}) {
    // CHECK: arith.maxui
    %y = snug_onnx.node "ScatterElements"(%x, %i, %u) {axis = 1 : i64, reduction = "max"} opset 18 : (tensor<4x8xui32>, tensor<3x?xi64>, tensor<3x?xui32>) -> tensor<*xui32>
    return %y : tensor<*xui32>
  }
}

// -----

// Slices of the last dim at pairs of indices.
// CHECK-DAG: #[[$TUPLES:.*]] = affine_map<(d0, d1) -> (d0)>
// CHECK-DAG: #[[$SLICES:.*]] = affine_map<(d0, d1)[s0, s1] -> (s0, s1, d1)>
// CHECK-LABEL: func.func @main(
// CHECK: snug_nn.scatter ins(%{{.*}}, %{{.*}} : tensor<?x2xi64>, tensor<?x5xi1>) outs(%{{.*}} : tensor<3x4x5xi1>)
// CHECK-SAME: attributes {index_map = #[[$TUPLES]], place = #[[$SLICES]]}
// CHECK: ^bb0(%{{.*}}: i1, %[[NEW:.*]]: i1):
// CHECK-NEXT: snug_nn.yield %[[NEW]]
module {
  func.func @main(%x: tensor<3x4x5xi1> {snug.name = "x", snug.dims = ["3", "4", "5"]}, %i: tensor<?x2xi64> {snug.name = "i", snug.dims = ["rows", "2"]}, %u: tensor<?x5xi1> {snug.name = "u", snug.dims = ["rows", "5"]}) -> (tensor<*xi1> {snug.name = "y"}) {
    %y = snug_onnx.node "ScatterND"(%x, %i, %u) {} opset 18 : (tensor<3x4x5xi1>, tensor<?x2xi64>, tensor<?x5xi1>) -> tensor<*xi1>
    return %y : tensor<*xi1>
  }
}

// -----

// Places count through a flat image of zeros.
// CHECK: #[[$FLAT:.*]] = affine_map<(d0, d1, d2, d3)[s0] -> (s0)>
// CHECK-LABEL: func.func @main(
// CHECK: %[[ZEROS:.*]] = linalg.generic
// CHECK-NEXT: ^bb0
// CHECK-NEXT: %[[ZERO:.*]] = arith.constant 0.0
// CHECK-NEXT: linalg.yield %[[ZERO]]
// CHECK: %[[IMAGE:.*]] = snug_nn.scatter {{.*}} outs(%[[ZEROS]] : tensor<?xf32>)
// CHECK-SAME: place = #[[$FLAT]]}
// CHECK: tensor.expand_shape %{{.*}} into tensor<?x2x4x6xf32>
module {
  func.func @main(%x: tensor<?x2x2x3xf32> {snug.name = "x", snug.dims = ["rows", "2", "2", "3"]}, %i: tensor<?x2x2x3xi64> {snug.name = "i", snug.dims = ["rows", "2", "2", "3"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "MaxUnpool"(%x, %i) {kernel_shape = array<i64: 2, 2>, strides = array<i64: 2, 2>} opset 11 : (tensor<?x2x2x3xf32>, tensor<?x2x2x3xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// The form of opset 6: the second input stands at an axis.
// CHECK-LABEL: func.func @main(
// CHECK: %[[B:.*]] = tensor.expand_shape %{{.*}} output_shape [3, 1]
// CHECK: linalg.generic {{.*}} ins(%{{.*}}, %[[B]] : tensor<?x3x4xf32>, tensor<3x1xf32>)
module {
  func.func @main(%x: tensor<?x3x4xf32> {snug.name = "x", snug.dims = ["rows", "3", "4"]}, %b: tensor<3xf32> {snug.name = "b", snug.dims = ["3"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "Add"(%x, %b) {axis = 1 : i64, broadcast = 1 : i64} opset 6 : (tensor<?x3x4xf32>, tensor<3xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
