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

// Data may be overwritten by what it becomes.
// CHECK-LABEL: func.func @main(
// CHECK: snug_nn.scalar_kernel ins(%{{.*}} : tensor<4x?xf32>, tensor<2x?xi64>, tensor<2x?xf32>) outs({{.*}} : tensor<4x?xf32>)
// CHECK-SAME: overwrites = array<i64: 0>
// CHECK: scf.if
// CHECK: arith.addf
module {
  func.func @main(%x: tensor<4x?xf32> {snug.name = "x", snug.dims = ["4", "rows"]}, %i: tensor<2x?xi64> {snug.name = "i", snug.dims = ["2", "rows"]}, %u: tensor<2x?xf32> {snug.name = "u", snug.dims = ["2", "rows"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "ScatterElements"(%x, %i, %u) {reduction = "add"} opset 18 : (tensor<4x?xf32>, tensor<2x?xi64>, tensor<2x?xf32>) -> tensor<*xf32>
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
