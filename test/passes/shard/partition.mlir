// RUN: snug-opt %s -split-input-file -snug-partition -canonicalize -cse | FileCheck %s -enable-var-scope

// Cuts as they are written: rows along axis 1, columns along axis 0. Axis 0, whose links are no faster, is brought together first,
// while there is less to move.
// CHECK-LABEL: func.func @both_axes
// CHECK-DAG: %[[I:.*]] = snug_mesh.index 0
// CHECK-DAG: %[[J:.*]] = snug_mesh.index 1
// CHECK: linalg.exp ins(%{{.*}} : tensor<4x4xf32>) outs(%{{.*}} : tensor<4x4xf32>)
// CHECK: snug_mesh.all_gather axes [0]
// CHECK: snug_mesh.all_gather axes [1]
module attributes {snug.mesh = array<i64: 4, 2>} {
  func.func @both_axes(%x: tensor<8x16xf32>) -> tensor<8x16xf32> {
    %e = tensor.empty() : tensor<8x16xf32>
    %y = linalg.exp {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 16>}, {axis = 1, dim = 0, segments = array<i64: 8>}]}
        ins(%x : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    return %y : tensor<8x16xf32>
  }
}

// -----

// One dim along both: axis 1 cuts the parts of axis 0, and the place counts through both.
// CHECK: #[[$PLACE:.*]] = affine_map<()[s0, s1] -> (s0 * 4 + s1 * 2)>
// CHECK-LABEL: func.func @place
// CHECK-DAG: %[[I:.*]] = snug_mesh.index 0
// CHECK-DAG: %[[J:.*]] = snug_mesh.index 1
// CHECK: %[[AT:.*]] = affine.apply #[[$PLACE]]()[%[[I]], %[[J]]]
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<2xi32>)
// CHECK: %[[HERE:.*]] = linalg.index 0
// CHECK: arith.addi %[[HERE]], %[[AT]]
module attributes {snug.mesh = array<i64: 4, 2>} {
  func.func @place() -> tensor<16xi32> {
    %e = tensor.empty() : tensor<16xi32>
    %y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"],
                         snug.cuts = [{axis = 0, dim = 0, segments = array<i64: 16>}, {axis = 1, dim = 0, segments = array<i64: 16>}]}
        outs(%e : tensor<16xi32>) {
    ^bb0(%out: i32):
      %i = linalg.index 0 : index
      %v = arith.index_cast %i : index to i32
      linalg.yield %v : i32
    } -> tensor<16xi32>
    return %y : tensor<16xi32>
  }
}

// -----

// A sum over a dim that is cut is complete after a reduce-scatter where its reader wants parts of it.
// CHECK-LABEL: func.func @scatter
// CHECK: %[[P:.*]] = linalg.matmul ins(%{{.*}}, %{{.*}} : tensor<8x8xf32>, tensor<8x16xf32>) outs(%{{.*}} : tensor<8x16xf32>)
// CHECK: snug_mesh.reduce_scatter sum axes [0] ins(%{{.*}} : tensor<4x2x16xf32>) outs(%{{.*}} : tensor<2x16xf32>)
// CHECK: linalg.exp ins(%{{.*}} : tensor<2x16xf32>)
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @scatter(%x: tensor<8x32xf32>, %w: tensor<32x16xf32>) -> tensor<8x16xf32> {
    %zero = arith.constant 0.0 : f32
    %e = tensor.empty() : tensor<8x16xf32>
    %i = linalg.fill ins(%zero : f32) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    %p = linalg.matmul {snug.cuts = [{axis = 0, dim = 2, segments = array<i64: 32>}]}
        ins(%x, %w : tensor<8x32xf32>, tensor<32x16xf32>) outs(%i : tensor<8x16xf32>) -> tensor<8x16xf32>
    %e2 = tensor.empty() : tensor<8x16xf32>
    %y = linalg.exp {snug.cuts = [{axis = 0, dim = 0, segments = array<i64: 8>}]}
        ins(%p : tensor<8x16xf32>) outs(%e2 : tensor<8x16xf32>) -> tensor<8x16xf32>
    return %y : tensor<8x16xf32>
  }
}

// -----

