// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-lower-onnx

module {
  func.func @main(%x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{Trilu: wanted is a tensor of rank 2 or more, not of shape [4]}}
    %y = snug_onnx.node "Trilu"(%x) {} opset 14 : (tensor<4xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<4xf32> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{EyeLike: wanted is a tensor of rank 2, not of shape [4]}}
    %y = snug_onnx.node "EyeLike"(%x) {} opset 9 : (tensor<4xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<4xi1> {snug.name = "x", snug.dims = ["4"]}) -> (tensor<*xi64> {snug.name = "y"}) {
    // expected-error @+1 {{ArgMax: input 0 of element type bool is not supported, only float32, uint8}}
    %y = snug_onnx.node "ArgMax"(%x) {} opset 13 : (tensor<4xi1>) -> tensor<*xi64>
    return %y : tensor<*xi64>
  }
}

// -----

module {
  func.func @main(%x: tensor<1x3x4x4xf32> {snug.name = "x", snug.dims = ["1", "3", "4", "4"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{DepthToSpace: shape [1, 3, 4, 4] does not divide into blocks of 2}}
    %y = snug_onnx.node "DepthToSpace"(%x) {blocksize = 2 : i64} opset 13 : (tensor<1x3x4x4xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}

// -----

module {
  func.func @main(%x: tensor<4xi64> {snug.name = "x", snug.dims = ["4"]}, %d: tensor<i64> {snug.name = "d", snug.dims = []}, %v: tensor<2xf32> {snug.name = "v", snug.dims = ["2"]}) -> (tensor<*xf32> {snug.name = "y"}) {
    // expected-error @+1 {{OneHot: a depth that is computed from data is not supported; give it with --value}}
    %y = snug_onnx.node "OneHot"(%x, %d, %v) {} opset 11 : (tensor<4xi64>, tensor<i64>, tensor<2xf32>) -> tensor<*xf32>
    return %y : tensor<*xf32>
  }
}
