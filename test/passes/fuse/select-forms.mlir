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