// From one cut to another by an exchange; what two readers want in one layout is brought to it once.
// CHECK-LABEL: func.func @exchange
// CHECK: linalg.exp ins(%{{.*}} : tensor<2x16xf32>)
// CHECK: snug_mesh.all_to_all axes [0] ins(%{{.*}} : tensor<4x2x4xf32>) outs(%{{.*}} : tensor<4x2x4xf32>)
// CHECK-NOT: snug_mesh.all_to_all
// CHECK: linalg.log ins(%{{.*}} : tensor<8x4xf32>)
// CHECK: linalg.tanh ins(%{{.*}} : tensor<8x4xf32>)
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @exchange(%x: tensor<8x16xf32>) -> (tensor<8x16xf32>, tensor<8x16xf32>) {
    %e = tensor.empty() : tensor<8x16xf32>
    %a = linalg.exp {snug.cuts = [{axis = 0, dim = 0, segments = array<i64: 8>}]} ins(%x : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    %b = linalg.log {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 16>}]} ins(%a : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    %c = linalg.tanh {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 16>}]} ins(%a : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    return %b, %c : tensor<8x16xf32>, tensor<8x16xf32>
  }
}

// -----

// An op with a body, and one without a rule, take what they read as a whole; open dims are nobody's to cut.
// CHECK-LABEL: func.func @whole
// CHECK: %[[N:.*]] = tensor.dim %{{.*}} : tensor<?x16xf32>
// CHECK: linalg.exp ins(%{{.*}} : tensor<?x4xf32>)
// CHECK: snug_mesh.all_gather
// CHECK: scf.if
// CHECK: tensor.extract %{{.*}} : tensor<?x16xf32>
// CHECK: return %{{.*}}, %[[N]]
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @whole(%x: tensor<?x16xf32>, %c: i1) -> (f32, index) {
    %c0 = arith.constant 0 : index
    %n = tensor.dim %x, %c0 : tensor<?x16xf32>
    %e = tensor.empty(%n) : tensor<?x16xf32>
    %a = linalg.exp {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 16>}]} ins(%x : tensor<?x16xf32>) outs(%e : tensor<?x16xf32>) -> tensor<?x16xf32>
    %m = tensor.dim %a, %c0 : tensor<?x16xf32>
    %v = scf.if %c -> f32 {
      %f = tensor.extract %a[%c0, %c0] : tensor<?x16xf32>
      scf.yield %f : f32
    } else {
      %z = arith.constant 0.0 : f32
      scf.yield %z : f32
    }
    return %v, %m : f32, index
  }
}

// -----

// Rows that devices have parts of: moments of the parts, one small all-gather, and what is computed with the common ones.
// CHECK-LABEL: func.func @norm
// CHECK: linalg.generic {{.*}} ins(%{{.*}} : tensor<4x4xf32>) outs(%{{.*}} : tensor<4xf32>)
// CHECK: snug_mesh.all_gather axes [0] ins(%{{.*}} : tensor<2x4xf32>) outs(%{{.*}} : tensor<4x2x4xf32>)
// CHECK: linalg.generic {{.*}} ins(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<4x4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) outs(%{{.*}} : tensor<4x4xf32>)
// CHECK-NOT: snug_nn.norm
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @norm(%x: tensor<4x16xf32>, %scale: tensor<16xf32>) -> tensor<4x16xf32> {
    %e = tensor.empty() : tensor<4x16xf32>
    %y = snug_nn.norm layer ins(%x : tensor<4x16xf32>) scale(%scale : tensor<16xf32>) outs(%e : tensor<4x16xf32>)
        {epsilon = 1.0e-5 : f32, snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 16>}]} -> tensor<4x16xf32>
    return %y : tensor<4x16xf32>
  }
}

// -----

// A softmax over both axes: the maximum and the sum of all devices.
// CHECK-LABEL: func.func @softmax
// CHECK: %[[MOST:.*]] = snug_mesh.all_reduce max axes [0, 1] ins(%{{.*}} : tensor<4xf32>)
// CHECK: %[[SUM:.*]] = snug_mesh.all_reduce sum axes [0, 1] ins(%{{.*}} : tensor<4xf32>)
// CHECK: linalg.generic {{.*}} ins(%{{.*}}, %[[MOST]], %[[SUM]] : tensor<4x2xf32>, tensor<4xf32>, tensor<4xf32>)
module attributes {snug.mesh = array<i64: 4, 2>} {
  func.func @softmax(%x: tensor<4x16xf32>) -> tensor<4x16xf32> {
    %e = tensor.empty() : tensor<4x16xf32>
    %y = snug_nn.softmax ins(%x : tensor<4x16xf32>) outs(%e : tensor<4x16xf32>)
        {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 16>}, {axis = 1, dim = 1, segments = array<i64: 16>}]} -> tensor<4x16xf32>
    return %y : tensor<4x16xf32>
  }
}

