// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-lower-onnx="dims=seq=8"

// Every unsupported op is listed at once.
module {
  func.func @main(%x: tensor<?xf32> {snug.name = "x", snug.dims = ["seq"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+2 {{op Bogus of opset 18 is not supported (2 nodes)}}
    // expected-note @+1 {{the op has no entry in the lowering table}}
    %a = snug_onnx.node "Bogus"(%x) {} opset 18 : (tensor<?xf32>) -> tensor<*xf32>
    %b = snug_onnx.node "Bogus"(%a) {} opset 18 : (tensor<*xf32>) -> tensor<*xf32>
    // expected-error @+2 {{op my.domain.Other of opset 1 is not supported (1 node)}}
    // expected-note @+1 {{the op has no entry in the lowering table}}
    %c = snug_onnx.node "Other"(%b) {} opset 1 domain "my.domain" : (tensor<*xf32>) -> tensor<*xf32>
    return %c : tensor<*xf32>
  }
}

// -----

module {
  // expected-error @+1 {{dim 'n' has no value; add --dim n=1}}
  func.func @main(%x: tensor<?xf32> {snug.name = "x", snug.dims = ["n"]}) -> (tensor<?xf32> {snug.name = "y"}) {
    return %x : tensor<?xf32>
  }
}

// -----

// Shapes that cannot be broadcast.
module {
  func.func @main(%x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}, %y: tensor<3xf32> {snug.name = "y", snug.dims = ["3"]}) -> (tensor<*xf32> {snug.name = "z"}) {
    // expected-error @+1 {{Add: cannot broadcast shapes [4] and [3]}}
    %z = snug_onnx.node "Add"(%x, %y) {} opset 14 : (tensor<4xf32>, tensor<3xf32>) -> tensor<*xf32>
    return %z : tensor<*xf32>
  }
}
