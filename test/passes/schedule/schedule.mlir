// RUN: snug-opt %s -snug-schedule -split-input-file | FileCheck %s --enable-var-scope
// RUN: snug-opt %s -snug-schedule=in-place=false -split-input-file | FileCheck %s --check-prefix=OUT-OF-PLACE

// The result becomes an argument, and the chain before it is made in it: the second kernel writes over the first.
// CHECK-LABEL: func.func @chain_into_destination
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x64xf32> {snug.dims = ["seq", "64"], snug.name = "x"}
// CHECK-SAME: %[[OUT:[a-z0-9]+]]: tensor<?x64xf32> {bufferization.writable = true, snug.dims = ["seq", "64"], snug.name = "y", snug.output}
// CHECK-SAME: snug.num_inputs = 1 : i64
// CHECK-NOT: tensor.empty
// CHECK: %[[E:.*]] = linalg.exp ins(%[[X]] : {{.*}} outs(%[[OUT]] :
// CHECK: %[[T:.*]] = linalg.tanh ins(%[[E]] : {{.*}} outs(%[[E]] :
// CHECK: return %[[T]]
// OUT-OF-PLACE-LABEL: func.func @chain_into_destination
// OUT-OF-PLACE: %[[E:.*]] = tensor.empty
// OUT-OF-PLACE: linalg.exp ins({{.*}} outs(%[[E]] :
// OUT-OF-PLACE: linalg.tanh ins({{.*}} outs(%arg1 :
module attributes {snug.dims = [{name = "seq", min = 1 : i64, max = 128 : i64, step = 1 : i64}]} {
  func.func @chain_into_destination(%x: tensor<?x64xf32> {snug.name = "x", snug.dims = ["seq", "64"]})
      -> (tensor<?x64xf32> {snug.name = "y", snug.dims = ["seq", "64"]}) {
    %c0 = arith.constant 0 : index
    %d = tensor.dim %x, %c0 : tensor<?x64xf32>
    %e = tensor.empty(%d) : tensor<?x64xf32>
    %0 = linalg.exp ins(%x : tensor<?x64xf32>) outs(%e : tensor<?x64xf32>) -> tensor<?x64xf32>
    %1 = linalg.tanh ins(%0 : tensor<?x64xf32>) outs(%e : tensor<?x64xf32>) -> tensor<?x64xf32>
    return %1 : tensor<?x64xf32>
  }
}

// -----

// An input is not the caller's to lose: it is never written over, and a returned one is copied.
// CHECK-LABEL: func.func @returned_input_and_twice(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<8xf32>, %[[A:[a-z0-9]+]]: {{.*}}, %[[B:[a-z0-9]+]]: {{.*}}, %[[C:[a-z0-9]+]]: tensor<8xf32>
// CHECK: %[[E:.*]] = linalg.exp ins(%[[X]] : {{.*}} outs(%[[B]] :
// CHECK: %[[CA:.*]] = linalg.copy ins(%[[X]] : {{.*}} outs(%[[A]] :
// CHECK: %[[CC:.*]] = linalg.copy ins(%[[E]] : {{.*}} outs(%[[C]] :
// CHECK: return %[[CA]], %[[E]], %[[CC]]
func.func @returned_input_and_twice(%x: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>, tensor<8xf32>) {
  %e = tensor.empty() : tensor<8xf32>
  %0 = linalg.exp ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) -> tensor<8xf32>
  return %x, %0, %0 : tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
}

// -----

// The destination goes through the views that stand between the kernel and the result.
// CHECK-LABEL: func.func @through_views(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<4x16xf32>, %[[OUT:[a-z0-9]+]]: tensor<1x64xf32>
// CHECK: %[[V:.*]] = tensor.collapse_shape %[[OUT]] {{.*}} into tensor<64xf32>
// CHECK: %[[D:.*]] = tensor.expand_shape %[[V]] {{.*}} into tensor<4x16xf32>
// CHECK: linalg.exp ins(%[[X]] : {{.*}} outs(%[[D]] :
// CHECK-NOT: linalg.copy
func.func @through_views(%x: tensor<4x16xf32>) -> tensor<1x64xf32> {
  %e = tensor.empty() : tensor<4x16xf32>
  %0 = linalg.exp ins(%x : tensor<4x16xf32>) outs(%e : tensor<4x16xf32>) -> tensor<4x16xf32>
  %1 = tensor.collapse_shape %0 [[0, 1]] : tensor<4x16xf32> into tensor<64xf32>
  %2 = tensor.expand_shape %1 [[0, 1]] output_shape [1, 64] : tensor<64xf32> into tensor<1x64xf32>
  return %2 : tensor<1x64xf32>
}

// -----

