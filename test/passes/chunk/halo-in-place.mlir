// RUN: snug-opt %s -snug-select-chunks="activation-budget=280000 exact" | FileCheck %s

#x = affine_map<(c, h, w, k, r, s) -> (k, h + r, w + s)>
#w = affine_map<(c, h, w, k, r, s) -> (k, r, s, c)>
#y = affine_map<(c, h, w, k, r, s) -> (c, h, w)>

// The sum may not be written over %a, of which each iteration computes rows that the one before it has, too: it gets a
// tensor of its own, and %a stays in the iteration.
// CHECK-LABEL: func.func @residual(
// CHECK: %[[NEW:.*]] = tensor.empty() : tensor<8x64x64xf32>
// CHECK: scf.for {{.*}} iter_args(%[[SUM:.*]] = %[[NEW]])
// CHECK: %[[A:.*]] = linalg.abs
// CHECK: %[[ROWS:.*]] = tensor.extract_slice %[[A]][0, %{{.*}}, 0] [8, 16, 64] [1, 1, 1] : tensor<8x?x64xf32>
// CHECK: %[[OUT:.*]] = tensor.extract_slice %[[SUM]]
// CHECK: linalg.add ins(%[[ROWS]], {{.*}}) outs(%[[OUT]] :
func.func @residual(%x: tensor<8x64x64xf32>, %w: tensor<8x3x3x8xf32>) -> tensor<f32> {
  %z = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<8x64x64xf32>
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
  %s = linalg.add ins(%a, %c : tensor<8x64x64xf32>, tensor<8x64x64xf32>) outs(%a : tensor<8x64x64xf32>) -> tensor<8x64x64xf32>
  %e3 = tensor.empty() : tensor<f32>
  %g = linalg.fill ins(%z : f32) outs(%e3 : tensor<f32>) -> tensor<f32>
  %r = linalg.reduce ins(%s : tensor<8x64x64xf32>) outs(%g : tensor<f32>) dimensions = [0, 1, 2]
    (%in: f32, %acc: f32) {
      %t = arith.addf %in, %acc : f32
      linalg.yield %t : f32
    }
  return %r : tensor<f32>
}
