// RUN: snug-opt %s -split-input-file -snug-select-chunks=activation-budget=600000 2> %t | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK < %t

// Query heads that share a key head are cut in whole groups: a step of the loop is one key head and its four query heads,
// and the head's place in the score counts query heads.
// REMARK: remark: chunk loop over dim 1 of extent 2, 2 iterations of 1; peak 1064960 -> 540672 bytes
// CHECK: #[[$HEADS:.*]] = affine_map<()[s0] -> (s0 * 4)>
// CHECK-LABEL: func.func @grouped_queries
// CHECK: scf.for %[[I:[a-z0-9]+]] = {{.*}} -> (tensor<1x8x16x32xf32>)
// CHECK: %[[KEYS:.*]] = linalg.exp {{.*}} -> tensor<1x1x4096x32xf32>
// CHECK: %[[FIRST:.*]] = affine.apply #[[$HEADS]]()[%[[I]]]
// CHECK: %[[Q:.*]] = tensor.extract_slice %{{.*}}[0, %[[FIRST]], 0, 0] [1, 4, 16, 32]
// CHECK: snug_nn.attention ins(%[[Q]], %[[KEYS]], %[[KEYS]] : tensor<1x4x16x32xf32>, tensor<1x1x4096x32xf32>, tensor<1x1x4096x32xf32>)
// CHECK: %[[HEAD:.*]] = snug_nn.index 1
// CHECK: %[[OFFSET:.*]] = arith.muli %[[I]], %c4
// CHECK: arith.addi %[[HEAD]], %[[OFFSET]]
#q = affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>
#k = affine_map<(b, h, s, t, d, e) -> (b, h floordiv 4, t, d)>
#v = affine_map<(b, h, s, t, d, e) -> (b, h floordiv 4, t, e)>
#o = affine_map<(b, h, s, t, d, e) -> (b, h, s, e)>
func.func @grouped_queries(%q: tensor<1x8x16x32xf32>, %x: tensor<1x2x4096x32xf32>) -> tensor<1x8x16x32xf32> {
  %e0 = tensor.empty() : tensor<1x2x4096x32xf32>
  %k = linalg.exp ins(%x : tensor<1x2x4096x32xf32>) outs(%e0 : tensor<1x2x4096x32xf32>) -> tensor<1x2x4096x32xf32>
  %e1 = tensor.empty() : tensor<1x8x16x32xf32>
  %y = snug_nn.attention ins(%q, %k, %k : tensor<1x8x16x32xf32>, tensor<1x2x4096x32xf32>, tensor<1x2x4096x32xf32>)
      outs(%e1 : tensor<1x8x16x32xf32>) attributes {indexing_maps = [#q, #k, #v, #o]} {
  ^bb0(%qk: f32):
    %h = snug_nn.index 1
    %i = arith.index_cast %h : index to i32
    %f = arith.sitofp %i : i32 to f32
    %score = arith.mulf %qk, %f : f32
    snug_nn.yield %score : f32
  } -> tensor<1x8x16x32xf32>
  return %y : tensor<1x8x16x32xf32>
}

// -----

// A table of which few, long rows are gathered is cut along its columns.
// REMARK: remark: chunk loop over dim 1 of extent 65536
// CHECK-LABEL: func.func @columns_of_a_gather
// CHECK: scf.for {{.*}} -> (tensor<3x65536xf32>)
// CHECK: %[[TABLE:.*]] = linalg.exp {{.*}} -> tensor<4x[[COLUMNS:[0-9]+]]xf32>
// CHECK: snug_nn.gather ins(%[[TABLE]], %arg1 : tensor<4x[[COLUMNS]]xf32>, tensor<3xi64>) outs({{.*}} : tensor<3x[[COLUMNS]]xf32>)
func.func @columns_of_a_gather(%x: tensor<4x65536xf32>, %i: tensor<3xi64>,
                               %o: tensor<3x65536xf32> {snug.output}) -> tensor<3x65536xf32> {
  %e0 = tensor.empty() : tensor<4x65536xf32>
  %t = linalg.exp ins(%x : tensor<4x65536xf32>) outs(%e0 : tensor<4x65536xf32>) -> tensor<4x65536xf32>
  %y = snug_nn.gather ins(%t, %i : tensor<4x65536xf32>, tensor<3xi64>) outs(%o : tensor<3x65536xf32>) axis = 0
      -> tensor<3x65536xf32>
  return %y : tensor<3x65536xf32>
}

// -----

// A padding along the columns is cut along the rows, of which the last step has what is left.
// REMARK: remark: chunk loop over dim 0 of extent 1000
// CHECK-LABEL: func.func @padding
// CHECK-NOT: tensor.pad
// CHECK: scf.for {{.*}} -> (tensor<?xf32>)
// CHECK: %[[ROWS:.*]] = affine.min
// CHECK: %[[ZEROS:.*]] = linalg.fill {{.*}} -> tensor<?x258xf32>
// CHECK: %[[PADDED:.*]] = tensor.insert_slice %{{.*}} into %[[ZEROS]][0, 1] [%[[ROWS]], 256] [1, 1]
// CHECK: linalg.reduce ins(%[[PADDED]] :
module attributes {snug.dims = [{name = "n", min = 1 : i64, max = 1000 : i64, step = 1 : i64}]} {
  func.func @padding(%x: tensor<?x256xf32> {snug.dims = ["n", "256"]}, %o: tensor<?xf32> {snug.dims = ["n"], snug.output}) -> tensor<?xf32> {
    %zero = arith.constant 0.0 : f32
    %c0 = arith.constant 0 : index
    %n = tensor.dim %x, %c0 : tensor<?x256xf32>
    %e0 = tensor.empty(%n) : tensor<?x256xf32>
    %h = linalg.exp ins(%x : tensor<?x256xf32>) outs(%e0 : tensor<?x256xf32>) -> tensor<?x256xf32>
    %p = tensor.pad %h low[0, 1] high[0, 1] {
    ^bb0(%i: index, %j: index):
      tensor.yield %zero : f32
    } : tensor<?x256xf32> to tensor<?x258xf32>
    %f = linalg.fill ins(%zero : f32) outs(%o : tensor<?xf32>) -> tensor<?xf32>
    %y = linalg.reduce ins(%p : tensor<?x258xf32>) outs(%f : tensor<?xf32>) dimensions = [1]
        (%a: f32, %b: f32) {
          %c = arith.maximumf %a, %b : f32
          linalg.yield %c : f32
        }
    return %y : tensor<?xf32>
  }
}

// -----

// Of one element there is no stride: upstream cannot lower a slice with one where dims of 1 are dropped and kept. The
// slice as it was has one such dim, the slice of one row has two.
// REMARK: remark: chunk loop over dim 1 of extent 40, 40 iterations of 1
// CHECK-LABEL: func.func @stride_of_one_element
// CHECK: %[[ROW:.*]] = linalg.exp {{.*}} -> tensor<3x1x32768xf32>
// CHECK: tensor.extract_slice %[[ROW]][1, 0, 0] [1, 1, 32768] [1, 1, 1] : tensor<3x1x32768xf32> to tensor<1x32768xf32>
func.func @stride_of_one_element(%x: tensor<3x40x32768xf32>, %o: tensor<40x32768xf32> {snug.output})
    -> tensor<40x32768xf32> {
  %e0 = tensor.empty() : tensor<3x40x32768xf32>
  %a = linalg.exp ins(%x : tensor<3x40x32768xf32>) outs(%e0 : tensor<3x40x32768xf32>) -> tensor<3x40x32768xf32>
  %s = tensor.extract_slice %a[1, 0, 0] [1, 40, 32768] [2, 1, 1] : tensor<3x40x32768xf32> to tensor<40x32768xf32>
  %y = linalg.tanh ins(%s : tensor<40x32768xf32>) outs(%o : tensor<40x32768xf32>) -> tensor<40x32768xf32>
  return %y : tensor<40x32768xf32>
}
