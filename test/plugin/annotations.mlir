// Stock mlir-opt lacks the runtime that an instrumented plugin needs.
// UNSUPPORTED: sanitizer
//
// What upstream's dialect says of two tensors is kept: rows of the input, columns of the result.
// RUN: mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so --pass-pipeline='builtin.module(snug-select-layouts,snug-partition,snug-verify-partition,canonicalize,cse)' | FileCheck %s
// RUN: not mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so --pass-pipeline='builtin.module(snug-select-layouts{mesh=4,1})' 2>&1 | FileCheck %s --check-prefix=OTHER
// OTHER: error: is annotated for a grid of 2x1 devices, which is not the mesh that was asked for
//
// CHECK: module attributes {snug.mesh = array<i64: 2, 1>}
// CHECK-NOT: shard.
// CHECK: func.func @exp(%{{.*}}: tensor<256x512xf32> {{.*}}) -> (tensor<512x256xf32>
// CHECK: snug_mesh.all_to_all axes [0]
// CHECK: return %{{.*}} : tensor<512x256xf32>
shard.grid @grid(shape = 2)
func.func @exp(%x: tensor<512x512xf32>) -> tensor<512x512xf32> {
  %rows = shard.sharding @grid split_axes = [[0]] : !shard.sharding
  %a = shard.shard %x to %rows : tensor<512x512xf32>
  %e = tensor.empty() : tensor<512x512xf32>
  %y = linalg.exp ins(%a : tensor<512x512xf32>) outs(%e : tensor<512x512xf32>) -> tensor<512x512xf32>
  %columns = shard.sharding @grid split_axes = [[], [0]] : !shard.sharding
  %b = shard.shard %y to %columns : tensor<512x512xf32>
  return %b : tensor<512x512xf32>
}