// -----

// Past dims of 1 a part moves without a copy.
// CHECK-LABEL: func.func @first
// CHECK: %[[ALL:.*]] = snug_mesh.all_gather axes [0] ins(%{{.*}} : tensor<1x2x16xf32>) outs(%{{.*}} : tensor<4x1x2x16xf32>)
// CHECK-NOT: linalg
// CHECK: return
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @first(%x: tensor<1x8x16xf32>) -> tensor<1x8x16xf32> {
    %e = tensor.empty() : tensor<1x8x16xf32>
    %y = linalg.exp {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 8>}]} ins(%x : tensor<1x8x16xf32>) outs(%e : tensor<1x8x16xf32>) -> tensor<1x8x16xf32>
    return %y : tensor<1x8x16xf32>
  }
}

// -----

// A sum over both axes by steps, as elements lie in memory: axis 0 adds what devices along axis 1 have a part of each.
// CHECK-LABEL: func.func @sum_over_both
// CHECK: %[[P:.*]] = linalg.matmul ins(%{{.*}}, %{{.*}} : tensor<?x4xf32>, tensor<4x16xf32>) outs(%{{.*}} : tensor<?x16xf32>)
// CHECK: %[[PARTS:.*]] = tensor.expand_shape %{{.*}} {{\[\[}}0, 1]] output_shape [2, %{{.*}}] : tensor<?xf32> into tensor<2x?xf32>
// CHECK: %[[R:.*]] = snug_mesh.reduce_scatter sum axes [1] ins(%[[PARTS]] : tensor<2x?xf32>)
// CHECK: %[[A:.*]] = snug_mesh.all_reduce sum axes [0] ins(%[[R]] : tensor<?xf32>)
// CHECK: snug_mesh.all_gather axes [1] ins(%[[A]] : tensor<?xf32>) outs(%{{.*}} : tensor<2x?xf32>)
module attributes {snug.mesh = array<i64: 4, 2>} {
  func.func @sum_over_both(%x: tensor<?x32xf32>, %w: tensor<32x16xf32>) -> tensor<?x16xf32> {
    %c0 = arith.constant 0 : index
    %n = tensor.dim %x, %c0 : tensor<?x32xf32>
    %zero = arith.constant 0.0 : f32
    %e = tensor.empty(%n) : tensor<?x16xf32>
    %i = linalg.fill ins(%zero : f32) outs(%e : tensor<?x16xf32>) -> tensor<?x16xf32>
    %p = linalg.matmul {snug.cuts = [{axis = 0, dim = 2, segments = array<i64: 32>}, {axis = 1, dim = 2, segments = array<i64: 32>}]}
        ins(%x, %w : tensor<?x32xf32>, tensor<32x16xf32>) outs(%i : tensor<?x16xf32>) -> tensor<?x16xf32>
    return %p : tensor<?x16xf32>
  }
}

// -----

// Rows of which nobody knows how many: each device has as many as the others, the last ones some that mean nothing.
// CHECK-DAG: #[[$START:.*]] = affine_map<()[s0, s1] -> (s0 * ((s1 ceildiv 8) * 2), s1)>
// CHECK-DAG: #[[$THERE:.*]] = affine_map<()[s0, s1] -> (s0 - s1, (s0 ceildiv 8) * 2)>
// CHECK-LABEL: func.func @open
// CHECK: %[[ROWS:.*]] = tensor.dim %{{.*}}, %{{.*}}
// CHECK: %[[START:.*]] = affine.min #[[$START]]()[%{{.*}}, %[[ROWS]]]
// CHECK: %[[THERE:.*]] = affine.min #[[$THERE]]()[%[[ROWS]], %[[START]]]
// CHECK: tensor.extract_slice %{{.*}}[%[[START]], 0] [%[[THERE]], 16] [1, 1]
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[0, 0] [%[[THERE]], 16] [1, 1]
// CHECK: linalg.exp ins(%{{.*}} : tensor<?x16xf32>)
// CHECK: snug_mesh.all_gather axes [1]
// CHECK: snug_mesh.all_gather axes [0]
// CHECK: tensor.extract_slice %{{.*}}[0, 0] [%[[ROWS]], 16] [1, 1]
module attributes {snug.mesh = array<i64: 4, 2>} {
  func.func @open(%x: tensor<?x16xf32>) -> tensor<?x16xf32> {
    %c0 = arith.constant 0 : index
    %rows = tensor.dim %x, %c0 : tensor<?x16xf32>
    %e = tensor.empty(%rows) : tensor<?x16xf32>
    %y = linalg.exp {snug.cuts = [{axis = 0, dim = 0, segments = array<i64: -1>}, {axis = 1, dim = 0, segments = array<i64: -1>}]}
        ins(%x : tensor<?x16xf32>) outs(%e : tensor<?x16xf32>) -> tensor<?x16xf32>
    return %y : tensor<?x16xf32>
  }
}

