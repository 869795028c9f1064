// RUN: snug-opt %s -split-input-file -snug-select-layouts='mesh=2,1' | FileCheck %s -enable-var-scope
// RUN: snug-opt %s -split-input-file -snug-select-layouts='mesh=2,1' -snug-partition -snug-verify-partition -canonicalize -cse | FileCheck %s --check-prefix=LOCAL -enable-var-scope

// Keys that grow by those of one token: what comes back lies as what was given, by heads, as the contraction wants them.
// CHECK-LABEL: func.func @cache
// CHECK-SAME: %{{.*}}: tensor<1x1024xf32>, %{{.*}}: tensor<16x?x64xf32> {snug.dims = ["16", "past", "64"], snug.layout = array<i64: 0, -1>}
// CHECK-SAME: -> (tensor<16x?xf32>, tensor<16x?x64xf32> {snug.dims = ["16", "past + 1", "64"], snug.layout = array<i64: 0, -1>})
// LOCAL-LABEL: func.func @cache
// LOCAL-SAME: %[[PAST:[^ ]*]]: tensor<8x?x64xf32> {snug.dims = ["8", "past", "64"], snug.layout = array<i64: 0, -1>}
// LOCAL-SAME: tensor<8x?x64xf32> {snug.dims = ["8", "past + 1", "64"], snug.layout = array<i64: 0, -1>}
// LOCAL: %[[GROWN:.*]] = tensor.insert_slice %[[PAST]] into %{{.*}} : tensor<8x?x64xf32> into tensor<8x?x64xf32>
// LOCAL: %[[ALL:.*]] = tensor.insert_slice %{{.*}} into %[[GROWN]]
// LOCAL: snug_mesh.all_gather axes [0] ins(%{{.*}} : tensor<8x?xf32>)
// LOCAL-NOT: snug_mesh
// LOCAL: return %{{.*}}, %[[ALL]] : tensor<16x?xf32>, tensor<8x?x64xf32>
module attributes {snug.dims = [{name = "past", min = 1, max = 64, step = 1}]} {
  snug_nn.data @w : tensor<1024x1024xf32> {file = "w", offset = 0 : i64, length = 4194304 : i64}
  func.func @cache(%x: tensor<1x1024xf32>, %past: tensor<16x?x64xf32> {snug.dims = ["16", "past", "64"]})
      -> (tensor<16x?xf32>, tensor<16x?x64xf32> {snug.dims = ["16", "past + 1", "64"]}) {
    %w = snug_nn.weight @w : tensor<1024x1024xf32>
    %c1 = arith.constant 1 : index
    %zero = arith.constant 0.0 : f32
    %n = tensor.dim %past, %c1 : tensor<16x?x64xf32>
    %m = affine.apply affine_map<()[s0] -> (s0 + 1)>()[%n]
    %e1 = tensor.empty() : tensor<1x1024xf32>
    %i1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<1x1024xf32>) -> tensor<1x1024xf32>
    %k = linalg.matmul ins(%x, %w : tensor<1x1024xf32>, tensor<1024x1024xf32>) outs(%i1 : tensor<1x1024xf32>) -> tensor<1x1024xf32>
    %heads = tensor.expand_shape %k [[0], [1, 2]] output_shape [1, 16, 64] : tensor<1x1024xf32> into tensor<1x16x64xf32>
    %e2 = tensor.empty() : tensor<16x1x64xf32>
    %new = linalg.transpose ins(%heads : tensor<1x16x64xf32>) outs(%e2 : tensor<16x1x64xf32>) permutation = [1, 0, 2]
    %e3 = tensor.empty(%m) : tensor<16x?x64xf32>
    %grown = tensor.insert_slice %past into %e3[0, 0, 0] [16, %n, 64] [1, 1, 1] : tensor<16x?x64xf32> into tensor<16x?x64xf32>
    %all = tensor.insert_slice %new into %grown[0, %n, 0] [16, 1, 64] [1, 1, 1] : tensor<16x1x64xf32> into tensor<16x?x64xf32>
    %e4 = tensor.empty(%m) : tensor<16x?xf32>
    %i4 = linalg.fill ins(%zero : f32) outs(%e4 : tensor<16x?xf32>) -> tensor<16x?xf32>
    %s = linalg.generic {indexing_maps = [affine_map<(h, t, d) -> (h, t, d)>, affine_map<(h, t, d) -> (h, 0, d)>, affine_map<(h, t, d) -> (h, t)>],
                         iterator_types = ["parallel", "parallel", "reduction"]}
        ins(%all, %new : tensor<16x?x64xf32>, tensor<16x1x64xf32>) outs(%i4 : tensor<16x?xf32>) {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %p = arith.mulf %a, %b : f32
      %q = arith.addf %c, %p : f32
      linalg.yield %q : f32
    } -> tensor<16x?xf32>
    return %s, %all : tensor<16x?xf32>, tensor<16x?x64xf32>
  }
}

// -----

// What is not given back is whole, and so is what is.
// CHECK-LABEL: func.func @plain
// CHECK-SAME: (%{{.*}}: tensor<64x64xf32> {snug.shared = ["whole", "whole"]}) -> tensor<64x64xf32>
func.func @plain(%x: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<64x64xf32>
  %i = linalg.fill ins(%zero : f32) outs(%e : tensor<64x64xf32>) -> tensor<64x64xf32>
  %y = linalg.matmul ins(%x, %x : tensor<64x64xf32>, tensor<64x64xf32>) outs(%i : tensor<64x64xf32>) -> tensor<64x64xf32>
  return %y : tensor<64x64xf32>
}

// -----

