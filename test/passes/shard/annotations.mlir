// RUN: snug-opt %s -split-input-file -snug-select-layouts | FileCheck %s --check-prefix=PINNED -enable-var-scope
// RUN: snug-opt %s -split-input-file -snug-select-layouts -snug-partition -snug-verify-partition -canonicalize -cse | FileCheck %s -enable-var-scope

// Annotations of MLIR's own dialect: of an argument, a value and a result; the grid is the mesh.
// PINNED: module attributes {snug.mesh = array<i64: 2, 2>}
// PINNED-NOT: shard.
// PINNED: func.func @all(%{{.*}}: tensor<64x64xf32> {snug.layout = array<i64: 0, -1>, snug.pin = array<i64: 0, -2>})
// PINNED: snug_mesh.pin %{{.*}} along [0, 0]
// CHECK-LABEL: func.func @all
// CHECK-SAME: (%{{.*}}: tensor<32x64xf32> {{.*}}) -> (tensor<64x32xf32> {snug.layout = array<i64: -1, 1>
// CHECK: linalg.exp ins(%{{.*}} : tensor<16x64xf32>)
// CHECK-NOT: snug_mesh.pin
// CHECK: snug_mesh.all
// CHECK: return %{{.*}} : tensor<64x32xf32>
shard.grid @grid(shape = 2x2)
func.func @all(%x: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %rows = shard.sharding @grid split_axes = [[0]] : !shard.sharding
  %a = shard.shard %x to %rows : tensor<64x64xf32>
  %e = tensor.empty() : tensor<64x64xf32>
  %y = linalg.exp ins(%a : tensor<64x64xf32>) outs(%e : tensor<64x64xf32>) -> tensor<64x64xf32>
  %both = shard.sharding @grid split_axes = [[0, 1]] : !shard.sharding
  %b = shard.shard %y to %both : tensor<64x64xf32>
  %columns = shard.sharding @grid split_axes = [[], [1]] : !shard.sharding
  %c = shard.shard %b to %columns annotate_for_users : tensor<64x64xf32>
  return %c : tensor<64x64xf32>
}

// -----

// One axis; what is annotated as replicated is.
// CHECK-LABEL: func.func @replicated
// CHECK: linalg.exp ins(%{{.*}} : tensor<64x64xf32>)
// CHECK-NOT: snug_mesh.all
shard.grid @grid(shape = 4)
func.func @replicated(%x: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %e = tensor.empty() : tensor<64x64xf32>
  %y = linalg.exp ins(%x : tensor<64x64xf32>) outs(%e : tensor<64x64xf32>) -> tensor<64x64xf32>
  %whole = shard.sharding @grid split_axes = [[]] : !shard.sharding
  %a = shard.shard %y to %whole : tensor<64x64xf32>
  return %a : tensor<64x64xf32>
}