// -----

// 10 columns of 4 devices: three each, of twelve.
// CHECK-LABEL: func.func @filled
// CHECK: linalg.matmul ins(%{{.*}}, %{{.*}} : tensor<8x32xf32>, tensor<32x3xf32>)
// CHECK: snug_mesh.all_gather axes [0] ins(%{{.*}} : tensor<8x3xf32>) outs(%{{.*}} : tensor<4x8x3xf32>)
// CHECK: tensor.extract_slice %{{.*}}[0, 0] [8, 10] [1, 1] : tensor<8x12xf32> to tensor<8x10xf32>
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @filled(%x: tensor<8x32xf32>, %w: tensor<32x10xf32>) -> tensor<8x10xf32> {
    %zero = arith.constant 0.0 : f32
    %e = tensor.empty() : tensor<8x10xf32>
    %i = linalg.fill {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 10>}]} ins(%zero : f32) outs(%e : tensor<8x10xf32>) -> tensor<8x10xf32>
    %p = linalg.matmul {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 10>}]}
        ins(%x, %w : tensor<8x32xf32>, tensor<32x10xf32>) outs(%i : tensor<8x10xf32>) -> tensor<8x10xf32>
    return %p : tensor<8x10xf32>
  }
}

// -----

// Keys in parts: each device attends to its own, and weighs what it saw by the statistics of all; the sum is left to who reads
// it. Query heads that share a key head go with it.
// CHECK-LABEL: func.func @keys
// CHECK: %[[PART:.*]]:3 = snug_nn.attention ins(%{{.*}}, %{{.*}}, %{{.*}} : tensor<2x6x16xf32>, tensor<1x10x16xf32>, tensor<1x10x16xf32>) stats(%{{.*}}, %{{.*}} : tensor<2x6xf32>, tensor<2x6xf32>)
// CHECK: snug_mesh.all_gather axes [0] ins(%{{.*}} : tensor<2x2x6xf32>)
// CHECK: snug_mesh.all_reduce sum axes [0] ins(%{{.*}} : tensor<2x6x16xf32>)
// CHECK: snug_mesh.all_gather axes [1]
module attributes {snug.mesh = array<i64: 2, 2>} {
  func.func @keys(%q: tensor<4x6x16xf32>, %k: tensor<2x20x16xf32>, %v: tensor<2x20x16xf32>) -> tensor<4x6x16xf32> {
    %e = tensor.empty() : tensor<4x6x16xf32>
    %r = snug_nn.attention ins(%q, %k, %v : tensor<4x6x16xf32>, tensor<2x20x16xf32>, tensor<2x20x16xf32>) outs(%e : tensor<4x6x16xf32>)
        attributes {indexing_maps = [affine_map<(h, s, t, d, e) -> (h, s, d)>, affine_map<(h, s, t, d, e) -> (h floordiv 2, t, d)>,
                                     affine_map<(h, s, t, d, e) -> (h floordiv 2, t, e)>, affine_map<(h, s, t, d, e) -> (h, s, e)>],
                    snug.cuts = [{axis = 0, dim = 2, segments = array<i64: 20>}, {axis = 1, dim = 0, segments = array<i64: 2>}]} {
    ^bb0(%qk: f32):
      snug_nn.yield %qk : f32
    } -> tensor<4x6x16xf32>
    return %r : tensor<4x6x16xf32>
  }
}

// -----