// Nothing speaks for parts of what is only handed on.
// CHECK-LABEL: func.func @handed_on
// CHECK-SAME: (%{{.*}}: tensor<64x64xf32>) -> tensor<64x64xf32>
func.func @handed_on(%x: tensor<64x64xf32>) -> tensor<64x64xf32> {
  return %x : tensor<64x64xf32>
}

// -----

// A pin of an argument and one of a result, along another dim: an all-to-all between them.
// LOCAL-LABEL: func.func @pinned
// LOCAL-SAME: (%[[X:.*]]: tensor<32x64xf32> {snug.layout = array<i64: 0, -1>, snug.pin = array<i64: 0, -1>}) -> (tensor<64x32xf32> {snug.layout = array<i64: 1, -1>, snug.pin = array<i64: 1, -1>})
// LOCAL: snug_mesh.all_to_all axes [0]
// LOCAL-NOT: snug_mesh
// LOCAL: return %{{.*}} : tensor<64x32xf32>
func.func @pinned(%x: tensor<64x64xf32> {snug.pin = array<i64: 0, -1>}) -> (tensor<64x64xf32> {snug.pin = array<i64: 1, -1>}) {
  %e = tensor.empty() : tensor<64x64xf32>
  %y = linalg.exp ins(%x : tensor<64x64xf32>) outs(%e : tensor<64x64xf32>) -> tensor<64x64xf32>
  return %y : tensor<64x64xf32>
}

// -----

// One pin is enough for what is given back.
// LOCAL-LABEL: func.func @pinned_cache
// LOCAL-SAME: (%[[X:.*]]: tensor<4x32xf32> {snug.layout = array<i64: 1, -1>}, %{{.*}}: tensor<1x64xf32>)
// LOCAL-SAME: -> (tensor<5x32xf32> {snug.layout = array<i64: 1, -1>, snug.pin = array<i64: 1, -1>})
// LOCAL-NOT: snug_mesh.all
// LOCAL: return %{{.*}} : tensor<5x32xf32>
func.func @pinned_cache(%x: tensor<4x64xf32>, %row: tensor<1x64xf32>) -> (tensor<5x64xf32> {snug.pin = array<i64: 1, -1>}) {
  %e = tensor.empty() : tensor<5x64xf32>
  %a = tensor.insert_slice %x into %e[0, 0] [4, 64] [1, 1] : tensor<4x64xf32> into tensor<5x64xf32>
  %b = tensor.insert_slice %row into %a[4, 0] [1, 64] [1, 1] : tensor<1x64xf32> into tensor<5x64xf32>
  return %b : tensor<5x64xf32>
}

// -----

// A value in parts: what makes it is cut like it, though all that it reads is on each device.
// LOCAL-LABEL: func.func @value
// LOCAL: linalg.exp ins(%{{.*}} : tensor<64x32xf32>)
// LOCAL-NOT: snug_mesh.pin
// LOCAL: %[[ALL:.*]] = snug_mesh.all_gather axes [0]
func.func @value(%x: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %e = tensor.empty() : tensor<64x64xf32>
  %y = linalg.exp ins(%x : tensor<64x64xf32>) outs(%e : tensor<64x64xf32>) -> tensor<64x64xf32>
  %p = snug_mesh.pin %y along [1, -1] : tensor<64x64xf32>
  return %p : tensor<64x64xf32>
}

// -----

// A weight in parts of its rows, which the program reads transposed: of columns there.
// LOCAL-LABEL: func.func @weight
// LOCAL: snug_nn.weight @weight_w recipe [#snug_nn.transpose<[1, 0]>, #snug_nn.shard<1, 0, [512]>] : tensor<1024x256xf32>
module {
  snug_nn.data @weight_w : tensor<512x1024xf32> {file = "w", offset = 0 : i64, length = 2097152 : i64, snug.pin = array<i64: 0, -1>}
  func.func @weight(%x: tensor<8x1024xf32>) -> tensor<8x512xf32> {
    %w = snug_nn.weight @weight_w recipe [#snug_nn.transpose<[1, 0]>] : tensor<1024x512xf32>
    %zero = arith.constant 0.0 : f32
    %e = tensor.empty() : tensor<8x512xf32>
    %i = linalg.fill ins(%zero : f32) outs(%e : tensor<8x512xf32>) -> tensor<8x512xf32>
    %y = linalg.matmul ins(%x, %w : tensor<8x1024xf32>, tensor<1024x512xf32>) outs(%i : tensor<8x512xf32>) -> tensor<8x512xf32>
    return %y : tensor<8x512xf32>
  }
}

// -----

// The other one of its dims: then the sum is made in parts.
// LOCAL-LABEL: func.func @weight_summed
// LOCAL: snug_nn.weight @weight_w recipe [#snug_nn.transpose<[1, 0]>, #snug_nn.shard<0, 0, [1024]>] : tensor<512x512xf32>
// LOCAL: snug_mesh.all_reduce sum axes [0]
module {
  snug_nn.data @weight_w : tensor<512x1024xf32> {file = "w", offset = 0 : i64, length = 2097152 : i64, snug.pin = array<i64: 1, -1>}
  func.func @weight_summed(%x: tensor<8x1024xf32>) -> tensor<8x512xf32> {
    %w = snug_nn.weight @weight_w recipe [#snug_nn.transpose<[1, 0]>] : tensor<1024x512xf32>
    %zero = arith.constant 0.0 : f32
    %e = tensor.empty() : tensor<8x512xf32>
    %i = linalg.fill ins(%zero : f32) outs(%e : tensor<8x512xf32>) -> tensor<8x512xf32>
    %y = linalg.matmul ins(%x, %w : tensor<8x1024xf32>, tensor<1024x512xf32>) outs(%i : tensor<8x512xf32>) -> tensor<8x512xf32>
    return %y : tensor<8x512xf32>
  }
}
