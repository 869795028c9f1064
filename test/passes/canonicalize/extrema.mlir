// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=h=4..3000" -snug-verify-canonical | FileCheck %s -enable-var-scope

// The end of a slice lies inside of some extents and outside of others: the smaller one is found when the run begins.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: -> (tensor<?xf32> {snug.dims = ["min(h, 10) - 2"]
// CHECK: %[[H:.*]] = tensor.dim
// CHECK: %[[END:.*]] = arith.minsi %{{.*}}, %[[H]] : index
// CHECK: %[[SIZE:.*]] = arith.addi %[[END]], %c-2
// CHECK: tensor.extract_slice %{{.*}}[2] [%[[SIZE]]] [1]
module {
  snug_onnx.initializer @two value dense<2> : tensor<1xi64>
  snug_onnx.initializer @ten value dense<10> : tensor<1xi64>
  func.func @main(%x: tensor<?xf32> {snug.name = "x", snug.dims = ["h"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %two = snug_onnx.get @two : tensor<1xi64>
    %ten = snug_onnx.get @ten : tensor<1xi64>
    %y = snug_onnx.node "Slice"(%x, %two, %ten) {} opset 13 : (tensor<?xf32>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// As much as lacks of ten is never negative, and neither is what is left of it after its half: nothing is required of runs.
// CHECK: module attributes {snug.dims = [{{[^]]*}}]}
// CHECK-LABEL: func.func @main(
// CHECK-SAME: -> (tensor<?xf32> {snug.dims = ["max(h, 10)"]
// CHECK: %[[LARGER:.*]] = arith.maxsi
// CHECK: tensor.empty(%[[LARGER]])
module {
  snug_onnx.initializer @two value dense<2> : tensor<1xi64>
  snug_onnx.initializer @ten value dense<10> : tensor<1xi64>
  func.func @main(%x: tensor<?xf32> {snug.name = "x", snug.dims = ["h"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %two = snug_onnx.get @two : tensor<1xi64>
    %ten = snug_onnx.get @ten : tensor<1xi64>
    %h = snug_onnx.node "Shape"(%x) {} opset 18 : (tensor<?xf32>) -> tensor<*xi64>
    %larger = snug_onnx.node "Max"(%h, %ten) {} opset 18 : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
    %lack = snug_onnx.node "Sub"(%larger, %h) {} opset 18 : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
    %before = snug_onnx.node "Div"(%lack, %two) {} opset 18 : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
    %after = snug_onnx.node "Sub"(%lack, %before) {} opset 18 : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
    %pads = snug_onnx.node "Concat"(%before, %after) {axis = 0 : i64} opset 18 : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
    %y = snug_onnx.node "Pad"(%x, %pads) {} opset 18 : (tensor<?xf32>, tensor<*xi64>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

// Pads that are larger than the kernel's reach for some extents take elements of the result away.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: -> (tensor<1x1x10xf32>
// CHECK: linalg.generic
// CHECK: tensor.extract_slice %{{.*}}[0, 0, %{{.*}}] [1, 1, 10] [1, 1, 1] : tensor<1x1x?xf32> to tensor<1x1x10xf32>
module {
  snug_onnx.initializer @w value dense<[[[1.0, 2.0, 3.0]]]> : tensor<1x1x3xf32>
  func.func @main(%x: tensor<1x1x?xf32> {snug.name = "x", snug.dims = ["1", "1", "h"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %w = snug_onnx.get @w : tensor<1x1x3xf32>
    %y = snug_onnx.node "ConvTranspose"(%x, %w) {strides = array<i64: 2>, output_shape = array<i64: 10>} opset 22 : (tensor<1x1x?xf32>, tensor<1x1x3xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
