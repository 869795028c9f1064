// RUN: snug-opt %s -split-input-file -snug-lower-onnx="dims=n=4" -verify-diagnostics

// What computes takes no strings.
module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*x!snug_onnx.string> {snug.name = "y"}) {
    // expected-error @+1 {{Relu: input 0 of element type string is not supported}}
    %y = snug_onnx.node "Relu"(%x) {} opset 20 : (tensor<?x!snug_onnx.string>) -> tensor<*x!snug_onnx.string>
    return %y : tensor<*x!snug_onnx.string>
  }
}

// -----

module {
  func.func @main(%x: tensor<?x!snug_onnx.string> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{LabelEncoder: the input has elements of type string, the keys are of type int64}}
    %y = snug_onnx.node "LabelEncoder"(%x) {keys_int64s = array<i64: 1>, values_int64s = array<i64: 5>} opset 2 domain "ai.onnx.ml" : (tensor<?x!snug_onnx.string>) -> tensor<*xi64>
    return %y : tensor<*xi64>
  }
}
