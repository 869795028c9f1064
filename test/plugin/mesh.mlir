// Stock mlir-opt lacks the runtime that an instrumented plugin needs.
// UNSUPPORTED: sanitizer
//
// A program of upstream ops is cut for two devices. All that it reads is on both, so each does half of the rows, and one
// all-gather puts them together.
// RUN: mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so --pass-pipeline='builtin.module(snug-select-layouts{mesh=2,1},snug-partition,snug-verify-partition,canonicalize,cse)' | FileCheck %s
// RUN: cd %S/../.. && sed -n "/snug-select-layouts/s#^mlir-opt-22 \(.*\)=build/dev/lib/#mlir-opt \1=%snug_lib_dir/#p" docs/plugin.md > %t.sh && sh %t.sh | FileCheck %s --check-prefix=DOCUMENTED
// DOCUMENTED: module attributes {snug.mesh = array<i64: 2, 2>}
// DOCUMENTED: snug_mesh.all_gather
//
// CHECK: module attributes {snug.mesh = array<i64: 2, 1>}
// CHECK: %[[PLACE:.*]] = snug_mesh.index 0
// CHECK: %[[X:.*]] = tensor.extract_slice %{{.*}} [256, 512] [1, 1] : tensor<512x512xf32> to tensor<256x512xf32>
// CHECK: linalg.matmul ins(%[[X]], %{{.*}} : tensor<256x512xf32>, tensor<512x2048xf32>)
// CHECK: linalg.tanh ins(%{{.*}} : tensor<256x2048xf32>)
// CHECK: %[[P:.*]] = linalg.matmul ins(%{{.*}}, %{{.*}} : tensor<256x2048xf32>, tensor<2048x512xf32>)
// CHECK: %[[ALL:.*]] = snug_mesh.all_gather axes [0] ins(%[[P]] : tensor<256x512xf32>)
// CHECK: %[[Y:.*]] = tensor.collapse_shape %[[ALL]]
// CHECK: return %[[Y]]
func.func @mlp(%x: tensor<512x512xf32>, %w1: tensor<512x2048xf32>, %w2: tensor<2048x512xf32>) -> tensor<512x512xf32> {
  %zero = arith.constant 0.0 : f32
  %e1 = tensor.empty() : tensor<512x2048xf32>
  %i1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<512x2048xf32>) -> tensor<512x2048xf32>
  %h = linalg.matmul ins(%x, %w1 : tensor<512x512xf32>, tensor<512x2048xf32>) outs(%i1 : tensor<512x2048xf32>) -> tensor<512x2048xf32>
  %e2 = tensor.empty() : tensor<512x2048xf32>
  %a = linalg.tanh ins(%h : tensor<512x2048xf32>) outs(%e2 : tensor<512x2048xf32>) -> tensor<512x2048xf32>
  %e3 = tensor.empty() : tensor<512x512xf32>
  %i3 = linalg.fill ins(%zero : f32) outs(%e3 : tensor<512x512xf32>) -> tensor<512x512xf32>
  %y = linalg.matmul ins(%a, %w2 : tensor<512x2048xf32>, tensor<2048x512xf32>) outs(%i3 : tensor<512x512xf32>) -> tensor<512x512xf32>
  return %y : tensor<512x512xf32>
}