// Keys that go round: each device's rows attend to its own keys, then to those of the device before it, whose place says where
// they begin; what they saw is joined.
// CHECK-DAG: #[[$HERE:.*]] = affine_map<()[s0] -> (s0 * 5)>
// CHECK-DAG: #[[$BEFORE:.*]] = affine_map<()[s0] -> (s0 * 5 - ((s0 + 1) floordiv 2) * 10 + 5)>
// CHECK-LABEL: func.func @ring
// CHECK: %[[K:.*]] = tensor.extract_slice %arg1{{.*}} : tensor<10x16xf32> to tensor<5x16xf32>
// CHECK: %[[V:.*]] = tensor.extract_slice %arg2{{.*}} : tensor<10x16xf32> to tensor<5x16xf32>
// CHECK: %[[K1:.*]] = snug_mesh.shift axes [1] ins(%[[K]] : tensor<5x16xf32>)
// CHECK: %[[V1:.*]] = snug_mesh.shift axes [1] ins(%[[V]] : tensor<5x16xf32>)
// CHECK: snug_nn.attention ins(%{{.*}}, %[[K]], %[[V]] : tensor<3x16xf32>, {{.*}}) score(%{{.*}} : tensor<3x5xf32>) stats
// CHECK-NOT: snug_mesh.shift
// CHECK: %[[FIRST:.*]] = affine.apply #[[$BEFORE]]()
// CHECK: snug_nn.attention ins(%{{.*}}, %[[K1]], %[[V1]] :
// CHECK: snug_mesh.all_gather axes [1] ins(%{{.*}} : tensor<3x16xf32>)
module attributes {snug.mesh = array<i64: 1, 2>} {
  func.func @ring(%q: tensor<6x16xf32>, %k: tensor<10x16xf32>, %v: tensor<10x16xf32>, %bias: tensor<6x10xf32>) -> tensor<6x16xf32> {
    %e = tensor.empty() : tensor<6x16xf32>
    %r = snug_nn.attention ins(%q, %k, %v : tensor<6x16xf32>, tensor<10x16xf32>, tensor<10x16xf32>) score(%bias : tensor<6x10xf32>) outs(%e : tensor<6x16xf32>)
        attributes {indexing_maps = [affine_map<(s, t, d, e) -> (s, d)>, affine_map<(s, t, d, e) -> (t, d)>,
                                     affine_map<(s, t, d, e) -> (t, e)>, affine_map<(s, t, d, e) -> (s, t)>, affine_map<(s, t, d, e) -> (s, e)>],
                    snug.cuts = [{axis = 1, dim = 0, segments = array<i64: 6>, ring}]} {
    ^bb0(%qk: f32, %b: f32):
      %t = snug_nn.index 1
      %s = snug_nn.index 0
      %seen = arith.cmpi sle, %t, %s : index
      %score = arith.select %seen, %qk, %b : f32
      snug_nn.yield %score : f32
    } -> tensor<6x16xf32>
    return %r : tensor<6x16xf32>
  }
}

// -----

// What two readers want in parts of rows and of columns is made of what they share: brought together once, and then sliced.
// CHECK-LABEL: func.func @shared
// CHECK: %[[Y:.*]] = linalg.exp ins(%{{.*}} : tensor<2x16xf32>)
// CHECK: snug_mesh.all_gather axes [0] ins(%[[Y]] : tensor<2x16xf32>)
// CHECK-NOT: snug_mesh.all_to_all
// CHECK: linalg.log ins(%{{.*}} : tensor<8x4xf32>)
// CHECK: linalg.tanh ins(%{{.*}} : tensor<8x16xf32>)
module attributes {snug.mesh = array<i64: 4, 1>} {
  func.func @shared(%x: tensor<8x16xf32>) -> (tensor<8x16xf32>, tensor<8x16xf32>) {
    %e = tensor.empty() : tensor<8x16xf32>
    %a = linalg.exp {snug.cuts = [{axis = 0, dim = 0, segments = array<i64: 8>}], snug.shared = [["whole", "whole"]]}
        ins(%x : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    %b = linalg.log {snug.cuts = [{axis = 0, dim = 1, segments = array<i64: 16>}]} ins(%a : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    %c = linalg.tanh ins(%a : tensor<8x16xf32>) outs(%e : tensor<8x16xf32>) -> tensor<8x16xf32>
    return %b, %c : tensor<8x16xf32>, tensor<8x16xf32>
  }
}
