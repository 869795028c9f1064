// RUN: snug-opt %s -split-input-file -verify-diagnostics -snug-verify-kernels

func.func @shared_destination(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  // expected-error @+1 {{is the destination of 2 kernels (contract C3)}}
  %e = tensor.empty() : tensor<4xf32>
  %y = linalg.exp ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  %z = linalg.log ins(%x : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %y, %z : tensor<4xf32>, tensor<4xf32>
}

// -----

func.func @no_kernel(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{is neither a kernel nor a view (contract C3)}}
  %y = arith.addf %x, %x : tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// Collectives move contiguous memory.
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @columns(%x: tensor<4x8xf32>) -> tensor<4x3xf32> {
  %s = tensor.extract_slice %x[0, 2] [4, 3] [1, 1] : tensor<4x8xf32> to tensor<4x3xf32>
  %e = tensor.empty() : tensor<4x3xf32>
  // expected-error @+1 {{reads or writes a slice whose elements do not lie side by side (contract C3)}}
  %y = snug_mesh.all_reduce sum axes [0] ins(%s : tensor<4x3xf32>) outs(%e : tensor<4x3xf32>) -> tensor<4x3xf32>
  return %y : tensor<4x3xf32>
}
}
