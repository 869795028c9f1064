// RUN: snug-opt %s -split-input-file -snug-select-forms | FileCheck %s -enable-var-scope

#mk = affine_map<(b, m, n, k) -> (b, m, k)>
#kn = affine_map<(b, m, n, k) -> (b, k, n)>
#mn = affine_map<(b, m, n, k) -> (b, m, n)>

module attributes {snug.few_rows = 16 : i64, snug.dims = [{name = "s", min = 1 : i64, max = 16 : i64, step = 1 : i64},
                                                          {name = "t", min = 1 : i64, max = 17 : i64, step = 1 : i64}]} {
// Rows at their upper bound; the batch does not count, and rows go first.
// CHECK-LABEL: func.func @rows(
// CHECK: snug_nn.contract{{.*}} attributes {few_rows, indexing_maps
func.func @rows(%a: tensor<40x?x512xf32> {snug.dims = ["40", "s", "512"]}, %b: tensor<40x512x8xf32>, %e: tensor<40x?x8xf32> {snug.dims = ["40", "s", "8"]})
    -> tensor<40x?x8xf32> {
  %r = snug_nn.contract ins(%a, %b : tensor<40x?x512xf32>, tensor<40x512x8xf32>) outs(%e : tensor<40x?x8xf32>) attributes {indexing_maps = [#mk, #kn, #mn], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<40x?x8xf32>
  return %r : tensor<40x?x8xf32>
}

// CHECK-LABEL: func.func @columns(
// CHECK: snug_nn.contract{{.*}} attributes {few_columns, indexing_maps
func.func @columns(%a: tensor<40x?x512xf32> {snug.dims = ["40", "t", "512"]}, %b: tensor<40x512x8xf32>, %e: tensor<40x?x8xf32> {snug.dims = ["40", "t", "8"]})
    -> tensor<40x?x8xf32> {
  %r = snug_nn.contract ins(%a, %b : tensor<40x?x512xf32>, tensor<40x512x8xf32>) outs(%e : tensor<40x?x8xf32>) attributes {indexing_maps = [#mk, #kn, #mn], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<40x?x8xf32>
  return %r : tensor<40x?x8xf32>
}

// CHECK-LABEL: func.func @many(
// CHECK: snug_nn.contract{{.*}} attributes {indexing_maps
func.func @many(%a: tensor<40x17x512xf32>, %b: tensor<40x512x17xf32>, %e: tensor<40x17x17xf32>) -> tensor<40x17x17xf32> {
  %r = snug_nn.contract ins(%a, %b : tensor<40x17x512xf32>, tensor<40x512x17xf32>) outs(%e : tensor<40x17x17xf32>) attributes {indexing_maps = [#mk, #kn, #mn], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<40x17x17xf32>
  return %r : tensor<40x17x17xf32>
}
}

// -----

// A target that asks for nothing.
#mk = affine_map<(m, n, k) -> (m, k)>
#kn = affine_map<(m, n, k) -> (k, n)>
#mn = affine_map<(m, n, k) -> (m, n)>
// CHECK-LABEL: func.func @unmarked(
// CHECK: snug_nn.contract{{.*}} attributes {indexing_maps
func.func @unmarked(%a: tensor<1x512xf32>, %b: tensor<512x8xf32>, %e: tensor<1x8xf32>) -> tensor<1x8xf32> {
  %r = snug_nn.contract ins(%a, %b : tensor<1x512xf32>, tensor<512x8xf32>) outs(%e : tensor<1x8xf32>)
      attributes {indexing_maps = [#mk, #kn, #mn], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<1x8xf32>
  return %r : tensor<1x8xf32>
}

// -----

// A decode step: 264 blocks for 8 heads of keys are 32 parts each, of which 4000 keys make 15, so 8.
#q = affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>
#k = affine_map<(b, h, s, t, d, e) -> (b, h floordiv 4, t, d)>
#v = affine_map<(b, h, s, t, d, e) -> (b, h floordiv 4, t, e)>
#m = affine_map<(b, h, s, t, d, e) -> (s, t)>
#y = affine_map<(b, h, s, t, d, e) -> (b, s, h, e)>
module attributes {snug.few_rows = 16 : i64, snug.blocks = 264 : i64, snug.dims = [{name = "t", min = 1 : i64, max = 4000 : i64, step = 1 : i64}]} {
// CHECK-DAG: #[[$K:.*]] = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1 floordiv 4, d4, d5)>
// CHECK-DAG: #[[$BIAS:.*]] = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3, d4)>
// CHECK-DAG: #[[$STAT:.*]] = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d2, d0, d1, d3)>
// CHECK-DAG: #[[$PART:.*]] = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d2, d0, d3, d1, d6)>
// CHECK-DAG: #[[$STATS:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d4, d0, d2, d1)>
// CHECK-DAG: #[[$VALUES:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d4, d0, d1, d2, d3)>
// CHECK-LABEL: func.func @decode(
// CHECK: %[[P:.*]]:3 = snug_nn.attention
// CHECK-SAME: stats(%{{.*}}, %{{.*}} : tensor<8x1x32x1xf32>, tensor<8x1x32x1xf32>)
// CHECK-SAME: outs(%{{.*}} : tensor<8x1x1x32x128xf32>)
// CHECK-SAME: few_rows, in_parts, indexing_maps = [#{{.*}}, #[[$K]], #{{.*}}, #[[$BIAS]], #[[$STAT]], #[[$STAT]], #[[$PART]]]
// CHECK: snug_nn.index 4
// CHECK: snug_nn.scalar_kernel ins(%[[P]]#0, %[[P]]#1, %[[P]]#2
// CHECK-SAME: indexing_maps = [#[[$STATS]], #[[$STATS]], #[[$VALUES]]
// CHECK: scf.for
// CHECK: arith.maximumf
// CHECK: scf.for
// CHECK: math.exp
// CHECK: snug_nn.store
func.func @decode(%q: tensor<1x32x1x128xf16>, %k: tensor<1x8x?x128xf16> {snug.dims = ["1", "8", "t", "128"]},
                  %v: tensor<1x8x?x128xf16> {snug.dims = ["1", "8", "t", "128"]}, %m: tensor<1x?xf32> {snug.dims = ["1", "t"]}, %e: tensor<1x1x32x128xf16>)
    -> tensor<1x1x32x128xf16> {
  %r = snug_nn.attention ins(%q, %k, %v : tensor<1x32x1x128xf16>, tensor<1x8x?x128xf16>, tensor<1x8x?x128xf16>) score(%m : tensor<1x?xf32>)
      outs(%e : tensor<1x1x32x128xf16>) attributes {indexing_maps = [#q, #k, #v, #m, #y]} {
  ^bb0(%qk: f32, %bias: f32):
    %t = snug_nn.index 3
    %i = arith.index_cast %t : index to i64
    %f = arith.sitofp %i : i64 to f32
    %x = arith.addf %qk, %f : f32
    %score = arith.addf %x, %bias : f32
    snug_nn.yield %score : f32
  } -> tensor<1x1x32x128xf16>
  return %r : tensor<1x1x32x128xf16>
}
}

// -----

// 264 blocks for 3 rows are 88 parts each.
module attributes {snug.few_rows = 16 : i64, snug.blocks = 264 : i64, snug.dims = [{name = "n", min = 1 : i64, max = 500000 : i64, step = 1 : i64}]} {
// CHECK-DAG: #[[$X:.*]] = affine_map<(d0, d1, d2) -> (d0, d1)>
// CHECK-DAG: #[[$P:.*]] = affine_map<(d0, d1, d2) -> (d2, d0)>
// CHECK-DAG: #[[$ALL:.*]] = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-DAG: #[[$ROW:.*]] = affine_map<(d0, d1) -> (d1)>
// CHECK-LABEL: func.func @sums(
// CHECK-SAME: %[[X:[^:]*]]: tensor<3x?xf32>
// CHECK-SAME: %[[E:[^:]*]]: tensor<3xf32>
// CHECK: %[[P:.*]] = snug_nn.partial_reduce ins(%[[X]] : tensor<3x?xf32>) outs(%{{.*}} : tensor<88x3xf32>)
// CHECK-SAME: indexing_maps = [#[[$X]], #[[$P]]], iterator_types = ["parallel", "reduction", "parallel"]
// CHECK: linalg.index 1
// CHECK: linalg.generic {indexing_maps = [#[[$ALL]], #[[$ROW]]], iterator_types = ["reduction", "parallel"]} ins(%[[P]] : tensor<88x3xf32>) outs(%[[E]] : tensor<3xf32>)
// CHECK: arith.addf %{{.*}} fastmath<reassoc>
func.func @sums(%x: tensor<3x?xf32> {snug.dims = ["3", "n"]}, %e: tensor<3xf32>) -> tensor<3xf32> {
  %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>], iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<3x?xf32>) outs(%e : tensor<3xf32>) {
  ^bb0(%a: f32, %s: f32):
    %j = linalg.index 1 : index
    %i = arith.index_cast %j : index to i64
    %f = arith.sitofp %i : i64 to f32
    %m = arith.mulf %a, %f : f32
    %n = arith.addf %m, %s fastmath<reassoc> : f32
    linalg.yield %n : f32
  } -> tensor<3xf32>
  return %r : tensor<3xf32>
}

// Products may be in any order; here there are too few terms for parts.
// CHECK-LABEL: func.func @short(
// CHECK-NOT: partial_reduce
// CHECK: arith.mulf %{{.*}} fastmath<reassoc>
func.func @short(%x: tensor<3x4000xf32>, %e: tensor<3xf32>) -> tensor<3xf32> {
  %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>], iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<3x4000xf32>) outs(%e : tensor<3xf32>) {
  ^bb0(%a: f32, %s: f32):
    %n = arith.mulf %a, %s : f32
    linalg.yield %n : f32
  } -> tensor<3xf32>
  return %r : tensor<3xf32>
}

// What is in sequence stays so.
// CHECK-LABEL: func.func @sequence(
// CHECK-NOT: partial_reduce
func.func @sequence(%x: tensor<400000xf32>, %e: tensor<f32>) -> tensor<f32> {
  %r = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> ()>], iterator_types = ["reduction"]}
      ins(%x : tensor<400000xf32>) outs(%e : tensor<f32>) {
  ^bb0(%a: f32, %s: f32):
    %n = arith.addf %a, %s : f32
    linalg.yield %n : f32
  } -> tensor<f32>
  return %r : tensor<f32>
}

// Each of 40 results of columns is beside others: two blocks of 32, so 132 parts.
// CHECK-LABEL: func.func @columns(
// CHECK: snug_nn.partial_reduce {{.*}} outs(%{{.*}} : tensor<132x40xf32>)
func.func @columns(%x: tensor<100000x40xf32>, %e: tensor<40xf32>) -> tensor<40xf32> {
  %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>], iterator_types = ["reduction", "parallel"]}
      ins(%x : tensor<100000x40xf32>) outs(%e : tensor<40xf32>) {
  ^bb0(%a: f32, %s: f32):
    %n = arith.maximumf %a, %s : f32
    linalg.yield %n : f32
  } -> tensor<40xf32>
  return %r : tensor<40xf32>
}

// CHECK-LABEL: func.func @softmax(
// CHECK: snug_nn.partial_reduce
// CHECK: arith.maximumf
// CHECK: linalg.generic
// CHECK: snug_nn.partial_reduce
// CHECK: math.exp
// CHECK: arith.addf %{{.*}} fastmath<reassoc>
// CHECK: linalg.generic
// CHECK: linalg.generic
// CHECK: math.exp
// CHECK: arith.divf
// CHECK-NOT: snug_nn.softmax
func.func @softmax(%x: tensor<1x128256xf16>, %e: tensor<1x128256xf16>) -> tensor<1x128256xf16> {
  %r = snug_nn.softmax ins(%x : tensor<1x128256xf16>) outs(%e : tensor<1x128256xf16>) {scale = 0.5 : f32} -> tensor<1x128256xf16>
  return %r : tensor<1x128256xf16>
}

// CHECK-LABEL: func.func @many_rows(
// CHECK: snug_nn.softmax
func.func @many_rows(%x: tensor<67x128256xf16>, %e: tensor<67x128256xf16>) -> tensor<67x128256xf16> {
  %r = snug_nn.softmax ins(%x : tensor<67x128256xf16>) outs(%e : tensor<67x128256xf16>) -> tensor<67x128256xf16>
  return %r : tensor<67x128256xf16>
}

// A normalization of groups of channels: over the image itself.
// CHECK-LABEL: func.func @groups(
// CHECK: %[[V:.*]] = tensor.expand_shape
// CHECK-NOT: collapse
// CHECK: snug_nn.partial_reduce ins(%[[V]] : tensor<1x4x8x128x128xf32>) outs(%{{.*}} : tensor<64x1x4xf32>)
// CHECK: snug_nn.partial_reduce ins(%[[V]], %{{.*}}
// CHECK-NOT: snug_nn.norm
func.func @groups(%x: tensor<1x32x128x128xf32>) -> tensor<1x4x131072xf32> {
  %v = tensor.collapse_shape %x [[0], [1], [2, 3]] : tensor<1x32x128x128xf32> into tensor<1x32x16384xf32>
  %w = tensor.expand_shape %v [[0], [1, 2], [3]] output_shape [1, 4, 8, 16384] : tensor<1x32x16384xf32> into tensor<1x4x8x16384xf32>
  %g = tensor.collapse_shape %w [[0], [1], [2, 3]] : tensor<1x4x8x16384xf32> into tensor<1x4x131072xf32>
  %e = tensor.empty() : tensor<1x4x131072xf32>
  %r = snug_nn.norm layer ins(%g : tensor<1x4x131072xf32>) outs(%e : tensor<1x4x131072xf32>) {epsilon = 1.0e-5 : f32} -> tensor<1x4x131072xf32>
  return %r : tensor<1x4x131072xf32>
}

// Long rows are a block's, short ones a thread's, and so are those that lie across each other if there are very many.
// CHECK-LABEL: func.func @steps(
// CHECK: snug_nn.scan sum
// CHECK: snug_nn.scalar_kernel
// CHECK: snug_nn.scalar_kernel
// CHECK: snug_nn.top_k
// CHECK: snug_nn.scalar_kernel
func.func @steps(%x: tensor<2x128xf32>, %y: tensor<2x127xf32>, %z: tensor<128x70000xf32>, %ex: tensor<2x128xf32>, %ey: tensor<2x127xf32>,
                 %ez: tensor<128x70000xf32>, %v: tensor<2x3xf32>, %p: tensor<2x3xi64>, %w: tensor<2x3xf32>, %q: tensor<2x3xi64>)
    -> (tensor<2x128xf32>, tensor<2x127xf32>, tensor<128x70000xf32>, tensor<2x3xf32>, tensor<2x3xf32>) {
  %0 = snug_nn.scan sum ins(%x : tensor<2x128xf32>) outs(%ex : tensor<2x128xf32>) dim = 1 -> tensor<2x128xf32>
  %1 = snug_nn.scan sum ins(%y : tensor<2x127xf32>) outs(%ey : tensor<2x127xf32>) dim = 1 -> tensor<2x127xf32>
  %2 = snug_nn.scan sum ins(%z : tensor<128x70000xf32>) outs(%ez : tensor<128x70000xf32>) dim = 0 -> tensor<128x70000xf32>
  %3:2 = snug_nn.top_k ins(%x : tensor<2x128xf32>) outs(%v, %p : tensor<2x3xf32>, tensor<2x3xi64>) dim = 1 -> tensor<2x3xf32>, tensor<2x3xi64>
  %4:2 = snug_nn.top_k ins(%y : tensor<2x127xf32>) outs(%w, %q : tensor<2x3xf32>, tensor<2x3xi64>) dim = 1 -> tensor<2x3xf32>, tensor<2x3xi64>
  return %0, %1, %2, %3#0, %4#0 : tensor<2x128xf32>, tensor<2x127xf32>, tensor<128x70000xf32>, tensor<2x3xf32>, tensor<2x3xf32>
}
}

// -----

// A target of no blocks: scalar code.
// CHECK-DAG: #[[$IN:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d1)>
// CHECK-DAG: #[[$VALUES:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d2)>
// CHECK-DAG: #[[$PLACES:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d3)>
// CHECK-LABEL: func.func @scalar(
// CHECK: snug_nn.scalar_kernel {{.*}} attributes {indexing_maps = [#{{.*}}, #{{.*}}], overwrites = array<i64: 0>}
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %{{.*}}) -> (f32)
// CHECK: arith.mulf
// CHECK: snug_nn.store {{.*}}, 1[%{{.*}}] : f32
// CHECK: snug_nn.scalar_kernel {{.*}} attributes {indexing_maps = [#[[$IN]], #[[$VALUES]], #[[$PLACES]]]}
// CHECK: scf.while
func.func @scalar(%x: tensor<2x500xf16>, %e: tensor<2x500xf16>, %v: tensor<2x3xf16>, %p: tensor<2x3xi64>)
    -> (tensor<2x500xf16>, tensor<2x3xf16>) {
  %0 = snug_nn.scan product ins(%x : tensor<2x500xf16>) outs(%e : tensor<2x500xf16>) dim = 1 -> tensor<2x500xf16>
  %1:2 = snug_nn.top_k ins(%x : tensor<2x500xf16>) outs(%v, %p : tensor<2x3xf16>, tensor<2x3xi64>) dim = 1 -> tensor<2x3xf16>, tensor<2x3xi64>
  return %0, %1#0 : tensor<2x500xf16>, tensor<2x3xf16>
}