// A kernel may write over what dies if it reads it at the index it writes. Not over what lives on, not over what it
// reads elsewhere, not over part of a buffer.
#id = affine_map<(d0, d1) -> (d0, d1)>
#swap = affine_map<(d0, d1) -> (d1, d0)>
// CHECK-LABEL: func.func @in_place_only_where_safe(
// CHECK: %[[E:.*]] = linalg.exp
// CHECK: %[[FRESH:.*]] = tensor.empty
// CHECK: %[[A:.*]] = linalg.abs ins(%[[E]] : {{.*}} outs(%[[FRESH]] :
// CHECK: %[[SUM:.*]] = linalg.generic {{.*}} ins(%[[E]], %[[A]] : {{.*}} outs(%[[A]] :
// CHECK: %[[SLICE:.*]] = tensor.extract_slice %[[SUM]]
// CHECK: linalg.tanh ins(%[[SLICE]] : {{.*}} outs(%arg1 :
func.func @in_place_only_where_safe(%x: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<8x8xf32>
  %f = tensor.empty() : tensor<4x8xf32>
  %0 = linalg.exp ins(%x : tensor<8x8xf32>) outs(%e : tensor<8x8xf32>) -> tensor<8x8xf32>
  %1 = linalg.abs ins(%0 : tensor<8x8xf32>) outs(%e : tensor<8x8xf32>) -> tensor<8x8xf32>
  %2 = linalg.generic {indexing_maps = [#swap, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%0, %1 : tensor<8x8xf32>, tensor<8x8xf32>) outs(%e : tensor<8x8xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  } -> tensor<8x8xf32>
  %3 = tensor.extract_slice %2[0, 0] [4, 8] [1, 1] : tensor<8x8xf32> to tensor<4x8xf32>
  %4 = linalg.tanh ins(%3 : tensor<4x8xf32>) outs(%f : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %4 : tensor<4x8xf32>
}

// -----

// Rows of softmax and norm, and the residual of a contraction, are written where they were read.
#m = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#o = affine_map<(m, n, k) -> (m, n)>
snug_nn.data @w : tensor<64x64xf32> {file = "w.bin", offset = 0 : i64, length = 16384 : i64}
// CHECK-LABEL: func.func @kernels_in_place(
// CHECK: %[[R:.*]] = linalg.exp
// CHECK: %[[NEW:.*]] = tensor.empty
// CHECK: %[[N:.*]] = snug_nn.norm layer ins(%[[R]] : {{.*}} outs(%[[NEW]] :
// CHECK: %[[S:.*]] = snug_nn.softmax ins(%[[N]] : {{.*}} outs(%[[N]] :
// CHECK: snug_nn.contract ins(%[[S]], {{.*}} epilogue(%[[R]] : {{.*}} outs(%[[R]] :
func.func @kernels_in_place(%x: tensor<16x64xf32>) -> tensor<16x64xf32> {
  %w = snug_nn.weight @w : tensor<64x64xf32>
  %e = tensor.empty() : tensor<16x64xf32>
  %r = linalg.exp ins(%x : tensor<16x64xf32>) outs(%e : tensor<16x64xf32>) -> tensor<16x64xf32>
  %n = snug_nn.norm layer ins(%r : tensor<16x64xf32>) outs(%e : tensor<16x64xf32>) {epsilon = 1.0e-5 : f32} -> tensor<16x64xf32>
  %s = snug_nn.softmax ins(%n : tensor<16x64xf32>) outs(%e : tensor<16x64xf32>) -> tensor<16x64xf32>
  %c = snug_nn.contract ins(%s, %w : tensor<16x64xf32>, tensor<64x64xf32>) epilogue(%r : tensor<16x64xf32>)
      outs(%e : tensor<16x64xf32>) attributes {indexing_maps = [#m, #w, #o, #o], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %res: f32):
    %0 = arith.addf %acc, %res : f32
    snug_nn.yield %0 : f32
  } -> tensor<16x64xf32>
  return %c : tensor<16x64xf32>
}

// -----

// Two wide branches: the given order holds both wide tensors at once, the best one only one of them.
// CHECK-LABEL: func.func @order_for_least_peak(
// CHECK: %[[A:.*]] = linalg.broadcast ins(%arg0
// CHECK: linalg.reduce { arith.addf } ins(%[[A]]
// CHECK: %[[B:.*]] = linalg.broadcast ins(%arg1
// CHECK: linalg.reduce { arith.addf } ins(%[[B]]
func.func @order_for_least_peak(%x: tensor<64xf32>, %y: tensor<64xf32>) -> tensor<64xf32> {
  %zero = arith.constant 0.0 : f32
  %wide = tensor.empty() : tensor<64x1024xf32>
  %thin = tensor.empty() : tensor<64xf32>
  %a = linalg.broadcast ins(%x : tensor<64xf32>) outs(%wide : tensor<64x1024xf32>) dimensions = [1]
  %b = linalg.broadcast ins(%y : tensor<64xf32>) outs(%wide : tensor<64x1024xf32>) dimensions = [1]
  %init = linalg.fill ins(%zero : f32) outs(%thin : tensor<64xf32>) -> tensor<64xf32>
  %ra = linalg.reduce { arith.addf } ins(%a : tensor<64x1024xf32>) outs(%init : tensor<64xf32>) dimensions = [1]
  %rb = linalg.reduce { arith.addf } ins(%b : tensor<64x1024xf32>) outs(%init : tensor<64xf32>) dimensions = [1]
  %s = linalg.add ins(%ra, %rb : tensor<64xf32>, tensor<64xf32>) outs(%thin : tensor<64xf32>) -> tensor<64xf32>
  return %s : tensor<64xf32>
}
