// RUN: snug-opt %s -split-input-file -snug-fuse -snug-verify-kernels | FileCheck %s -enable-var-scope

#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#last = affine_map<(d0, d1, d2) -> (d2)>
#mk = affine_map<(m, n, k) -> (m, k)>
#kn = affine_map<(m, n, k) -> (k, n)>
#mn = affine_map<(m, n, k) -> (m, n)>

// The result is viewed with a batch dim before bias and residual: they join the contraction, the view comes after.
// CHECK-LABEL: func.func @through_expand(
// CHECK: %[[RES:.*]] = tensor.collapse_shape %arg3 {{\[\[}}0, 1], [2]]
// CHECK: %[[R:.*]] = snug_nn.contract
// CHECK-SAME: epilogue(%arg2, %[[RES]] : tensor<8xf32>, tensor<4x8xf32>)
// CHECK-NOT: linalg.generic
// CHECK: tensor.expand_shape %[[R]] {{\[\[}}0, 1], [2]] output_shape [1, 4, 8]
func.func @through_expand(%x: tensor<4x16xf32>, %w: tensor<16x8xf32>, %b: tensor<8xf32>, %r: tensor<1x4x8xf32>) -> tensor<1x4x8xf32> {
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = snug_nn.contract ins(%x, %w : tensor<4x16xf32>, tensor<16x8xf32>) outs(%e : tensor<4x8xf32>)
    attributes {indexing_maps = [#mk, #kn, #mn], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x8xf32>
  %1 = tensor.expand_shape %0 [[0, 1], [2]] output_shape [1, 4, 8] : tensor<4x8xf32> into tensor<1x4x8xf32>
  %f = tensor.empty() : tensor<1x4x8xf32>
  %2 = linalg.generic {indexing_maps = [#id, #last, #id, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%1, %b, %r : tensor<1x4x8xf32>, tensor<8xf32>, tensor<1x4x8xf32>) outs(%f : tensor<1x4x8xf32>) {
  ^bb0(%p: f32, %q: f32, %s: f32, %o: f32):
    %t = arith.addf %p, %q : f32
    %u = arith.addf %t, %s : f32
    linalg.yield %u : f32
  } -> tensor<1x4x8xf32>
  return %2 : tensor<1x4x8xf32>
}

// -----

#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#swap = affine_map<(d0, d1, d2) -> (d1, d0, d2)>
#heads = affine_map<(d0, d1, d2) -> (d0, d2)>
#mk = affine_map<(m, n, k) -> (m, k)>
#kn = affine_map<(m, n, k) -> (k, n)>
#mn = affine_map<(m, n, k) -> (m, n)>

// Heads are split, the bias is added and the heads come first: the bias joins the contraction, only the move is left.
// CHECK-LABEL: func.func @compute_before_moving(
// CHECK: %[[B:.*]] = tensor.collapse_shape %arg2 {{\[\[}}0, 1]]
// CHECK: %[[R:.*]] = snug_nn.contract
// CHECK-SAME: epilogue(%[[B]] : tensor<8xf32>)
// CHECK: arith.addf
// CHECK: %[[V:.*]] = tensor.expand_shape %[[R]]
// CHECK: linalg.generic {{.*}} ins(%[[V]] : tensor<4x2x4xf32>) outs(%{{.*}} : tensor<2x4x4xf32>)
// CHECK-NEXT: ^bb0(%[[IN:.*]]: f32, %{{.*}}: f32):
// CHECK-NEXT: linalg.yield %[[IN]]
func.func @compute_before_moving(%x: tensor<4x16xf32>, %w: tensor<16x8xf32>, %b: tensor<2x4xf32>) -> tensor<2x4x4xf32> {
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = snug_nn.contract ins(%x, %w : tensor<4x16xf32>, tensor<16x8xf32>) outs(%e : tensor<4x8xf32>)
    attributes {indexing_maps = [#mk, #kn, #mn], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x8xf32>
  %1 = tensor.expand_shape %0 [[0], [1, 2]] output_shape [4, 2, 4] : tensor<4x8xf32> into tensor<4x2x4xf32>
  %f = tensor.empty() : tensor<2x4x4xf32>
  %2 = linalg.generic {indexing_maps = [#swap, #heads, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%1, %b : tensor<4x2x4xf32>, tensor<2x4xf32>) outs(%f : tensor<2x4x4xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %t = arith.addf %p, %q : f32
    linalg.yield %t : f32
  } -> tensor<2x4x4xf32>
  return %2 : tensor<2x4x4xf32>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#mk = affine_map<(m, n, k) -> (m, k)>
#kn = affine_map<(m, n, k) -> (k, n)>
#mn = affine_map<(m, n, k) -> (m, n)>

// What others read too is not recomputed.
// CHECK-LABEL: func.func @two_readers(
// CHECK: snug_nn.contract
// CHECK: linalg.generic
func.func @two_readers(%x: tensor<4x16xf32>, %w: tensor<16x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = snug_nn.contract ins(%x, %w : tensor<4x16xf32>, tensor<16x8xf32>) outs(%e : tensor<4x8xf32>)
    attributes {indexing_maps = [#mk, #kn, #mn], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<4x8xf32>
  %1 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%0 : tensor<4x8xf32>) outs(%e : tensor<4x8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %s = math.tanh %p : f32
    linalg.yield %s : f32
  } -> tensor<4x8xf32>
  return %0, %1 : tensor<4x8xf32>, tensor<4x8xf32>
}
