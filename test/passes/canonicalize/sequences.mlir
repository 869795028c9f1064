// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=n=4..8" -snug-verify-canonical | FileCheck %s

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

// -----

// How many elements it has only the run tells: where each is follows from its place, and all together are what was split.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[X:.*]]: tensor<?x6xf32>
// CHECK-SAME: -> (tensor<?x6xf32> {snug.dims = ["min(n - 3, 3)", "6"], {{.*}}}, tensor<?x6xf32> {snug.dims = ["n", "6"]
// CHECK: %[[PART:.*]] = tensor.extract_slice %[[X]][3, 0] [%{{.*}}, 6] [1, 1] : tensor<?x6xf32> to tensor<?x6xf32>
// CHECK: return %[[PART]], %[[X]], %{{.*}} : tensor<?x6xf32>, tensor<?x6xf32>, tensor<i64>
module {
  snug_onnx.initializer @three value dense<3> : tensor<i64>
  snug_onnx.initializer @one value dense<1> : tensor<i64>
  func.func @main(%x: tensor<?x6xf32> {snug.name = "x", snug.dims = ["n", "6"]}) -> (tensor<*xf32> {snug.name = "y"}, tensor<*xf32> {snug.name = "z"}, tensor<*xi64> {snug.name = "count"}) {
    %three = snug_onnx.get @three : tensor<i64>
    %one = snug_onnx.get @one : tensor<i64>
    %s = snug_onnx.node "SplitToSequence"(%x, %three) {axis = 0 : i64} opset 20 : (tensor<?x6xf32>, tensor<i64>) -> !snug_onnx.sequence<tensor<*xf32>>
    %y = snug_onnx.node "SequenceAt"(%s, %one) {} opset 20 : (!snug_onnx.sequence<tensor<*xf32>>, tensor<i64>) -> tensor<*xf32>
    %z = snug_onnx.node "ConcatFromSequence"(%s) {axis = 0 : i64} opset 20 : (!snug_onnx.sequence<tensor<*xf32>>) -> tensor<*xf32>
    %count = snug_onnx.node "SequenceLength"(%s) {} opset 20 : (!snug_onnx.sequence<tensor<*xf32>>) -> tensor<*xi64>
    return %y, %z, %count : tensor<*xf32>, tensor<*xf32>, tensor<*xi64>
  }
}

// -----

// Nor is one of very many elements a list.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[X:.*]]: tensor<1000000x2xf32>
// CHECK: %[[PART:.*]] = tensor.extract_slice %[[X]][999999, 0] [1, 2] [1, 1] : tensor<1000000x2xf32> to tensor<1x2xf32>
// CHECK-NOT: tensor.extract_slice
// CHECK: return %[[PART]]
module {
  snug_onnx.initializer @last value dense<999999> : tensor<i64>
  func.func @main(%x: tensor<1000000x2xf32> {snug.name = "x", snug.dims = ["1000000", "2"]}, %z: tensor<?xf32> {snug.name = "z", snug.dims = ["n"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %last = snug_onnx.get @last : tensor<i64>
    %s = snug_onnx.node "SplitToSequence"(%x) {axis = 0 : i64} opset 20 : (tensor<1000000x2xf32>) -> !snug_onnx.sequence<tensor<*xf32>>
    %y = snug_onnx.node "SequenceAt"(%s, %last) {} opset 20 : (!snug_onnx.sequence<tensor<*xf32>>, tensor<i64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
