// RUN: snug-opt %s -snug-select-chunks=activation-budget=60000 -verify-diagnostics | FileCheck %s

#x = affine_map<(c, h, w, k, r, s) -> (k, h + r, w + s)>
#w = affine_map<(c, h, w, k, r, s) -> (k, r, s, c)>
#y = affine_map<(c, h, w, k, r, s) -> (c, h, w)>

// Rows of a window: what is before it computes two rows more than an iteration steps, fewer where the image ends.
// CHECK-DAG: #[[$SIZE:.*]] = affine_map<()[s0] -> (10, -s0 + 65, s0 + 9, 64)>
// CHECK-DAG: #[[$FIRST:.*]] = affine_map<()[s0] -> (s0 - 1, 0)>
// CHECK-LABEL: func.func @window(
// CHECK: scf.for %[[I:.*]] = %c0 to %c64 step %c8
// CHECK-DAG: %[[N:.*]] = affine.min #[[$SIZE]]()[%[[I]]]
// CHECK-DAG: %[[O:.*]] = affine.max #[[$FIRST]]()[%[[I]]]
// CHECK: tensor.extract_slice %{{.*}}[0, %[[O]], 0] [8, %[[N]], 64]
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[0, %{{.*}}, 1] [8, %[[N]], 64] [1, 1, 1] : tensor<8x?x64xf32> into tensor<8x10x66xf32>
// CHECK: snug_nn.contract ins(%{{.*}} : tensor<8x10x66xf32>
func.func @window(%x: tensor<8x64x64xf32>, %w: tensor<8x3x3x8xf32>, %y: tensor<8x64x64xf32> {snug.output, bufferization.writable = true})
    -> tensor<8x64x64xf32> attributes {snug.num_inputs = 2 : i64} {
  %z = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<8x64x64xf32>
  // expected-remark@+1 {{chunk loop over dim 1 of extent 64, 8 iterations of 8; peak 270464 -> 41600 bytes}}
  %a = linalg.abs ins(%x : tensor<8x64x64xf32>) outs(%e0 : tensor<8x64x64xf32>) -> tensor<8x64x64xf32>
  %e1 = tensor.empty() : tensor<8x66x66xf32>
  %f = linalg.fill ins(%z : f32) outs(%e1 : tensor<8x66x66xf32>) -> tensor<8x66x66xf32>
  %p = tensor.insert_slice %a into %f[0, 1, 1] [8, 64, 64] [1, 1, 1] : tensor<8x64x64xf32> into tensor<8x66x66xf32>
  %e2 = tensor.empty() : tensor<8x64x64xf32>
  %c = snug_nn.contract ins(%p, %w : tensor<8x66x66xf32>, tensor<8x3x3x8xf32>) outs(%e2 : tensor<8x64x64xf32>)
    attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<8x64x64xf32>
  %r = linalg.exp ins(%c : tensor<8x64x64xf32>) outs(%y : tensor<8x64x64xf32>) -> tensor<8x64x64xf32>
  return %r : tensor<8x64x64xf32>
}

// What takes longer than two copies is kept: the window begins with two rows of the iteration before, none in the first
// one, and has those that are new behind them.
// CHECK-LABEL: func.func @carried(
// CHECK: %[[TAIL:.*]] = tensor.empty() : tensor<8x2x64xf32>
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %{{.*}}, %[[KEPT:.*]] = %[[TAIL]])
// CHECK: %[[OLD:.*]] = tensor.extract_slice %[[KEPT]][0, 0, 0] [8, %[[HAVE:.*]], 64]
// CHECK: %[[WINDOW:.*]] = tensor.insert_slice %[[OLD]] into
// CHECK: %[[INTO:.*]] = tensor.extract_slice %[[WINDOW]][0, %[[HAVE]], 0]
// CHECK: %[[NEW:.*]] = linalg.exp ins({{.*}}) outs(%[[INTO]] :
// CHECK: %[[ALL:.*]] = tensor.insert_slice %[[NEW]] into %[[WINDOW]][0, %[[HAVE]], 0]
// CHECK: %[[LAST:.*]] = tensor.extract_slice %[[ALL]]
// CHECK: %[[NEXT:.*]] = tensor.insert_slice %[[LAST]] into %[[KEPT]]
// CHECK: scf.yield %{{.*}}, %[[NEXT]]
func.func @carried(%x: tensor<8x64x64xf32>, %w: tensor<8x3x3x8xf32>, %y: tensor<8x64x64xf32> {snug.output, bufferization.writable = true})
    -> tensor<8x64x64xf32> attributes {snug.num_inputs = 2 : i64} {
  %z = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<8x64x64xf32>
  // expected-remark@+1 {{chunk loop over dim 1 of extent 64, 8 iterations of 8; peak 270464 -> 45696 bytes}}
  %a = linalg.exp ins(%x : tensor<8x64x64xf32>) outs(%e0 : tensor<8x64x64xf32>) -> tensor<8x64x64xf32>
  %e1 = tensor.empty() : tensor<8x66x66xf32>
  %f = linalg.fill ins(%z : f32) outs(%e1 : tensor<8x66x66xf32>) -> tensor<8x66x66xf32>
  %p = tensor.insert_slice %a into %f[0, 1, 1] [8, 64, 64] [1, 1, 1] : tensor<8x64x64xf32> into tensor<8x66x66xf32>
  %e2 = tensor.empty() : tensor<8x64x64xf32>
  %c = snug_nn.contract ins(%p, %w : tensor<8x66x66xf32>, tensor<8x3x3x8xf32>) outs(%e2 : tensor<8x64x64xf32>)
    attributes {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<8x64x64xf32>
  %r = linalg.exp ins(%c : tensor<8x64x64xf32>) outs(%y : tensor<8x64x64xf32>) -> tensor<8x64x64xf32>
  return %r : tensor<8x64x64xf32>
}
