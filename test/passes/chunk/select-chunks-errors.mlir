// RUN: not snug-opt %s -snug-select-chunks=activation-budget=1000 2>&1 | FileCheck %s

// The whole result is needed: no loop makes it smaller.
// CHECK: [[@LINE+3]]:{{.*}} error: cannot chunk to 1000 bytes: the least peak that can be reached is 32768 bytes, here in 'linalg.exp'; give at least that much
func.func @result_does_not_fit(%x: tensor<256x32xf32>) -> tensor<256x32xf32> {
  %e = tensor.empty() : tensor<256x32xf32>
  %r = linalg.exp ins(%x : tensor<256x32xf32>) outs(%e : tensor<256x32xf32>) -> tensor<256x32xf32>
  return %r : tensor<256x32xf32>
}
