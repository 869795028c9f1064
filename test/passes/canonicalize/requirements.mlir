// RUN: snug-opt %s -snug-lower-onnx="dims=past=1..8,short=1..8" -snug-verify-canonical | FileCheck %s

// Pads that two dims say are no range of either: runs are checked.
// CHECK: snug.requires = ["past - short >= 0; pad"]
module {
  snug_onnx.initializer @zero value dense<0> : tensor<1xi64>
  func.func @main(%x: tensor<?xf32> {snug.name = "x", snug.dims = ["past"]}, %short: tensor<?xf32> {snug.name = "short", snug.dims = ["short"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    %zero = snug_onnx.get @zero : tensor<1xi64>
    %whole = snug_onnx.node "Shape"(%x) {} opset 21 : (tensor<?xf32>) -> tensor<*xi64>
    %part = snug_onnx.node "Shape"(%short) {} opset 21 : (tensor<?xf32>) -> tensor<*xi64>
    %lack = snug_onnx.node "Sub"(%whole, %part) {} opset 21 : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
    %pads = snug_onnx.node "Concat"(%zero, %lack) {axis = 0 : i64} opset 21 : (tensor<1xi64>, tensor<*xi64>) -> tensor<*xi64>
    %y = snug_onnx.node "Pad"(%short, %pads) {} opset 21 : (tensor<?xf32>, tensor<*xi64>) -> tensor<*xf32> loc("pad")
    return %y : tensor<*xf32>
  }
}
