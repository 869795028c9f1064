// RUN: snug-opt %s -split-input-file -snug-select-chunks="activation-budget=500000 exact" 2> %t | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK < %t

// Trap 4: tiles of a reduction dim that are fused with the zero of their sum start from it again and again. A sum's own
// dim is never cut; its rows are, each with the whole sum and with its zero beside it.
// REMARK: remark: chunk loop over dim 0 of extent 256
// CHECK-LABEL: func.func @long_sum
// CHECK: scf.for {{.*}} -> (tensor<256x16xf32>)
// CHECK: linalg.exp ins({{.*}} : tensor<[[ROWS:[0-9]+]]x4096xf32>)
// CHECK: %[[ZERO:.*]] = linalg.fill {{.*}} -> tensor<[[ROWS]]x16xf32>
// CHECK: %[[SUM:.*]] = linalg.matmul ins({{.*}} : tensor<[[ROWS]]x4096xf32>, tensor<4096x16xf32>) outs(%[[ZERO]] :
// CHECK: tensor.insert_slice %[[SUM]]
// CHECK: scf.yield
// CHECK-NOT: linalg
// CHECK: return
func.func @long_sum(%x: tensor<256x4096xf32>, %w: tensor<4096x16xf32>) -> tensor<256x16xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<256x4096xf32>
  %h = linalg.exp ins(%x : tensor<256x4096xf32>) outs(%e0 : tensor<256x4096xf32>) -> tensor<256x4096xf32>
  %e1 = tensor.empty() : tensor<256x16xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<256x16xf32>) -> tensor<256x16xf32>
  %y = linalg.matmul ins(%h, %w : tensor<256x4096xf32>, tensor<4096x16xf32>)
      outs(%f1 : tensor<256x16xf32>) -> tensor<256x16xf32>
  return %y : tensor<256x16xf32>
}

// -----

// Trap 5: slices of the keys are no online softmax. What makes the keys is cut along them, attention sees all of them.
// REMARK: remark: chunk loop over dim 0 of extent 2048
// CHECK-LABEL: func.func @keys
// CHECK: %[[KEYS:.*]] = scf.for {{.*}} -> (tensor<2048x32xf32>)
// CHECK: linalg.exp
// CHECK: scf.yield
// CHECK-NOT: scf.for
// CHECK: snug_nn.attention ins(%{{.*}}, %[[KEYS]], %[[KEYS]] : tensor<16x32xf32>, tensor<2048x32xf32>, tensor<2048x32xf32>)
// CHECK-NOT: scf.yield
// CHECK: return
#q = affine_map<(s, t, d, e) -> (s, d)>
#k = affine_map<(s, t, d, e) -> (t, d)>
#v = affine_map<(s, t, d, e) -> (t, e)>
#o = affine_map<(s, t, d, e) -> (s, e)>
func.func @keys(%q: tensor<16x32xf32>, %x: tensor<2048x64xf32>, %w: tensor<64x32xf32>) -> tensor<16x32xf32> {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<2048x64xf32>
  %h = linalg.exp ins(%x : tensor<2048x64xf32>) outs(%e0 : tensor<2048x64xf32>) -> tensor<2048x64xf32>
  %e1 = tensor.empty() : tensor<2048x32xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<2048x32xf32>) -> tensor<2048x32xf32>
  %k = linalg.matmul ins(%h, %w : tensor<2048x64xf32>, tensor<64x32xf32>)
      outs(%f1 : tensor<2048x32xf32>) -> tensor<2048x32xf32>
  %e2 = tensor.empty() : tensor<16x32xf32>
  %y = snug_nn.attention ins(%q, %k, %k : tensor<16x32xf32>, tensor<2048x32xf32>, tensor<2048x32xf32>)
      outs(%e2 : tensor<16x32xf32>) attributes {indexing_maps = [#q, #k, #v, #o]} {
  ^bb0(%qk: f32):
    snug_nn.yield %qk : f32
  } -> tensor<16x32xf32>
  return %y : tensor<16x32xf32>
}
