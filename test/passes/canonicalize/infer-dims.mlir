// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=past=1..8" -snug-verify-canonical | FileCheck %s

// The extent s81 of the mask is not given: it is added to something of past + 1 elements, so it is that.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %{{.*}}: tensor<?x4xf32> {snug.dims = ["past", "4"], {{.*}}}, %{{.*}}: tensor<?xf32> {snug.dims = ["past + 1"], {{.*}}}, 
// CHECK-SAME: -> (tensor<?x4xf32> {snug.dims = ["past + 1", "4"]
module {
  snug_onnx.initializer @axis value dense<1> : tensor<1xi64>
  func.func @main(%cache: tensor<?x4xf32> {snug.name = "cache", snug.dims = ["past", "4"]}, %mask: tensor<?xf32> {snug.name = "mask", snug.dims = ["s81"]}, %token: tensor<1x4xf32> {snug.name = "token", snug.dims = ["1", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %axis = snug_onnx.get @axis : tensor<1xi64>
    %all = snug_onnx.node "Concat"(%cache, %token) {axis = 0 : i64} opset 20 : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<*xf32>
    %column = snug_onnx.node "Unsqueeze"(%mask, %axis) {} opset 20 : (tensor<?xf32>, tensor<1xi64>) -> tensor<*xf32>
    %y = snug_onnx.node "Add"(%all, %column) {} opset 20 : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Of the flat mask, past + 1 elements are read in each of two rows, as long as the mask has: nothing beyond is read.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: snug.dims = ["2", "past"]{{.*}}snug.dims = ["2", "past + 1"], snug.name = "mask"
// CHECK-SAME: -> (tensor<2x?xf32> {snug.dims = ["2", "past + 1"]
module {
  snug_onnx.initializer @zero value dense<0> : tensor<i64>
  snug_onnx.initializer @one value dense<1> : tensor<i64>
  snug_onnx.initializer @two value dense<2> : tensor<i64>
  snug_onnx.initializer @first value dense<0> : tensor<1xi64>
  snug_onnx.initializer @second value dense<1> : tensor<1xi64>
  func.func @main(%cache: tensor<2x?xf32> {snug.name = "cache", snug.dims = ["2", "past"]}, %mask: tensor<2x?xf32> {snug.name = "mask", snug.dims = ["2", "past_1"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %zero = snug_onnx.get @zero : tensor<i64>
    %one = snug_onnx.get @one : tensor<i64>
    %two = snug_onnx.get @two : tensor<i64>
    %first = snug_onnx.get @first : tensor<1xi64>
    %second = snug_onnx.get @second : tensor<1xi64>
    %shape = snug_onnx.node "Shape"(%cache) {} opset 17 : (tensor<2x?xf32>) -> tensor<*xi64>
    %past = snug_onnx.node "Gather"(%shape, %one) {} opset 17 : (tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
    %count = snug_onnx.node "Add"(%past, %one) {} opset 17 : (tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
    %keys = snug_onnx.node "Range"(%zero, %count, %one) {} opset 17 : (tensor<i64>, tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
    %rows = snug_onnx.node "Range"(%zero, %two, %one) {} opset 17 : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<*xi64>
    %column = snug_onnx.node "Unsqueeze"(%rows, %second) {} opset 17 : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
    %maskShape = snug_onnx.node "Shape"(%mask) {} opset 17 : (tensor<2x?xf32>) -> tensor<*xi64>
    %length = snug_onnx.node "Gather"(%maskShape, %one) {} opset 17 : (tensor<*xi64>, tensor<i64>) -> tensor<*xi64>
    %starts = snug_onnx.node "Mul"(%column, %length) {} opset 17 : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
    %places = snug_onnx.node "Add"(%starts, %keys) {} opset 17 : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
    %flat = snug_onnx.node "Flatten"(%mask) {axis = 0 : i64} opset 17 : (tensor<2x?xf32>) -> tensor<*xf32>
    %row = snug_onnx.node "Squeeze"(%flat, %first) {} opset 17 : (tensor<*xf32>, tensor<1xi64>) -> tensor<*xf32>
    %y = snug_onnx.node "Gather"(%row, %places) {} opset 17 : (tensor<*xf32>, tensor<*xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// The dims of a scale over several axes are those of the input, one by one.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: snug.dims = ["past", "4"]{{.*}}snug.dims = ["past", "4"], snug.name = "scale"
module {
  func.func @main(%x: tensor<?x4xf32> {snug.name = "x", snug.dims = ["past", "4"]}, %scale: tensor<?x?xf32> {snug.name = "scale", snug.dims = ["a", "b"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "RMSNormalization"(%x, %scale) {axis = 0 : i64} opset 23 : (tensor<?x4xf32>, tensor<?x?xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// A kernel's extents are stated, and channels are those of the weight.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: snug.dims = ["1", "4", "past", "32"]{{.*}}snug.dims = ["8", "2", "1", "3"], snug.name = "w"
module {
  func.func @main(%x: tensor<1x4x?x32xf32> {snug.name = "x", snug.dims = ["1", "4", "past", "32"]}, %w: tensor<8x?x?x?xf32> {snug.name = "w", snug.dims = ["8", "inner", "kh", "kw"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %y = snug_onnx.node "Conv"(%x, %w) {group = 2 : i64, kernel_shape = array<i64: 1, 3>} opset 22 : (tensor<1x4x?x32xf32>, tensor<8x?x?x?xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Elements at even places and at odd ones are as many where the extent is even; and what is 28 where it is divided by 8 and
// rounded up is taken to be 8 * 28.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: snug.dims = ["8"], snug.name = "pairs"{{.*}}snug.dims = ["1", "1", "224"], snug.name = "image"
module {
  snug_onnx.initializer @zero value dense<0> : tensor<1xi64>
  snug_onnx.initializer @one value dense<1> : tensor<1xi64>
  snug_onnx.initializer @two value dense<2> : tensor<1xi64>
  snug_onnx.initializer @end value dense<9223372036854775807> : tensor<1xi64>
  snug_onnx.initializer @four value dense<1.0> : tensor<4xf32>
  snug_onnx.initializer @many value dense<1.0> : tensor<1x1x28xf32>
  func.func @main(%past: tensor<?xf32> {snug.name = "past", snug.dims = ["past"]}, %pairs: tensor<?xf32> {snug.name = "pairs", snug.dims = ["p"]}, %image: tensor<1x1x?xf32> {snug.name = "image", snug.dims = ["1", "1", "w"]}) -> (tensor<*xf32> {snug.name = "y"}, tensor<*xf32> {snug.name = "z"}) {
    %zero = snug_onnx.get @zero : tensor<1xi64>
    %one = snug_onnx.get @one : tensor<1xi64>
    %two = snug_onnx.get @two : tensor<1xi64>
    %end = snug_onnx.get @end : tensor<1xi64>
    %four = snug_onnx.get @four : tensor<4xf32>
    %many = snug_onnx.get @many : tensor<1x1x28xf32>
    %even = snug_onnx.node "Slice"(%pairs, %zero, %end, %zero, %two) {} opset 20 : (tensor<?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
    %odd = snug_onnx.node "Slice"(%pairs, %one, %end, %zero, %two) {} opset 20 : (tensor<?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
    %sum = snug_onnx.node "Add"(%even, %odd) {} opset 20 : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
    %y = snug_onnx.node "Add"(%sum, %four) {} opset 20 : (tensor<*xf32>, tensor<4xf32>) -> tensor<*xf32>
    %half = snug_onnx.node "MaxPool"(%image) {kernel_shape = array<i64: 3>, strides = array<i64: 2>, pads = array<i64: 1, 1>} opset 20 : (tensor<1x1x?xf32>) -> tensor<*xf32>
    %quarter = snug_onnx.node "MaxPool"(%half) {kernel_shape = array<i64: 3>, strides = array<i64: 2>, pads = array<i64: 1, 1>} opset 20 : (tensor<*xf32>) -> tensor<*xf32>
    %eighth = snug_onnx.node "MaxPool"(%quarter) {kernel_shape = array<i64: 3>, strides = array<i64: 2>, pads = array<i64: 1, 1>} opset 20 : (tensor<*xf32>) -> tensor<*xf32>
    %z = snug_onnx.node "Add"(%eighth, %many) {} opset 20 : (tensor<*xf32>, tensor<1x1x28xf32>) -> tensor<*xf32>
    return %y, %z : tensor<*xf32>, tensor<*xf32>
  }
}
