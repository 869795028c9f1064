// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-verify-canonical

func.func @canonical(%x: tensor<4xf32>) -> tensor<4xf32> {
  %e = tensor.empty() : tensor<4xf32>
  %y = linalg.exp ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

func.func @onnx_left(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{is no op of canonical tensor IR (contract C1)}}
  %y = snug_onnx.node "Relu"(%x) {} opset 14 : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

func.func @unranked(%x: tensor<4xf32>) {
  // expected-error @+1 {{has a result of unknown rank (contract C1)}}
  %y = tensor.cast %x : tensor<4xf32> to tensor<*xf32>
  return
}
