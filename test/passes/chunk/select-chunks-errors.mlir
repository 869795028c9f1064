// RUN: snug-opt %s -verify-diagnostics -snug-select-chunks="activation-budget=1000"

// A result is never smaller than itself: the message says what can be reached, at the op in the way.
module {
  func.func @too_small(%x: tensor<256x16xf32>) -> tensor<256x16xf32> {
    %e = tensor.empty() : tensor<256x16xf32>
    // expected-error @+1 {{cannot chunk to 1000 bytes: the least peak that can be reached is 16384 bytes}}
    %y = linalg.exp ins(%x : tensor<256x16xf32>) outs(%e : tensor<256x16xf32>) -> tensor<256x16xf32>
    return %y : tensor<256x16xf32>
  }
}
