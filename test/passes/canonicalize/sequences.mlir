// RUN: snug-opt %s -snug-lower-onnx="dims=n=2..8" -snug-verify-canonical | FileCheck %s

// A sequence is a list at compile time: what is taken from it is a slice.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[X:.*]]: tensor<?x6xf32>
// CHECK: %[[PART:.*]] = tensor.extract_slice %[[X]][0, 4] [%{{.*}}, 2] [1, 1] : tensor<?x6xf32> to tensor<?x2xf32>
// CHECK-NOT: tensor.insert_slice
// CHECK: return %[[PART]]
module {
  snug_onnx.initializer @two value dense<2> : tensor<i64>
  snug_onnx.initializer @last value dense<-1> : tensor<i64>
  func.func @main(%x: tensor<?x6xf32> {snug.name = "x", snug.dims = ["n", "6"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %two = snug_onnx.get @two : tensor<i64>
    %last = snug_onnx.get @last : tensor<i64>
    %s = snug_onnx.node "SplitToSequence"(%x, %two) {axis = 1 : i64} opset 20 : (tensor<?x6xf32>, tensor<i64>) -> !snug_onnx.sequence<tensor<*xf32>>
    %y = snug_onnx.node "SequenceAt"(%s, %last) {} opset 20 : (!snug_onnx.sequence<tensor<*xf32>>, tensor<i64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
