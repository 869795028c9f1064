// RUN: snug-opt %s -split-input-file -snug-fuse -snug-verify-kernels | FileCheck %s -enable-var-scope

#id = affine_map<(h, s, d) -> (h, s, d)>
#swap = affine_map<(h, s, d) -> (s, h, d)>

// Batched contraction of heads: both operands and the result change places of heads and rows, and no copy is left.
// CHECK-DAG: #[[$A:.*]] = affine_map<(d0, d1, d2, d3) -> (d1, d0, d3)>
// CHECK-DAG: #[[$B:.*]] = affine_map<(d0, d1, d2, d3) -> (d2, d0, d3)>
// CHECK-DAG: #[[$C:.*]] = affine_map<(d0, d1, d2, d3) -> (d1, d0, d2)>
// CHECK-LABEL: func.func @heads(
// CHECK-NOT: linalg.generic
// CHECK: snug_nn.contract ins(%arg0, %arg1 : tensor<8x2x4xf32>, tensor<6x2x4xf32>)
// CHECK-SAME: outs(%{{.*}} : tensor<8x2x6xf32>)
// CHECK-SAME: indexing_maps = [#[[$A]], #[[$B]], #[[$C]]]
// CHECK-NOT: linalg.generic
func.func @heads(%x: tensor<8x2x4xf32>, %y: tensor<6x2x4xf32>) -> tensor<8x2x6xf32> {
  %e0 = tensor.empty() : tensor<2x8x4xf32>
  %xt = linalg.generic {indexing_maps = [#swap, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x : tensor<8x2x4xf32>) outs(%e0 : tensor<2x8x4xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<2x8x4xf32>
  %e1 = tensor.empty() : tensor<2x4x6xf32>
  %yt = linalg.generic {indexing_maps = [affine_map<(h, d, s) -> (s, h, d)>, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%y : tensor<6x2x4xf32>) outs(%e1 : tensor<2x4x6xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<2x4x6xf32>
  %e2 = tensor.empty() : tensor<2x8x6xf32>
  %0 = snug_nn.contract ins(%xt, %yt : tensor<2x8x4xf32>, tensor<2x4x6xf32>) outs(%e2 : tensor<2x8x6xf32>)
    attributes {indexing_maps = [affine_map<(h, m, n, k) -> (h, m, k)>, affine_map<(h, m, n, k) -> (h, k, n)>, affine_map<(h, m, n, k) -> (h, m, n)>],
                iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<2x8x6xf32>
  %e3 = tensor.empty() : tensor<8x2x6xf32>
  %1 = linalg.generic {indexing_maps = [#swap, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%0 : tensor<2x8x6xf32>) outs(%e3 : tensor<8x2x6xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<8x2x6xf32>
  return %1 : tensor<8x2x6xf32>
}

// -----

#id = affine_map<(c, i, k) -> (c, i, k)>
#move = affine_map<(c, i, k) -> (i, k, c)>

// The batch dim is innermost in the sources: each contraction would read one element of a cache line, so copies stay.
// CHECK-LABEL: func.func @channels_last(
// CHECK-COUNT-2: linalg.generic
// CHECK: snug_nn.contract ins(%{{.*}}, %{{.*}} : tensor<32x8x8xf32>, tensor<32x8x8xf32>)
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<8x8x32xf32>)
func.func @channels_last(%x: tensor<8x8x32xf32>, %y: tensor<8x8x32xf32>) -> tensor<8x8x32xf32> {
  %e = tensor.empty() : tensor<32x8x8xf32>
  %xt = linalg.generic {indexing_maps = [#move, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x : tensor<8x8x32xf32>) outs(%e : tensor<32x8x8xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<32x8x8xf32>
  %yt = linalg.generic {indexing_maps = [#move, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%y : tensor<8x8x32xf32>) outs(%e : tensor<32x8x8xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<32x8x8xf32>
  %0 = snug_nn.contract ins(%xt, %yt : tensor<32x8x8xf32>, tensor<32x8x8xf32>) outs(%e : tensor<32x8x8xf32>)
    attributes {indexing_maps = [affine_map<(c, i, j, k) -> (c, i, k)>, affine_map<(c, i, j, k) -> (c, j, k)>, affine_map<(c, i, j, k) -> (c, i, j)>],
                iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<32x8x8xf32>
  %r = tensor.empty() : tensor<8x8x32xf32>
  %1 = linalg.generic {indexing_maps = [affine_map<(i, j, c) -> (c, i, j)>, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%0 : tensor<32x8x8xf32>) outs(%r : tensor<8x8x32xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<8x8x32xf32>
  return %1 : tensor<8x8x32xf32>
}

// -----

#id = affine_map<(h, s, d) -> (h, s, d)>
#swap = affine_map<(h, s, d) -> (s, h, d)>

// Two readers of a copy that keeps rows, one of them of a slice: both read the source.
// CHECK-LABEL: func.func @slice_of_copy(
// CHECK: linalg.generic {{.*}} ins(%arg0 : tensor<8x2x4xf32>)
// CHECK: %[[S:.*]] = tensor.extract_slice %arg0[0, 0, 2] [8, 2, 2] [1, 1, 1]
// CHECK: linalg.generic {{.*}} ins(%[[S]] : tensor<8x2x2xf32>)
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @slice_of_copy(%x: tensor<8x2x4xf32>) -> (tensor<2x8x4xf32>, tensor<2x8x2xf32>) {
  %e0 = tensor.empty() : tensor<2x8x4xf32>
  %xt = linalg.generic {indexing_maps = [#swap, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x : tensor<8x2x4xf32>) outs(%e0 : tensor<2x8x4xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<2x8x4xf32>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%xt : tensor<2x8x4xf32>) outs(%e0 : tensor<2x8x4xf32>) {
  ^bb0(%p: f32, %o: f32):
    %t = math.exp %p : f32
    linalg.yield %t : f32
  } -> tensor<2x8x4xf32>
  %s = tensor.extract_slice %xt[0, 0, 2] [2, 8, 2] [1, 1, 1] : tensor<2x8x4xf32> to tensor<2x8x2xf32>
  %e1 = tensor.empty() : tensor<2x8x2xf32>
  %1 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%s : tensor<2x8x2xf32>) outs(%e1 : tensor<2x8x2xf32>) {
  ^bb0(%p: f32, %o: f32):
    %t = math.exp %p : f32
    linalg.yield %t : f32
  } -> tensor<2x8x2xf32>
  return %0, %1 : tensor<2x8x4xf32>, tensor<2x8x2xf32>
}

// -----

#id = affine_map<(i, j, c) -> (i, j, c)>
#swap = affine_map<(i, j, c) -> (j, i, c)>
#a = affine_map<(i, j, n, k) -> (i, j, k)>
#b = affine_map<(i, j, n, k) -> (k, n)>
#c = affine_map<(i, j, n, k) -> (i, j, n)>

// Updates of %z along its rows and along its columns, each after a norm: the rows are normalized before they are moved,
// and all updates are written as %z is laid out, so that each can take the buffer of the one before.
// CHECK-LABEL: func.func @updates_of_rows_and_columns(
// CHECK-SAME: %[[Z:[a-z0-9]+]]: tensor<8x8x4xf32>
// CHECK-NOT: linalg.generic
// CHECK: %[[COLUMNS:.*]] = snug_nn.norm layer ins(%[[Z]] :
// CHECK-NOT: linalg.generic
// CHECK: %[[Z1:.*]] = snug_nn.contract ins(%[[COLUMNS]], {{.*}}) epilogue(%[[Z]] : {{.*}} #[[M0:map[0-9]*]], #[[M0]]], iterator_types
// CHECK-NOT: linalg.generic
// CHECK: %[[ROWS:.*]] = snug_nn.norm layer ins(%[[Z1]] :
// CHECK-NOT: linalg.generic
// CHECK: snug_nn.contract ins(%[[ROWS]], {{.*}}) epilogue(%[[Z1]] : {{.*}} #[[M1:map[0-9]*]], #[[M1]]], iterator_types
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @updates_of_rows_and_columns(%z: tensor<8x8x4xf32>, %w: tensor<4x4xf32>) -> tensor<8x8x4xf32> {
  %e = tensor.empty() : tensor<8x8x4xf32>
  %t = linalg.generic {indexing_maps = [#swap, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%z : tensor<8x8x4xf32>) outs(%e : tensor<8x8x4xf32>) {
  ^bb0(%p: f32, %o: f32):
    linalg.yield %p : f32
  } -> tensor<8x8x4xf32>
  %n = snug_nn.norm layer ins(%t : tensor<8x8x4xf32>) outs(%e : tensor<8x8x4xf32>) {epsilon = 1.0e-5 : f32} -> tensor<8x8x4xf32>
  %p = snug_nn.contract ins(%n, %w : tensor<8x8x4xf32>, tensor<4x4xf32>) outs(%e : tensor<8x8x4xf32>)
      attributes {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<8x8x4xf32>
  %back = linalg.generic {indexing_maps = [#swap, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%p : tensor<8x8x4xf32>) outs(%e : tensor<8x8x4xf32>) {
  ^bb0(%x: f32, %o: f32):
    linalg.yield %x : f32
  } -> tensor<8x8x4xf32>
  %z1 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%z, %back : tensor<8x8x4xf32>, tensor<8x8x4xf32>) outs(%e : tensor<8x8x4xf32>) {
  ^bb0(%x: f32, %y: f32, %o: f32):
    %s = arith.addf %x, %y : f32
    linalg.yield %s : f32
  } -> tensor<8x8x4xf32>
  %n1 = snug_nn.norm layer ins(%z1 : tensor<8x8x4xf32>) outs(%e : tensor<8x8x4xf32>) {epsilon = 1.0e-5 : f32} -> tensor<8x8x4xf32>
  %p1 = snug_nn.contract ins(%n1, %w : tensor<8x8x4xf32>, tensor<4x4xf32>) outs(%e : tensor<8x8x4xf32>)
      attributes {indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<8x8x4xf32>
  %z2 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%z1, %p1 : tensor<8x8x4xf32>, tensor<8x8x4xf32>) outs(%e : tensor<8x8x4xf32>) {
  ^bb0(%x: f32, %y: f32, %o: f32):
    %s = arith.addf %x, %y : f32
    linalg.yield %s : f32
  } -> tensor<8x8x4xf32>
  return %z2 : tensor<8x8x4xf32>
}
