// RUN: snug-opt %s -snug-select-chunks=activation-budget=460000 -o %t.mlir 2> %t.remarks
// RUN: FileCheck %s < %t.mlir
// RUN: FileCheck %s --check-prefix=REMARK < %t.remarks
// RUN: snug-opt %t.mlir -snug-bufferize -snug-plan-arena | FileCheck %s --check-prefix=PLAN
// RUN: snug-opt %s -snug-select-chunks=activation-budget=700000 | FileCheck %s --check-prefix=ROOMY

// Queries, keys and values of one contraction of one normalized tensor: 128 KiB each, as the residual. Rows of the
// queries can be chunked only where keys and values, which each row reads whole, are made apart from them; and the
// normalized tensor and the residual are not live beside both of them, as each of the three normalizes for itself.
// REMARK-COUNT-2: remark: chunk loop over dim 1 of extent 512
// PLAN: snug.arena_bytes = 4{{[0-9][0-9][0-9][0-9][0-9]}} : i64

// CHECK-LABEL: func.func @attention_block
// CHECK-DAG: %[[WQ:.*]] = snug_nn.weight @qkv recipe [#snug_nn.slice<[0, 0], [64, 64]>, #snug_nn.pack<32>]
// CHECK-DAG: %[[WK:.*]] = snug_nn.weight @qkv recipe [#snug_nn.slice<[0, 64], [64, 64]>, #snug_nn.pack<32>]
// CHECK: snug_nn.norm
// CHECK: snug_nn.contract ins(%{{.*}}, %[[WK]]
// CHECK: %[[WV:.*]] = snug_nn.weight @qkv recipe [#snug_nn.slice<[0, 128], [64, 64]>, #snug_nn.pack<32>]
// CHECK: scf.for
// CHECK: snug_nn.norm
// CHECK: snug_nn.contract ins(%{{.*}}, %[[WV]]
// CHECK: scf.for %[[I:.*]] = {{.*}} iter_args(%[[X:.*]] =
// CHECK: snug_nn.norm
// CHECK: snug_nn.contract ins(%{{.*}}, %[[WQ]]
// Rows of causal attention know their place.
// CHECK: snug_nn.attention {{.*}} past(%[[I]])
// CHECK: tensor.insert_slice {{.*}} into %[[X]]

// Where nothing forces it, sharing stays.
// ROOMY: snug_nn.norm
// ROOMY-NOT: snug_nn.norm
// ROOMY: return

#x = affine_map<(b, m, n, k) -> (b, m, k)>
#w = affine_map<(b, m, n, k) -> (k, n)>
#y = affine_map<(b, m, n, k) -> (b, m, n)>
#n = affine_map<(b, m, n, k) -> (n)>
#q = affine_map<(b, h, s, t, d, e) -> (b, s, h, d)>
#k = affine_map<(b, h, s, t, d, e) -> (b, t, h, d)>
#v = affine_map<(b, h, s, t, d, e) -> (b, t, h, e)>
#o = affine_map<(b, h, s, t, d, e) -> (b, s, h, e)>
module {
  snug_nn.data @qkv : tensor<64x192xf32> {file = "w", length = 49152 : i64, offset = 0 : i64}
  snug_nn.data @bias : tensor<192xf32> {file = "w", length = 768 : i64, offset = 0 : i64}
  snug_nn.data @proj : tensor<64x64xf32> {file = "w", length = 16384 : i64, offset = 0 : i64}
  func.func @attention_block(%in: tensor<1x512x64xf32>, %out: tensor<1x512x64xf32> {snug.output, bufferization.writable = true}) -> tensor<1x512x64xf32>
      attributes {snug.num_inputs = 1 : i64} {
    %ex = tensor.empty() : tensor<1x512x64xf32>
    %x = linalg.exp ins(%in : tensor<1x512x64xf32>) outs(%ex : tensor<1x512x64xf32>) -> tensor<1x512x64xf32>
    %e0 = tensor.empty() : tensor<1x512x64xf32>
    %norm = snug_nn.norm layer ins(%x : tensor<1x512x64xf32>) outs(%e0 : tensor<1x512x64xf32>) {epsilon = 1.0e-05 : f32} -> tensor<1x512x64xf32>
    %w0 = snug_nn.weight @qkv recipe [#snug_nn.pack<32>] : tensor<6x64x32xf32>
    %b0 = snug_nn.weight @bias : tensor<192xf32>
    %e1 = tensor.empty() : tensor<1x512x192xf32>
    %qkv = snug_nn.contract ins(%norm, %w0 : tensor<1x512x64xf32>, tensor<6x64x32xf32>) epilogue(%b0 : tensor<192xf32>) outs(%e1 : tensor<1x512x192xf32>)
      attributes {packed, indexing_maps = [#x, #w, #n, #y], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
    ^bb0(%acc: f32, %bias: f32):
      %s = arith.addf %acc, %bias : f32
      snug_nn.yield %s : f32
    } -> tensor<1x512x192xf32>
    %q0 = tensor.extract_slice %qkv[0, 0, 0] [1, 512, 64] [1, 1, 1] : tensor<1x512x192xf32> to tensor<1x512x64xf32>
    %q1 = tensor.expand_shape %q0 [[0], [1], [2, 3]] output_shape [1, 512, 2, 32] : tensor<1x512x64xf32> into tensor<1x512x2x32xf32>
    %k0 = tensor.extract_slice %qkv[0, 0, 64] [1, 512, 64] [1, 1, 1] : tensor<1x512x192xf32> to tensor<1x512x64xf32>
    %k1 = tensor.expand_shape %k0 [[0], [1], [2, 3]] output_shape [1, 512, 2, 32] : tensor<1x512x64xf32> into tensor<1x512x2x32xf32>
    %v0 = tensor.extract_slice %qkv[0, 0, 128] [1, 512, 64] [1, 1, 1] : tensor<1x512x192xf32> to tensor<1x512x64xf32>
    %v1 = tensor.expand_shape %v0 [[0], [1], [2, 3]] output_shape [1, 512, 2, 32] : tensor<1x512x64xf32> into tensor<1x512x2x32xf32>
    %e2 = tensor.empty() : tensor<1x512x2x32xf32>
    %a = snug_nn.attention ins(%q1, %k1, %v1 : tensor<1x512x2x32xf32>, tensor<1x512x2x32xf32>, tensor<1x512x2x32xf32>) outs(%e2 : tensor<1x512x2x32xf32>)
      {causal, indexing_maps = [#q, #k, #v, #o], scale = 1.0 : f32} -> tensor<1x512x2x32xf32>
    %a1 = tensor.collapse_shape %a [[0], [1], [2, 3]] : tensor<1x512x2x32xf32> into tensor<1x512x64xf32>
    %w1 = snug_nn.weight @proj recipe [#snug_nn.pack<32>] : tensor<2x64x32xf32>
    %z = snug_nn.contract ins(%a1, %w1 : tensor<1x512x64xf32>, tensor<2x64x32xf32>) epilogue(%x : tensor<1x512x64xf32>) outs(%x : tensor<1x512x64xf32>)
      attributes {packed, indexing_maps = [#x, #w, #y, #y], iterator_types = ["parallel", "parallel", "parallel", "reduction"]} {
    ^bb0(%acc: f32, %res: f32):
      %s = arith.addf %acc, %res : f32
      snug_nn.yield %s : f32
    } -> tensor<1x512x64xf32>
    %r = linalg.exp ins(%z : tensor<1x512x64xf32>) outs(%out : tensor<1x512x64xf32>) -> tensor<1x512x64xf32>
    return %r : tensor<1x512x64xf32>
  }
}
