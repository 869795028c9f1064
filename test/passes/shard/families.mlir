// RUN: snug-opt %s -snug-select-layouts="mesh=4,2 family=column-first" -snug-partition -canonicalize -cse | FileCheck %s -check-prefix=COLUMN -enable-var-scope
// RUN: snug-opt %s -snug-select-layouts="mesh=4,2 family=row-first" -snug-partition -canonicalize -cse | FileCheck %s -check-prefix=ROW -enable-var-scope
// RUN: snug-opt %s -snug-select-layouts="mesh=4,2 family=hierarchical" -snug-partition -canonicalize -cse | FileCheck %s -check-prefix=STEPS -enable-var-scope
// RUN: snug-opt %s -snug-select-layouts="mesh=8,1 family=1d" -snug-partition -canonicalize -cse | FileCheck %s -check-prefix=ONE -enable-var-scope
// RUN: snug-opt %s -snug-select-layouts="mesh=1,8 family=column-first" -snug-partition -canonicalize -cse | FileCheck %s -check-prefix=INPUTS -enable-var-scope

// A layer with a residual around it, and a mask that comes in from outside: neither is counted where layers take turns. So the
// third product is a first layer again.
// COLUMN-LABEL: func.func @residual
// COLUMN: snug_nn.weight @w1 recipe [#snug_nn.shard<1, 0, [4096]>, #snug_nn.shard<0, 1, [1024]>]
// COLUMN: snug_nn.weight @w2 recipe [#snug_nn.shard<0, 0, [4096]>, #snug_nn.shard<1, 1, [1024]>]
// COLUMN: snug_nn.weight @w3 recipe [#snug_nn.shard<1, 0, [4096]>, #snug_nn.shard<0, 1, [1024]>]
// ROW-LABEL: func.func @residual
// ROW: snug_nn.weight @w1 recipe [#snug_nn.shard<0, 0, [1024]>, #snug_nn.shard<1, 1, [4096]>]
// ROW: snug_nn.weight @w2 recipe [#snug_nn.shard<1, 0, [1024]>, #snug_nn.shard<0, 1, [4096]>]
// ROW: snug_nn.weight @w3 recipe [#snug_nn.shard<0, 0, [1024]>, #snug_nn.shard<1, 1, [4096]>]
// STEPS-LABEL: func.func @residual
// STEPS: snug_nn.weight @w1 recipe [#snug_nn.shard<1, 0, [4096]>, #snug_nn.shard<1, 1, [1024]>]
// STEPS: snug_nn.weight @w2 recipe [#snug_nn.shard<0, 0, [4096]>, #snug_nn.shard<0, 1, [1024]>]
// ONE-LABEL: func.func @residual
// ONE: snug_nn.weight @w1 recipe [#snug_nn.shard<1, 0, [4096]>]
// ONE: snug_nn.weight @w2 recipe [#snug_nn.shard<0, 0, [4096]>]
// INPUTS-LABEL: func.func @residual
// INPUTS: snug_nn.weight @w1 recipe [#snug_nn.shard<0, 1, [1024]>]
// INPUTS: snug_nn.weight @w2 recipe [#snug_nn.shard<1, 1, [1024]>]
// INPUTS: snug_nn.weight @w3 recipe [#snug_nn.shard<0, 1, [1024]>]
module {
  snug_nn.data @w1 : tensor<1024x4096xf32> {file = "w", offset = 0 : i64, length = 16777216 : i64}
  snug_nn.data @w2 : tensor<4096x1024xf32> {file = "w", offset = 16777216 : i64, length = 16777216 : i64}
  snug_nn.data @w3 : tensor<1024x4096xf32> {file = "w", offset = 33554432 : i64, length = 16777216 : i64}
  func.func @residual(%x: tensor<64x1024xf32>, %mask: tensor<64x4096xf32>) -> tensor<64x4096xf32> {
    %w1 = snug_nn.weight @w1 : tensor<1024x4096xf32>
    %w2 = snug_nn.weight @w2 : tensor<4096x1024xf32>
    %w3 = snug_nn.weight @w3 : tensor<1024x4096xf32>
    %zero = arith.constant 0.0 : f32
    %wide = tensor.empty() : tensor<64x4096xf32>
    %narrow = tensor.empty() : tensor<64x1024xf32>
    %i1 = linalg.fill ins(%zero : f32) outs(%wide : tensor<64x4096xf32>) -> tensor<64x4096xf32>
    %h = linalg.matmul ins(%x, %w1 : tensor<64x1024xf32>, tensor<1024x4096xf32>) outs(%i1 : tensor<64x4096xf32>) -> tensor<64x4096xf32>
    %a = linalg.mul ins(%h, %mask : tensor<64x4096xf32>, tensor<64x4096xf32>) outs(%wide : tensor<64x4096xf32>) -> tensor<64x4096xf32>
    %i2 = linalg.fill ins(%zero : f32) outs(%narrow : tensor<64x1024xf32>) -> tensor<64x1024xf32>
    %y = linalg.matmul ins(%a, %w2 : tensor<64x4096xf32>, tensor<4096x1024xf32>) outs(%i2 : tensor<64x1024xf32>) -> tensor<64x1024xf32>
    %r = linalg.add ins(%x, %y : tensor<64x1024xf32>, tensor<64x1024xf32>) outs(%narrow : tensor<64x1024xf32>) -> tensor<64x1024xf32>
    %z = linalg.matmul ins(%r, %w3 : tensor<64x1024xf32>, tensor<1024x4096xf32>) outs(%i1 : tensor<64x4096xf32>) -> tensor<64x4096xf32>
    return %z : tensor<64x4096xf32>
  }
}
