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

// -----

func.func @narrow(%x: tensor<4xf16>) -> tensor<4xf16> {
  %e = tensor.empty() : tensor<4xf16>
  %y = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]}
      ins(%x : tensor<4xf16>) outs(%e : tensor<4xf16>) {
  ^bb0(%a: f16, %o: f16):
    // expected-error @+1 {{computes in 'f16', which is for storing only (contract C1)}}
    %s = arith.addf %a, %a : f16
    linalg.yield %s : f16
  } -> tensor<4xf16>
  return %y : tensor<4xf16>
}
