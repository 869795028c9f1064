// RUN: snug-opt %s -split-input-file -snug-fuse -snug-verify-kernels | FileCheck %s -enable-var-scope
// RUN: snug-opt %s -split-input-file -snug-fuse-attention | FileCheck %s -enable-var-scope -check-prefix=FIRST

#id4 = affine_map<(b, h, s, t) -> (b, h, s, t)>
#swap = affine_map<(b, h, s, d) -> (b, s, h, d)>
#qk = affine_map<(b, h, s, t, d) -> (b, h, s, d)>
#kt = affine_map<(b, h, s, t, d) -> (b, h, d, t)>
#st = affine_map<(b, h, s, t, d) -> (b, h, s, t)>
#dt = affine_map<(b, h, d, t) -> (b, t, h, d)>
#pv = affine_map<(b, h, s, e, t) -> (b, h, s, t)>
#v = affine_map<(b, h, s, e, t) -> (b, h, t, e)>
#o = affine_map<(b, h, s, e, t) -> (b, h, s, e)>

// Transposes and scales of queries and keys, the causal mask with padding, the guard against NaN and the transpose of
// the result leave one op that reads and writes [batch, row, head, size] where it lies.
// CHECK-DAG: #[[$ROWS:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d2, d1, d4)>
// CHECK-DAG: #[[$KEYS:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d3, d1, d4)>
// CHECK-DAG: #[[$VALUES:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d3, d1, d5)>
// CHECK-DAG: #[[$PADDING:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d3)>
// CHECK-DAG: #[[$RESULT:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d2, d1, d5)>
// CHECK-LABEL: func.func @causal_with_padding
// CHECK-NOT: 12x?x?xf32
// CHECK: snug_nn.attention ins(%arg0, %arg1, %arg2 : {{.*}}) score(%arg3 : tensor<2x?xi1>)
// CHECK-SAME: indexing_maps = [#[[$ROWS]], #[[$KEYS]], #[[$VALUES]], #[[$PADDING]], #[[$RESULT]]], zero_if_masked}
// CHECK: ^bb0(%[[QK:.*]]: f32, %[[REAL:.*]]: i1):
// CHECK: %[[A:.*]] = arith.mulf %[[QK]], %[[C:.*]] : f32
// CHECK: %[[B:.*]] = arith.divf %[[A]], %{{.*}} : f32
// CHECK-DAG: %[[S:.*]] = snug_nn.index 2
// CHECK-DAG: %[[T:.*]] = snug_nn.index 3
// CHECK: %[[BEFORE:.*]] = arith.cmpi sle, %[[T]], %[[S]]
// CHECK: %[[SEEN:.*]] = arith.andi %[[BEFORE]], %[[REAL]]
// CHECK: %[[BIAS:.*]] = arith.select %[[SEEN]]
// CHECK: arith.addf %[[B]], %[[BIAS]]
// CHECK-NOT: linalg.generic
// CHECK: return
// By itself the first step leaves what comes after the attention as it was.
// FIRST-LABEL: func.func @causal_with_padding
// FIRST: snug_nn.attention
// FIRST: linalg.generic
func.func @causal_with_padding(%q: tensor<2x?x12x64xf32>, %k: tensor<2x?x12x64xf32>, %v: tensor<2x?x12x64xf32>,
                               %real: tensor<2x?xi1>, %n: index) -> tensor<2x?x12x64xf32> {
  %scale = arith.constant 0.125 : f32
  %two = arith.constant 2.0 : f32
  %zero = arith.constant 0.0 : f32
  %low = arith.constant -3.40282347E+38 : f32
  %e0 = tensor.empty(%n) : tensor<2x12x?x64xf32>
  %qt = linalg.generic {indexing_maps = [#swap, #id4], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%q : tensor<2x?x12x64xf32>) outs(%e0 : tensor<2x12x?x64xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<2x12x?x64xf32>
  %qs = linalg.generic {indexing_maps = [#id4, #id4], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%qt : tensor<2x12x?x64xf32>) outs(%e0 : tensor<2x12x?x64xf32>) {
  ^bb0(%in: f32, %out: f32):
    %x = arith.mulf %in, %scale : f32
    linalg.yield %x : f32
  } -> tensor<2x12x?x64xf32>
  %e1 = tensor.empty(%n) : tensor<2x12x64x?xf32>
  %ks = linalg.generic {indexing_maps = [#dt, #id4], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%k : tensor<2x?x12x64xf32>) outs(%e1 : tensor<2x12x64x?xf32>) {
  ^bb0(%in: f32, %out: f32):
    %x = arith.divf %in, %two : f32
    linalg.yield %x : f32
  } -> tensor<2x12x64x?xf32>
  %vt = linalg.generic {indexing_maps = [#swap, #id4], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%v : tensor<2x?x12x64xf32>) outs(%e0 : tensor<2x12x?x64xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<2x12x?x64xf32>
  %em = tensor.empty(%n, %n) : tensor<2x1x?x?xf32>
  %mask = linalg.generic {indexing_maps = [affine_map<(b, h, s, t) -> (b, t)>, #id4],
                          iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%real : tensor<2x?xi1>) outs(%em : tensor<2x1x?x?xf32>) {
  ^bb0(%in: i1, %out: f32):
    %s = linalg.index 2 : index
    %t = linalg.index 3 : index
    %before = arith.cmpi sle, %t, %s : index
    %seen = arith.andi %before, %in : i1
    %bias = arith.select %seen, %zero, %low : f32
    linalg.yield %bias : f32
  } -> tensor<2x1x?x?xf32>
  %es = tensor.empty(%n, %n) : tensor<2x12x?x?xf32>
  %qk = snug_nn.contract ins(%qs, %ks : tensor<2x12x?x64xf32>, tensor<2x12x64x?xf32>) outs(%es : tensor<2x12x?x?xf32>)
    attributes {indexing_maps = [#qk, #kt, #st], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<2x12x?x?xf32>
  %biased = linalg.generic {indexing_maps = [#id4, affine_map<(b, h, s, t) -> (b, 0, s, t)>, #id4],
                            iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%qk, %mask : tensor<2x12x?x?xf32>, tensor<2x1x?x?xf32>) outs(%es : tensor<2x12x?x?xf32>) {
  ^bb0(%a: f32, %m: f32, %out: f32):
    %x = arith.addf %a, %m : f32
    linalg.yield %x : f32
  } -> tensor<2x12x?x?xf32>
  %p = snug_nn.softmax ins(%biased : tensor<2x12x?x?xf32>) outs(%es : tensor<2x12x?x?xf32>) -> tensor<2x12x?x?xf32>
  %eb = tensor.empty(%n, %n) : tensor<2x12x?x?xi1>
  %isnan = linalg.generic {indexing_maps = [#id4, #id4], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%p : tensor<2x12x?x?xf32>) outs(%eb : tensor<2x12x?x?xi1>) {
  ^bb0(%in: f32, %out: i1):
    %x = arith.cmpf uno, %in, %in : f32
    linalg.yield %x : i1
  } -> tensor<2x12x?x?xi1>
  %guarded = linalg.generic {indexing_maps = [#id4, #id4, #id4], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%isnan, %p : tensor<2x12x?x?xi1>, tensor<2x12x?x?xf32>) outs(%es : tensor<2x12x?x?xf32>) {
  ^bb0(%c: i1, %in: f32, %out: f32):
    %x = arith.select %c, %zero, %in : f32
    linalg.yield %x : f32
  } -> tensor<2x12x?x?xf32>
  %y = snug_nn.contract ins(%guarded, %vt : tensor<2x12x?x?xf32>, tensor<2x12x?x64xf32>) outs(%e0 : tensor<2x12x?x64xf32>)
    attributes {indexing_maps = [#pv, #v, #o], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<2x12x?x64xf32>
  %eo = tensor.empty(%n) : tensor<2x?x12x64xf32>
  %yt = linalg.generic {indexing_maps = [#swap, #id4], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%y : tensor<2x12x?x64xf32>) outs(%eo : tensor<2x?x12x64xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<2x?x12x64xf32>
  return %yt : tensor<2x?x12x64xf32>
}

// -----

// Keys and values of two heads, repeated for eight heads of queries by a broadcast and a reshape, are read as they are.
// CHECK: #[[$GROUPED:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0 floordiv 4, d2, d3)>
// CHECK-LABEL: func.func @grouped_queries
// CHECK-NOT: linalg.generic
// CHECK: snug_nn.attention ins(%arg0, %arg1, %arg1 : tensor<8x6x16xf32>, tensor<2x10x16xf32>, tensor<2x10x16xf32>)
// CHECK-SAME: #[[$GROUPED]]
func.func @grouped_queries(%q: tensor<8x6x16xf32>, %kv: tensor<2x10x16xf32>) -> tensor<8x6x16xf32> {
  %er = tensor.empty() : tensor<2x4x10x16xf32>
  %repeated = linalg.generic {indexing_maps = [affine_map<(g, r, t, d) -> (g, t, d)>, affine_map<(g, r, t, d) -> (g, r, t, d)>],
                              iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%kv : tensor<2x10x16xf32>) outs(%er : tensor<2x4x10x16xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<2x4x10x16xf32>
  %k = tensor.collapse_shape %repeated [[0, 1], [2], [3]] : tensor<2x4x10x16xf32> into tensor<8x10x16xf32>
  %es = tensor.empty() : tensor<8x6x10xf32>
  %qk = snug_nn.contract ins(%q, %k : tensor<8x6x16xf32>, tensor<8x10x16xf32>) outs(%es : tensor<8x6x10xf32>)
    attributes {indexing_maps = [affine_map<(h, s, t, d) -> (h, s, d)>, affine_map<(h, s, t, d) -> (h, t, d)>, affine_map<(h, s, t, d) -> (h, s, t)>],
                iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<8x6x10xf32>
  %p = snug_nn.softmax ins(%qk : tensor<8x6x10xf32>) outs(%es : tensor<8x6x10xf32>) -> tensor<8x6x10xf32>
  %eo = tensor.empty() : tensor<8x6x16xf32>
  %y = snug_nn.contract ins(%p, %k : tensor<8x6x10xf32>, tensor<8x10x16xf32>) outs(%eo : tensor<8x6x16xf32>)
    attributes {indexing_maps = [affine_map<(h, s, e, t) -> (h, s, t)>, affine_map<(h, s, e, t) -> (h, t, e)>, affine_map<(h, s, e, t) -> (h, s, e)>],
                iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<8x6x16xf32>
  return %y : tensor<8x6x16xf32>
}

// -----

// Plain linalg; the softmax dim comes first and the values' product is written from the other side.
// CHECK-LABEL: func.func @plain_linalg
// CHECK-NOT: linalg
// CHECK: snug_nn.attention ins(%arg0, %arg1, %arg2 : tensor<32x8xf32>, tensor<48x8xf32>, tensor<48x24xf32>)
// CHECK-NOT: zero_if_masked
// CHECK: ^bb0(%[[QK:.*]]: f32):
// CHECK-NEXT: snug_nn.yield %[[QK]] : f32
// CHECK: return
func.func @plain_linalg(%q: tensor<32x8xf32>, %k: tensor<48x8xf32>, %v: tensor<48x24xf32>) -> tensor<24x32xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<48x32xf32>
  %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<48x32xf32>) -> tensor<48x32xf32>
  %s = linalg.matmul
      indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
      ins(%k, %q : tensor<48x8xf32>, tensor<32x8xf32>) outs(%f0 : tensor<48x32xf32>) -> tensor<48x32xf32>
  %p = linalg.softmax dimension(0) ins(%s : tensor<48x32xf32>) outs(%e0 : tensor<48x32xf32>) -> tensor<48x32xf32>
  %e1 = tensor.empty() : tensor<24x32xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<24x32xf32>) -> tensor<24x32xf32>
  %y = linalg.matmul
      indexing_maps = [affine_map<(m, n, k) -> (k, m)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>]
      ins(%v, %p : tensor<48x24xf32>, tensor<48x32xf32>) outs(%f1 : tensor<24x32xf32>) -> tensor<24x32xf32>
  return %y : tensor<24x32xf32>
}

// -----

// A bias that is a product, too, of rows and keys in one operand and heads in the other: pairs of residues, say.
// CHECK-LABEL: func.func @bias_is_a_product
// CHECK: %[[BIAS:.*]] = linalg.generic {{.*}} ins(%arg3, %arg4 : tensor<32x48x6xf32>, tensor<6x4xf32>)
// CHECK: snug_nn.attention ins(%arg0, %arg1, %arg2 : tensor<4x32x8xf32>, tensor<4x48x8xf32>, tensor<4x48x24xf32>) score(%[[BIAS]] : tensor<4x32x48xf32>)
// CHECK: ^bb0(%[[QK:.*]]: f32, %[[B:.*]]: f32):
// CHECK-NEXT: %[[SUM:.*]] = arith.addf %[[B]], %[[QK]] : f32
// CHECK-NEXT: snug_nn.yield %[[SUM]] : f32
// CHECK: return
func.func @bias_is_a_product(%q: tensor<4x32x8xf32>, %k: tensor<4x48x8xf32>, %v: tensor<4x48x24xf32>, %x: tensor<32x48x6xf32>,
                             %w: tensor<6x4xf32>) -> tensor<4x32x24xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<4x32x48xf32>
  %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<4x32x48xf32>) -> tensor<4x32x48xf32>
  %bias = linalg.generic {indexing_maps = [affine_map<(h, s, t, c) -> (s, t, c)>, affine_map<(h, s, t, c) -> (c, h)>, affine_map<(h, s, t, c) -> (h, s, t)>],
                          iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<32x48x6xf32>, tensor<6x4xf32>) outs(%f0 : tensor<4x32x48xf32>) {
  ^bb0(%a: f32, %b: f32, %sum: f32):
    %0 = arith.mulf %a, %b : f32
    %1 = arith.addf %sum, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<4x32x48xf32>
  %s = linalg.batch_matmul
      indexing_maps = [affine_map<(h, m, n, k) -> (h, m, k)>, affine_map<(h, m, n, k) -> (h, n, k)>, affine_map<(h, m, n, k) -> (h, m, n)>]
      ins(%q, %k : tensor<4x32x8xf32>, tensor<4x48x8xf32>) outs(%f0 : tensor<4x32x48xf32>) -> tensor<4x32x48xf32>
  %biased = linalg.add ins(%bias, %s : tensor<4x32x48xf32>, tensor<4x32x48xf32>) outs(%e0 : tensor<4x32x48xf32>) -> tensor<4x32x48xf32>
  %p = linalg.softmax dimension(2) ins(%biased : tensor<4x32x48xf32>) outs(%e0 : tensor<4x32x48xf32>) -> tensor<4x32x48xf32>
  %e1 = tensor.empty() : tensor<4x32x24xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<4x32x24xf32>) -> tensor<4x32x24xf32>
  %y = linalg.batch_matmul ins(%p, %v : tensor<4x32x48xf32>, tensor<4x48x24xf32>) outs(%f1 : tensor<4x32x24xf32>) -> tensor<4x32x24xf32>
  return %y : tensor<4x32x24xf32>
}

// -----

// A batched product over batch * heads, with a mask that speaks of the batch alone in between.
// CHECK-DAG: #[[$QUERY:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d3)>
// CHECK-DAG: #[[$MASK:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0 floordiv 4, d1, d2)>
// CHECK-LABEL: func.func @merged_batch
// CHECK-NOT: softmax
// CHECK: snug_nn.attention ins(%arg0, %arg1, %arg2 : {{.*}}) score(%arg3 : tensor<2x6x10xf32>)
// CHECK-SAME: indexing_maps = [#[[$QUERY]], {{.*}}, #[[$MASK]], {{.*}}]
func.func @merged_batch(%q: tensor<8x6x16xf32>, %k: tensor<8x10x16xf32>, %v: tensor<8x10x16xf32>, %m: tensor<2x6x10xf32>) -> tensor<8x6x16xf32> {
  %es = tensor.empty() : tensor<8x6x10xf32>
  %qk = snug_nn.contract ins(%q, %k : tensor<8x6x16xf32>, tensor<8x10x16xf32>) outs(%es : tensor<8x6x10xf32>)
    attributes {indexing_maps = [affine_map<(h, s, t, d) -> (h, s, d)>, affine_map<(h, s, t, d) -> (h, t, d)>, affine_map<(h, s, t, d) -> (h, s, t)>],
                iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<8x6x10xf32>
  %wide = tensor.expand_shape %qk [[0, 1], [2], [3]] output_shape [2, 4, 6, 10] : tensor<8x6x10xf32> into tensor<2x4x6x10xf32>
  %e4 = tensor.empty() : tensor<2x4x6x10xf32>
  %masked = linalg.generic {indexing_maps = [affine_map<(b, h, s, t) -> (b, h, s, t)>, affine_map<(b, h, s, t) -> (b, s, t)>, affine_map<(b, h, s, t) -> (b, h, s, t)>],
                            iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%wide, %m : tensor<2x4x6x10xf32>, tensor<2x6x10xf32>) outs(%e4 : tensor<2x4x6x10xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %x = arith.addf %a, %b : f32
    linalg.yield %x : f32
  } -> tensor<2x4x6x10xf32>
  %flat = tensor.collapse_shape %masked [[0, 1], [2], [3]] : tensor<2x4x6x10xf32> into tensor<8x6x10xf32>
  %p = snug_nn.softmax ins(%flat : tensor<8x6x10xf32>) outs(%es : tensor<8x6x10xf32>) -> tensor<8x6x10xf32>
  %eo = tensor.empty() : tensor<8x6x16xf32>
  %y = snug_nn.contract ins(%p, %v : tensor<8x6x10xf32>, tensor<8x10x16xf32>) outs(%eo : tensor<8x6x16xf32>)
    attributes {indexing_maps = [affine_map<(h, s, e, t) -> (h, s, t)>, affine_map<(h, s, e, t) -> (h, t, e)>, affine_map<(h, s, e, t) -> (h, s, e)>],
                iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<8x6x16xf32>
  return %y : tensor<8x6x16xf32>
}

// -----

// Somebody else reads the weights, so they are made anyway.
// CHECK-LABEL: func.func @weights_are_returned
// CHECK-NOT: snug_nn.attention
// CHECK: snug_nn.softmax
func.func @weights_are_returned(%q: tensor<6x16xf32>, %k: tensor<10x16xf32>) -> (tensor<6x16xf32>, tensor<6x10xf32>) {
  %es = tensor.empty() : tensor<6x10xf32>
  %qk = snug_nn.contract ins(%q, %k : tensor<6x16xf32>, tensor<10x16xf32>) outs(%es : tensor<6x10xf32>)
    attributes {indexing_maps = [affine_map<(s, t, d) -> (s, d)>, affine_map<(s, t, d) -> (t, d)>, affine_map<(s, t, d) -> (s, t)>],
                iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<6x10xf32>
  %p = snug_nn.softmax ins(%qk : tensor<6x10xf32>) outs(%es : tensor<6x10xf32>) -> tensor<6x10xf32>
  %eo = tensor.empty() : tensor<6x16xf32>
  %y = snug_nn.contract ins(%p, %k : tensor<6x10xf32>, tensor<10x16xf32>) outs(%eo : tensor<6x16xf32>)
    attributes {indexing_maps = [affine_map<(s, e, t) -> (s, t)>, affine_map<(s, e, t) -> (t, e)>, affine_map<(s, e, t) -> (s, e)>],
                iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<6x16xf32>
  return %y, %p : tensor<6x16xf32>, tensor<6x10xf32>
}

// -----

// Weights that are changed after softmax are no softmax any more.
// CHECK-LABEL: func.func @weights_are_changed
// CHECK-NOT: snug_nn.attention
// CHECK: snug_nn.softmax
func.func @weights_are_changed(%q: tensor<6x16xf32>, %k: tensor<10x16xf32>, %gate: tensor<10xf32>) -> tensor<6x16xf32> {
  %es = tensor.empty() : tensor<6x10xf32>
  %qk = snug_nn.contract ins(%q, %k : tensor<6x16xf32>, tensor<10x16xf32>) outs(%es : tensor<6x10xf32>)
    attributes {indexing_maps = [affine_map<(s, t, d) -> (s, d)>, affine_map<(s, t, d) -> (t, d)>, affine_map<(s, t, d) -> (s, t)>],
                iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<6x10xf32>
  %p = snug_nn.softmax ins(%qk : tensor<6x10xf32>) outs(%es : tensor<6x10xf32>) -> tensor<6x10xf32>
  %gated = linalg.generic {indexing_maps = [affine_map<(s, t) -> (s, t)>, affine_map<(s, t) -> (t)>, affine_map<(s, t) -> (s, t)>],
                           iterator_types = ["parallel", "parallel"]}
      ins(%p, %gate : tensor<6x10xf32>, tensor<10xf32>) outs(%es : tensor<6x10xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %x = arith.mulf %a, %b : f32
    linalg.yield %x : f32
  } -> tensor<6x10xf32>
  %eo = tensor.empty() : tensor<6x16xf32>
  %y = snug_nn.contract ins(%gated, %k : tensor<6x10xf32>, tensor<10x16xf32>) outs(%eo : tensor<6x16xf32>)
    attributes {indexing_maps = [affine_map<(s, e, t) -> (s, t)>, affine_map<(s, e, t) -> (t, e)>, affine_map<(s, e, t) -> (s, e)>],
                iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<6x16xf32>
  return %y : tensor<6x16xf32>
}

// -----

// The kernel keeps a block of weighted values on the stack: values as long as these are left to the product.
// CHECK-LABEL: func.func @long_values
// CHECK-NOT: snug_nn.attention
// CHECK: snug_nn.softmax
func.func @long_values(%q: tensor<6x16xf32>, %k: tensor<10x16xf32>, %v: tensor<10x1024xf32>) -> tensor<6x1024xf32> {
  %es = tensor.empty() : tensor<6x10xf32>
  %qk = snug_nn.contract ins(%q, %k : tensor<6x16xf32>, tensor<10x16xf32>) outs(%es : tensor<6x10xf32>)
    attributes {indexing_maps = [affine_map<(s, t, d) -> (s, d)>, affine_map<(s, t, d) -> (t, d)>, affine_map<(s, t, d) -> (s, t)>],
                iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<6x10xf32>
  %p = snug_nn.softmax ins(%qk : tensor<6x10xf32>) outs(%es : tensor<6x10xf32>) -> tensor<6x10xf32>
  %eo = tensor.empty() : tensor<6x1024xf32>
  %y = snug_nn.contract ins(%p, %v : tensor<6x10xf32>, tensor<10x1024xf32>) outs(%eo : tensor<6x1024xf32>)
    attributes {indexing_maps = [affine_map<(s, e, t) -> (s, t)>, affine_map<(s, e, t) -> (t, e)>, affine_map<(s, e, t) -> (s, e)>],
                iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<6x1024xf32>
  return %y : tensor<6x1024xf32>
}

// -----

// One row of queries each batch, viewed from what has no rows: the op keeps a dim for rows, so the view stays.
// CHECK: #[[$QUERIES:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d3)>
// CHECK-LABEL: func.func @one_row
// CHECK: %[[Q:.*]] = tensor.expand_shape %arg0
// CHECK: snug_nn.attention ins(%[[Q]], %arg1, %arg2 :
// CHECK-SAME: indexing_maps = [#[[$QUERIES]],
func.func @one_row(%vector: tensor<2x16xf32>, %k: tensor<2x10x16xf32>, %v: tensor<2x10x16xf32>) -> tensor<2x1x16xf32> {
  %q = tensor.expand_shape %vector [[0, 1], [2]] output_shape [2, 1, 16] : tensor<2x16xf32> into tensor<2x1x16xf32>
  %es = tensor.empty() : tensor<2x1x10xf32>
  %qk = snug_nn.contract ins(%q, %k : tensor<2x1x16xf32>, tensor<2x10x16xf32>) outs(%es : tensor<2x1x10xf32>)
    attributes {indexing_maps = [affine_map<(b, s, t, d) -> (b, s, d)>, affine_map<(b, s, t, d) -> (b, t, d)>,
                                 affine_map<(b, s, t, d) -> (b, s, t)>],
                iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<2x1x10xf32>
  %p = snug_nn.softmax ins(%qk : tensor<2x1x10xf32>) outs(%es : tensor<2x1x10xf32>) -> tensor<2x1x10xf32>
  %eo = tensor.empty() : tensor<2x1x16xf32>
  %y = snug_nn.contract ins(%p, %v : tensor<2x1x10xf32>, tensor<2x10x16xf32>) outs(%eo : tensor<2x1x16xf32>)
    attributes {indexing_maps = [affine_map<(b, s, e, t) -> (b, s, t)>, affine_map<(b, s, e, t) -> (b, t, e)>,
                                 affine_map<(b, s, e, t) -> (b, s, e)>],
                iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32):
    snug_nn.yield %acc : f32
  } -> tensor<2x1x16xf32>
  return %y : tensor<2x1x16xf32>
}
