// RUN: snug-opt %s -snug-overlap-collectives="links=1e6,0,1e6,0" -split-input-file | FileCheck %s --enable-var-scope
// Pieces that the model chooses are of whole tiles of 16 rows, and it prices those that are made.

// One tile: as a whole.
// CHECK: snug.overlap = []
// CHECK-LABEL: func.func @one_tile(
// CHECK-NOT: snug_mesh.wait
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @one_tile(%x: memref<16x64xf32>, %w: memref<64x6xf32>, %y: memref<16x6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  snug_nn.contract ins(%x, %w : memref<16x64xf32>, memref<64x6xf32>) outs(%y : memref<16x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  snug_mesh.all_reduce sum axes [0] ins(%y : memref<16x6xf32>) outs(%y : memref<16x6xf32>)
  return
}
}

// -----

// Five tiles: 4 equal pieces are 3.
// CHECK: pieces = 3 : i64
// CHECK-LABEL: func.func @five_tiles(
// CHECK: memref.subview %{{.*}}[0, 0] [32, 64]
// CHECK: memref.subview %{{.*}}[32, 0] [32, 64]
// CHECK: memref.subview %{{.*}}[64, 0] [16, 64]
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#y = affine_map<(m, n, k) -> (m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @five_tiles(%x: memref<80x64xf32>, %w: memref<64x6xf32>, %y: memref<80x6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  snug_nn.contract ins(%x, %w : memref<80x64xf32>, memref<64x6xf32>) outs(%y : memref<80x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  snug_mesh.all_reduce sum axes [0] ins(%y : memref<80x6xf32>) outs(%y : memref<80x6xf32>)
  return
}
}

// -----

// A sequence of a batch has tiles enough of its own.
// CHECK: pieces = 8 : i64
// CHECK-LABEL: func.func @batch(
// CHECK: memref.subview %{{.*}}[7, 0, 0] [1, 128, 64]
#x = affine_map<(b, m, n, k) -> (b, m, k)>
#w = affine_map<(b, m, n, k) -> (k, n)>
#y = affine_map<(b, m, n, k) -> (b, m, n)>
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @batch(%x: memref<8x128x64xf32>, %w: memref<64x6xf32>, %y: memref<8x128x6xf32> {snug.output}) attributes {snug.num_inputs = 2 : i64} {
  snug_nn.contract ins(%x, %w : memref<8x128x64xf32>, memref<64x6xf32>) outs(%y : memref<8x128x6xf32>) attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%v: f32):
    snug_nn.yield %v : f32
  }
  snug_mesh.all_reduce sum axes [0] ins(%y : memref<8x128x6xf32>) outs(%y : memref<8x128x6xf32>)
  return
}
}
