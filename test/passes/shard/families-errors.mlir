// RUN: not snug-opt %s -snug-select-layouts="mesh=4,2 family=1d" 2>&1 | FileCheck %s -check-prefix=ONE
// RUN: not snug-opt %s -snug-select-layouts="mesh=1,8 family=hierarchical" 2>&1 | FileCheck %s -check-prefix=STEPS
// RUN: not snug-opt %s -snug-select-layouts="mesh=4,2 family=rows" 2>&1 | FileCheck %s -check-prefix=NONE
// RUN: not snug-opt %s -snug-select-layouts="mesh=5,3 family=row-first" 2>&1 | FileCheck %s -check-prefix=ODD
// RUN: snug-opt %s -snug-select-layouts="mesh=5,3" 2>&1 | FileCheck %s -check-prefix=FREE

// ONE: error: 1D has one ring of all devices, and 4x2 has two axes: take 8x1
// STEPS: error: hierarchical 1D goes over two axes, one after the other, and 1x8 has but one with several devices: take 1D
// NONE: error: there is no family 'rows'; there are free, 1d, hierarchical, column-first, row-first
// ODD: error: none of its 1 products with matrices of weights can be cut for 5x3 devices as 'row-first' says
// FREE: linalg.matmul
module {
  snug_nn.data @w : tensor<64x64xf32> {file = "w", offset = 0 : i64, length = 16384 : i64}
  func.func @odd(%x: tensor<8x64xf32>) -> tensor<8x64xf32> {
    %w = snug_nn.weight @w : tensor<64x64xf32>
    %zero = arith.constant 0.0 : f32
    %e = tensor.empty() : tensor<8x64xf32>
    %i = linalg.fill ins(%zero : f32) outs(%e : tensor<8x64xf32>) -> tensor<8x64xf32>
    %h = linalg.matmul ins(%x, %w : tensor<8x64xf32>, tensor<64x64xf32>) outs(%i : tensor<8x64xf32>) -> tensor<8x64xf32>
    return %h : tensor<8x64xf32>
  }
}
