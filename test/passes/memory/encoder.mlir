// RUN: snug-opt %s -snug-schedule -snug-bufferize -snug-plan-arena -snug-verify-plan | FileCheck %s --enable-var-scope

// Two layers of an encoder with 4096 tokens of 768. The residual stream is made in the result's destination and updated
// there, so the arena is q, k, v and the attention's result, or the 3072 wide tensor of the feed-forward part: 48 MiB,
// which is the bound of this schedule.
// CHECK: module attributes {snug.arena_bytes = 50331648 : i64, {{.*}}snug.sched_bound = 50331648 : i64}
// CHECK: func.func @main(%[[IDS:[a-z0-9]+]]: memref<1x?xi64> {{{.*}}}, %[[OUT:[a-z0-9]+]]: memref<1x?x768xf32>
// CHECK: %[[ARENA:.*]] = snug_plan.arena align 64 : memref<50331648xi8>
// CHECK: snug_nn.gather ins({{.*}}, %[[IDS]] : {{.*}} outs(%[[OUT]] :
// CHECK-COUNT-10: memref.view %[[ARENA]]
// CHECK-NOT: memref.view
// CHECK-NOT: copy
// CHECK: snug_nn.norm layer ins(%[[OUT]] : {{.*}} outs(%[[OUT]] :
// CHECK-NEXT: return
#a = affine_map<(b, s, n, k) -> (b, s, k)>
#b = affine_map<(b, s, n, k) -> (k, n)>
#c = affine_map<(b, s, n, k) -> (b, s, n)>
#v = affine_map<(b, s, n, k) -> (n)>
#q = affine_map<(b, h, s, t, d, e) -> (b, s, h, d)>
#k = affine_map<(b, h, s, t, d, e) -> (b, t, h, d)>
#val = affine_map<(b, h, s, t, d, e) -> (b, t, h, e)>
#o = affine_map<(b, h, s, t, d, e) -> (b, s, h, e)>
module attributes {snug.dims = [{name = "seq", min = 1 : i64, max = 4096 : i64, step = 1 : i64}]} {
snug_nn.data @wd : tensor<768x768xf32> {file = "model.bin", offset = 0 : i64, length = 4 : i64}
snug_nn.data @w1 : tensor<768x3072xf32> {file = "model.bin", offset = 0 : i64, length = 4 : i64}
snug_nn.data @w2 : tensor<3072x768xf32> {file = "model.bin", offset = 0 : i64, length = 4 : i64}
snug_nn.data @bd : tensor<768xf32> {file = "model.bin", offset = 0 : i64, length = 4 : i64}
snug_nn.data @bf : tensor<3072xf32> {file = "model.bin", offset = 0 : i64, length = 4 : i64}
snug_nn.data @emb : tensor<30522x768xf32> {file = "model.bin", offset = 0 : i64, length = 4 : i64}
func.func @main(%ids: tensor<1x?xi64> {snug.name = "input_ids", snug.dims = ["1", "seq"]})
    -> (tensor<1x?x768xf32> {snug.name = "hidden", snug.dims = ["1", "seq", "768"]}) {
  %c1 = arith.constant 1 : index
  %s = tensor.dim %ids, %c1 : tensor<1x?xi64>
  %wd = snug_nn.weight @wd : tensor<768x768xf32>
  %w1 = snug_nn.weight @w1 : tensor<768x3072xf32>
  %w2 = snug_nn.weight @w2 : tensor<3072x768xf32>
  %bd = snug_nn.weight @bd : tensor<768xf32>
  %bf = snug_nn.weight @bf : tensor<3072xf32>
  %emb = snug_nn.weight @emb : tensor<30522x768xf32>
  %e = tensor.empty(%s) : tensor<1x?x768xf32>
  %ef = tensor.empty(%s) : tensor<1x?x3072xf32>
  %e4 = tensor.empty(%s) : tensor<1x?x12x64xf32>
  %h0 = snug_nn.gather ins(%emb, %ids : tensor<30522x768xf32>, tensor<1x?xi64>) outs(%e : tensor<1x?x768xf32>) axis = 0 -> tensor<1x?x768xf32>
  %q0 = snug_nn.contract ins(%h0, %wd : tensor<1x?x768xf32>, tensor<768x768xf32>) epilogue(%bd : tensor<768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32):
    %0 = arith.addf %acc, %p0 : f32
    snug_nn.yield %0 : f32
  } -> tensor<1x?x768xf32>
  %k0 = snug_nn.contract ins(%h0, %wd : tensor<1x?x768xf32>, tensor<768x768xf32>) epilogue(%bd : tensor<768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32):
    %0 = arith.addf %acc, %p0 : f32
    snug_nn.yield %0 : f32
  } -> tensor<1x?x768xf32>
  %v0 = snug_nn.contract ins(%h0, %wd : tensor<1x?x768xf32>, tensor<768x768xf32>) epilogue(%bd : tensor<768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32):
    %0 = arith.addf %acc, %p0 : f32
    snug_nn.yield %0 : f32
  } -> tensor<1x?x768xf32>
  %qh0 = tensor.expand_shape %q0 [[0], [1], [2, 3]] output_shape [1, %s, 12, 64] : tensor<1x?x768xf32> into tensor<1x?x12x64xf32>
  %kh0 = tensor.expand_shape %k0 [[0], [1], [2, 3]] output_shape [1, %s, 12, 64] : tensor<1x?x768xf32> into tensor<1x?x12x64xf32>
  %vh0 = tensor.expand_shape %v0 [[0], [1], [2, 3]] output_shape [1, %s, 12, 64] : tensor<1x?x768xf32> into tensor<1x?x12x64xf32>
  %at0 = snug_nn.attention ins(%qh0, %kh0, %vh0 : tensor<1x?x12x64xf32>, tensor<1x?x12x64xf32>, tensor<1x?x12x64xf32>) outs(%e4 : tensor<1x?x12x64xf32>)
      attributes {indexing_maps = [#q, #k, #val, #o]} {
  ^bb0(%qk: f32):
    %scale = arith.constant 0.125 : f32
    %score = arith.mulf %qk, %scale : f32
    snug_nn.yield %score : f32
  } -> tensor<1x?x12x64xf32>
  %am0 = tensor.collapse_shape %at0 [[0], [1], [2, 3]] : tensor<1x?x12x64xf32> into tensor<1x?x768xf32>
  %r0 = snug_nn.contract ins(%am0, %wd : tensor<1x?x768xf32>, tensor<768x768xf32>) epilogue(%bd, %h0 : tensor<768xf32>, tensor<1x?x768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32, %p1: f32):
    %0 = arith.addf %acc, %p0 : f32
    %1 = arith.addf %0, %p1 : f32
    snug_nn.yield %1 : f32
  } -> tensor<1x?x768xf32>
  %n0 = snug_nn.norm layer ins(%r0 : tensor<1x?x768xf32>) scale(%bd : tensor<768xf32>) shift(%bd : tensor<768xf32>) outs(%e : tensor<1x?x768xf32>)
      {epsilon = 1.0e-12 : f32} -> tensor<1x?x768xf32>
  %f0 = snug_nn.contract ins(%n0, %w1 : tensor<1x?x768xf32>, tensor<768x3072xf32>) epilogue(%bf : tensor<3072xf32>)
      outs(%ef : tensor<1x?x3072xf32>) attributes {indexing_maps = [#a, #b, #v, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32):
    %0 = arith.addf %acc, %p0 : f32
    %1 = math.tanh %0 : f32
    snug_nn.yield %1 : f32
  } -> tensor<1x?x3072xf32>
  %g0 = snug_nn.contract ins(%f0, %w2 : tensor<1x?x3072xf32>, tensor<3072x768xf32>) epilogue(%bd, %n0 : tensor<768xf32>, tensor<1x?x768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32, %p1: f32):
    %0 = arith.addf %acc, %p0 : f32
    %1 = arith.addf %0, %p1 : f32
    snug_nn.yield %1 : f32
  } -> tensor<1x?x768xf32>
  %o0 = snug_nn.norm layer ins(%g0 : tensor<1x?x768xf32>) scale(%bd : tensor<768xf32>) shift(%bd : tensor<768xf32>) outs(%e : tensor<1x?x768xf32>)
      {epsilon = 1.0e-12 : f32} -> tensor<1x?x768xf32>
  %q1 = snug_nn.contract ins(%o0, %wd : tensor<1x?x768xf32>, tensor<768x768xf32>) epilogue(%bd : tensor<768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32):
    %0 = arith.addf %acc, %p0 : f32
    snug_nn.yield %0 : f32
  } -> tensor<1x?x768xf32>
  %k1 = snug_nn.contract ins(%o0, %wd : tensor<1x?x768xf32>, tensor<768x768xf32>) epilogue(%bd : tensor<768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32):
    %0 = arith.addf %acc, %p0 : f32
    snug_nn.yield %0 : f32
  } -> tensor<1x?x768xf32>
  %v1 = snug_nn.contract ins(%o0, %wd : tensor<1x?x768xf32>, tensor<768x768xf32>) epilogue(%bd : tensor<768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32):
    %0 = arith.addf %acc, %p0 : f32
    snug_nn.yield %0 : f32
  } -> tensor<1x?x768xf32>
  %qh1 = tensor.expand_shape %q1 [[0], [1], [2, 3]] output_shape [1, %s, 12, 64] : tensor<1x?x768xf32> into tensor<1x?x12x64xf32>
  %kh1 = tensor.expand_shape %k1 [[0], [1], [2, 3]] output_shape [1, %s, 12, 64] : tensor<1x?x768xf32> into tensor<1x?x12x64xf32>
  %vh1 = tensor.expand_shape %v1 [[0], [1], [2, 3]] output_shape [1, %s, 12, 64] : tensor<1x?x768xf32> into tensor<1x?x12x64xf32>
  %at1 = snug_nn.attention ins(%qh1, %kh1, %vh1 : tensor<1x?x12x64xf32>, tensor<1x?x12x64xf32>, tensor<1x?x12x64xf32>) outs(%e4 : tensor<1x?x12x64xf32>)
      attributes {indexing_maps = [#q, #k, #val, #o]} {
  ^bb0(%qk: f32):
    %scale = arith.constant 0.125 : f32
    %score = arith.mulf %qk, %scale : f32
    snug_nn.yield %score : f32
  } -> tensor<1x?x12x64xf32>
  %am1 = tensor.collapse_shape %at1 [[0], [1], [2, 3]] : tensor<1x?x12x64xf32> into tensor<1x?x768xf32>
  %r1 = snug_nn.contract ins(%am1, %wd : tensor<1x?x768xf32>, tensor<768x768xf32>) epilogue(%bd, %o0 : tensor<768xf32>, tensor<1x?x768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32, %p1: f32):
    %0 = arith.addf %acc, %p0 : f32
    %1 = arith.addf %0, %p1 : f32
    snug_nn.yield %1 : f32
  } -> tensor<1x?x768xf32>
  %n1 = snug_nn.norm layer ins(%r1 : tensor<1x?x768xf32>) scale(%bd : tensor<768xf32>) shift(%bd : tensor<768xf32>) outs(%e : tensor<1x?x768xf32>)
      {epsilon = 1.0e-12 : f32} -> tensor<1x?x768xf32>
  %f1 = snug_nn.contract ins(%n1, %w1 : tensor<1x?x768xf32>, tensor<768x3072xf32>) epilogue(%bf : tensor<3072xf32>)
      outs(%ef : tensor<1x?x3072xf32>) attributes {indexing_maps = [#a, #b, #v, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32):
    %0 = arith.addf %acc, %p0 : f32
    %1 = math.tanh %0 : f32
    snug_nn.yield %1 : f32
  } -> tensor<1x?x3072xf32>
  %g1 = snug_nn.contract ins(%f1, %w2 : tensor<1x?x3072xf32>, tensor<3072x768xf32>) epilogue(%bd, %n1 : tensor<768xf32>, tensor<1x?x768xf32>)
      outs(%e : tensor<1x?x768xf32>) attributes {indexing_maps = [#a, #b, #v, #c, #c],
      iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %p0: f32, %p1: f32):
    %0 = arith.addf %acc, %p0 : f32
    %1 = arith.addf %0, %p1 : f32
    snug_nn.yield %1 : f32
  } -> tensor<1x?x768xf32>
  %o1 = snug_nn.norm layer ins(%g1 : tensor<1x?x768xf32>) scale(%bd : tensor<768xf32>) shift(%bd : tensor<768xf32>) outs(%e : tensor<1x?x768xf32>)
      {epsilon = 1.0e-12 : f32} -> tensor<1x?x768xf32>
  return %o1 : tensor<1x?x768xf32>
}
}
