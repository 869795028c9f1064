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

// -----

// A kernel that is wider the larger the image is: how many elements it spans is an extent, too.
// CHECK-LABEL: func.func @main
// CHECK: %[[TAPS:.*]] = arith.muli %{{.*}}, %c2{{.*}} overflow<nsw> : index
// CHECK: snug_nn.gather ins(%{{.*}}, %{{.*}} : tensor<1x3x?x6xf32>, tensor<5x?xi64>) weights(%{{.*}} : tensor<5x?xf32>) {{.*}} axis = 2 -> tensor<1x3x5x6xf32>
module {
  func.func @main(%x: tensor<1x3x?x6xf32> {snug.name = "x", snug.dims = ["1", "3", "h", "6"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    %s = snug_onnx.node "Constant"() {value = dense<[1, 3, 5, 6]> : tensor<4xi64>} opset 20 : () -> tensor<4xi64>
    %y = snug_onnx.node "Resize"(%x, %none, %none, %s) {mode = "linear", antialias = 1 : i64} opset 20 : (tensor<1x3x?x6xf32>, none, none, tensor<4xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// One scale for both dims, by whichever of them may grow less.
// CHECK-LABEL: func.func @main
// CHECK-SAME: -> (tensor<1x3x?x?xf32> {snug.dims = ["1", "3", "min((h*18 + 6)/12, 7)", "min((h + 84)/(h*2), 9)"]
module {
  func.func @main(%x: tensor<1x3x?x6xf32> {snug.name = "x", snug.dims = ["1", "3", "h", "6"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    %s = snug_onnx.node "Constant"() {value = dense<[7, 9]> : tensor<2xi64>} opset 20 : () -> tensor<2xi64>
    %y = snug_onnx.node "Resize"(%x, %none, %none, %s) {axes = array<i64: 2, 3>, keep_aspect_ratio_policy = "not_larger"} opset 20 : (tensor<1x3x?x6xf32>, none, none, tensor<2xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
