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

// -----

// Index arithmetic leads to what is read in more ways than can be walked one by one.
// CHECK-LABEL: func.func @many_ways
// CHECK: linalg.exp
func.func @many_ways(%x: tensor<64xf32>, %i0: index) -> tensor<4xf32> {
  %i1 = arith.addi %i0, %i0 : index
  %i2 = arith.addi %i1, %i1 : index
  %i3 = arith.addi %i2, %i2 : index
  %i4 = arith.addi %i3, %i3 : index
  %i5 = arith.addi %i4, %i4 : index
  %i6 = arith.addi %i5, %i5 : index
  %i7 = arith.addi %i6, %i6 : index
  %i8 = arith.addi %i7, %i7 : index
  %i9 = arith.addi %i8, %i8 : index
  %i10 = arith.addi %i9, %i9 : index
  %i11 = arith.addi %i10, %i10 : index
  %i12 = arith.addi %i11, %i11 : index
  %i13 = arith.addi %i12, %i12 : index
  %i14 = arith.addi %i13, %i13 : index
  %i15 = arith.addi %i14, %i14 : index
  %i16 = arith.addi %i15, %i15 : index
  %i17 = arith.addi %i16, %i16 : index
  %i18 = arith.addi %i17, %i17 : index
  %i19 = arith.addi %i18, %i18 : index
  %i20 = arith.addi %i19, %i19 : index
  %i21 = arith.addi %i20, %i20 : index
  %i22 = arith.addi %i21, %i21 : index
  %i23 = arith.addi %i22, %i22 : index
  %i24 = arith.addi %i23, %i23 : index
  %i25 = arith.addi %i24, %i24 : index
  %i26 = arith.addi %i25, %i25 : index
  %i27 = arith.addi %i26, %i26 : index
  %i28 = arith.addi %i27, %i27 : index
  %i29 = arith.addi %i28, %i28 : index
  %i30 = arith.addi %i29, %i29 : index
  %i31 = arith.addi %i30, %i30 : index
  %i32 = arith.addi %i31, %i31 : index
  %i33 = arith.addi %i32, %i32 : index
  %i34 = arith.addi %i33, %i33 : index
  %i35 = arith.addi %i34, %i34 : index
  %i36 = arith.addi %i35, %i35 : index
  %i37 = arith.addi %i36, %i36 : index
  %i38 = arith.addi %i37, %i37 : index
  %i39 = arith.addi %i38, %i38 : index
  %i40 = arith.addi %i39, %i39 : index
  %i41 = arith.addi %i40, %i40 : index
  %i42 = arith.addi %i41, %i41 : index
  %i43 = arith.addi %i42, %i42 : index
  %i44 = arith.addi %i43, %i43 : index
  %i45 = arith.addi %i44, %i44 : index
  %i46 = arith.addi %i45, %i45 : index
  %i47 = arith.addi %i46, %i46 : index
  %i48 = arith.addi %i47, %i47 : index
  %i49 = arith.addi %i48, %i48 : index
  %i50 = arith.addi %i49, %i49 : index
  %i51 = arith.addi %i50, %i50 : index
  %i52 = arith.addi %i51, %i51 : index
  %i53 = arith.addi %i52, %i52 : index
  %i54 = arith.addi %i53, %i53 : index
  %i55 = arith.addi %i54, %i54 : index
  %i56 = arith.addi %i55, %i55 : index
  %i57 = arith.addi %i56, %i56 : index
  %i58 = arith.addi %i57, %i57 : index
  %i59 = arith.addi %i58, %i58 : index
  %i60 = arith.addi %i59, %i59 : index
  %few = tensor.extract_slice %x[%i60] [4] [1] : tensor<64xf32> to tensor<4xf32>
  %e = tensor.empty() : tensor<4xf32>
  %y = linalg.exp ins(%few : tensor<4xf32>) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// An all-reduce combines in place what dies there; what others read stays.
// CHECK-LABEL: func.func @all_reduce
// CHECK: %[[A:.*]] = linalg.exp
// CHECK: %[[B:.*]] = snug_mesh.all_reduce sum axes [0] ins(%[[A]] : tensor<4x3xf32>) outs(%[[A]] : tensor<4x3xf32>)
// CHECK: %[[E:.*]] = tensor.empty() : tensor<4x3xf32>
// CHECK: snug_mesh.all_reduce max axes [0] ins(%[[B]] : tensor<4x3xf32>) outs(%[[E]] : tensor<4x3xf32>)
// OUT-OF-PLACE-LABEL: func.func @all_reduce
// OUT-OF-PLACE: linalg.exp
// OUT-OF-PLACE: %[[E:.*]] = tensor.empty() : tensor<4x3xf32>
// OUT-OF-PLACE: snug_mesh.all_reduce sum axes [0] ins(%{{.*}} : tensor<4x3xf32>) outs(%[[E]] : tensor<4x3xf32>)
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @all_reduce(%x: tensor<4x3xf32>) -> tensor<3x4xf32> {
  %e0 = tensor.empty() : tensor<4x3xf32>
  %a = linalg.exp ins(%x : tensor<4x3xf32>) outs(%e0 : tensor<4x3xf32>) -> tensor<4x3xf32>
  %e1 = tensor.empty() : tensor<4x3xf32>
  %b = snug_mesh.all_reduce sum axes [0] ins(%a : tensor<4x3xf32>) outs(%e1 : tensor<4x3xf32>) -> tensor<4x3xf32>
  %e2 = tensor.empty() : tensor<4x3xf32>
  %c = snug_mesh.all_reduce max axes [0] ins(%b : tensor<4x3xf32>) outs(%e2 : tensor<4x3xf32>) -> tensor<4x3xf32>
  %e3 = tensor.empty() : tensor<3x4xf32>
  %d = linalg.generic {indexing_maps = [affine_map<(i, j) -> (j, i)>, affine_map<(i, j) -> (j, i)>, affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]} ins(%b, %c : tensor<4x3xf32>, tensor<4x3xf32>) outs(%e3 : tensor<3x4xf32>) {
  ^bb0(%u: f32, %v: f32, %w: f32):
    %t = arith.addf %u, %v : f32
    linalg.yield %t : f32
  } -> tensor<3x4xf32>
  return %d : tensor<3x4xf32>
}
}
