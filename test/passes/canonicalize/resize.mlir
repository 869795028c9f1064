// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=h=4..8" -snug-verify-canonical | FileCheck %s -enable-var-scope

// One weighted gather a dim that changes; the dims that stay are not touched. Indices and weights are computed from the
// dims' values.
// CHECK-LABEL: func.func @main
// CHECK: %[[ROWS:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x4xi64>)
// CHECK: %[[ROWWEIGHTS:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x4xf32>)
// CHECK: %[[TALL:.*]] = snug_nn.gather ins(%{{.*}}, %[[ROWS]] : tensor<1x3x?x6xf32>, tensor<?x4xi64>) weights(%[[ROWWEIGHTS]] : tensor<?x4xf32>) {{.*}} axis = 2 -> tensor<1x3x?x6xf32>
// CHECK: snug_nn.gather ins(%[[TALL]], %{{.*}} : tensor<1x3x?x6xf32>, tensor<9x4xi64>) weights(%{{.*}} : tensor<9x4xf32>) {{.*}} axis = 3 -> tensor<1x3x?x9xf32>
module {
  func.func @main(%x: tensor<1x3x?x6xf32> {snug.name = "x", snug.dims = ["1", "3", "h", "6"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    %s = snug_onnx.node "Constant"() {value = dense<[1.0, 1.0, 2.0, 1.5]> : tensor<4xf32>} opset 20 : () -> tensor<4xf32>
    %y = snug_onnx.node "Resize"(%x, %none, %s) {mode = "cubic"} opset 20 : (tensor<1x3x?x6xf32>, none, tensor<4xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Nearest neighbours at whole factors are a copy, in blocks, with no index that is read.
// CHECK-LABEL: func.func @main
// CHECK-NOT: snug_nn.gather
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<1x3x?x2x6x3xf32>)
// CHECK: tensor.collapse_shape
module {
  func.func @main(%x: tensor<1x3x?x6xf32> {snug.name = "x", snug.dims = ["1", "3", "h", "6"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    %s = snug_onnx.node "Constant"() {value = dense<[1.0, 1.0, 2.0, 3.0]> : tensor<4xf32>} opset 20 : () -> tensor<4xf32>
    %y = snug_onnx.node "Resize"(%x, %none, %s) {} opset 20 : (tensor<1x3x?x6xf32>, none, tensor<4xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
