// RUN: snug-opt %s -verify-diagnostics -split-input-file -snug-select-chunks="activation-budget=1000 exact"

// A result is never smaller than itself: the message says what can be reached, at the op in the way.
module {
  func.func @too_small(%x: tensor<256x16xf32>) -> tensor<256x16xf32> {
    %e = tensor.empty() : tensor<256x16xf32>
    // expected-error @+1 {{cannot chunk to 1000 bytes: the least peak that can be reached is 16384 bytes}}
    %y = linalg.exp ins(%x : tensor<256x16xf32>) outs(%e : tensor<256x16xf32>) -> tensor<256x16xf32>
    return %y : tensor<256x16xf32>
  }
}

// -----

// Trap 4: a sum is never cut along its own dim, which would start each part from zero. Rows are one tile, so that %h,
// long along the dim that is summed, stays whole.
func.func @long_sum(%x: tensor<16x65536xf32>, %w: tensor<65536x16xf32>) -> tensor<16x16xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<16x65536xf32>
  %h = linalg.exp ins(%x : tensor<16x65536xf32>) outs(%e0 : tensor<16x65536xf32>) -> tensor<16x65536xf32>
  %e1 = tensor.empty() : tensor<16x16xf32>
  // expected-error @+1 {{the least peak that can be reached is 4195328 bytes, here in 'linalg.fill'}}
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<16x16xf32>) -> tensor<16x16xf32>
  %y = linalg.matmul ins(%h, %w : tensor<16x65536xf32>, tensor<65536x16xf32>)
      outs(%f1 : tensor<16x16xf32>) -> tensor<16x16xf32>
  return %y : tensor<16x16xf32>
}

// -----

// Trap 5: a softmax is never cut along its row, the keys, as slices of it are no online softmax: each would have a
// maximum and a sum of its own. What weights the keys got in total needs all weights at once, though every other op here
// is parallel in the keys.
func.func @keys(%q: tensor<16x32xf32>, %k: tensor<65536x32xf32>) -> tensor<65536xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<16x65536xf32>
  %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<16x65536xf32>) -> tensor<16x65536xf32>
  %s = linalg.matmul
      indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
      ins(%q, %k : tensor<16x32xf32>, tensor<65536x32xf32>) outs(%f0 : tensor<16x65536xf32>) -> tensor<16x65536xf32>
  %e1 = tensor.empty() : tensor<16x65536xf32>
  // expected-error @+1 {{the least peak that can be reached is 8388608 bytes, here in 'linalg.softmax'}}
  %p = linalg.softmax dimension(1) ins(%s : tensor<16x65536xf32>) outs(%e1 : tensor<16x65536xf32>) -> tensor<16x65536xf32>
  %e2 = tensor.empty() : tensor<65536xf32>
  %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<65536xf32>) -> tensor<65536xf32>
  %y = linalg.reduce ins(%p : tensor<16x65536xf32>) outs(%f2 : tensor<65536xf32>) dimensions = [0]
      (%a: f32, %b: f32) {
        %c = arith.addf %a, %b : f32
        linalg.yield %c : f32
      }
  return %y : tensor<65536xf32>
}
