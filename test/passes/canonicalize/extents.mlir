// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=h=8..40:8" -snug-verify-canonical | FileCheck %s -enable-var-scope

// Windows as Swin makes and joins them: -1 stands for what a product has besides the others.
// CHECK-LABEL: func.func @main
// CHECK-SAME: -> (tensor<?x8x8x7x96xf32> {snug.dims = ["h", "8", "8", "7", "96"]
module {
  func.func @main(%x: tensor<?x16x4x7x96xf32> {snug.name = "x", snug.dims = ["h", "16", "4", "7", "96"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %joined = snug_onnx.node "Constant"() {value = dense<[-1, 7, 96]> : tensor<3xi64>} opset 20 : () -> tensor<3xi64>
    %split = snug_onnx.node "Constant"() {value = dense<[-1, 8, 8, 7, 96]> : tensor<5xi64>} opset 20 : () -> tensor<5xi64>
    %a = snug_onnx.node "Reshape"(%x, %joined) {} opset 20 : (tensor<?x16x4x7x96xf32>, tensor<3xi64>) -> tensor<*xf32>
    %y = snug_onnx.node "Reshape"(%a, %split) {} opset 20 : (tensor<*xf32>, tensor<5xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Halves of halves of an extent that goes in steps of 8 are blown up and joined with what was there before.
// CHECK-LABEL: func.func @main
// CHECK-SAME: -> (tensor<1x6x?x?xf32> {snug.dims = ["1", "6", "(h + 3)/4", "(h + 3)/4"]
module {
  func.func @main(%x: tensor<1x3x?x?xf32> {snug.name = "x", snug.dims = ["1", "3", "h", "h"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %none = snug_onnx.none
    %scales = snug_onnx.node "Constant"() {value = dense<[1.0, 1.0, 2.0, 2.0]> : tensor<4xf32>} opset 20 : () -> tensor<4xf32>
    %a = snug_onnx.node "MaxPool"(%x) {kernel_shape = array<i64: 3, 3>, strides = array<i64: 2, 2>, pads = array<i64: 1, 1, 1, 1>} opset 20 : (tensor<1x3x?x?xf32>) -> tensor<*xf32>
    %b = snug_onnx.node "MaxPool"(%a) {kernel_shape = array<i64: 3, 3>, strides = array<i64: 2, 2>, pads = array<i64: 1, 1, 1, 1>} opset 20 : (tensor<*xf32>) -> tensor<*xf32>
    %c = snug_onnx.node "MaxPool"(%b) {kernel_shape = array<i64: 3, 3>, strides = array<i64: 2, 2>, pads = array<i64: 1, 1, 1, 1>} opset 20 : (tensor<*xf32>) -> tensor<*xf32>
    %d = snug_onnx.node "Resize"(%c, %none, %scales) {} opset 20 : (tensor<*xf32>, none, tensor<4xf32>) -> tensor<*xf32>
    %y = snug_onnx.node "Concat"(%b, %d) {axis = 1 : i64} opset 20 : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
