// RUN: snug-opt %s -snug-bufferize -split-input-file | FileCheck %s --enable-var-scope

// Results are dropped, each tensor.empty is one allocation even where two are equal.
// CHECK-LABEL: func.func @empties_stay_apart(
// CHECK-SAME: %[[X:[a-z0-9]+]]: memref<?x64xf32> {snug.dims = ["seq", "64"]}, %[[Y:[a-z0-9]+]]: memref<?x64xf32> {snug.output})
// CHECK-SAME: snug.num_inputs = 1
// CHECK: %[[D:.*]] = memref.dim %[[X]]
// CHECK: %[[A:.*]] = memref.alloc(%[[D]])
// CHECK: linalg.exp ins(%[[X]] : {{.*}} outs(%[[A]] :
// CHECK: %[[B:.*]] = memref.alloc(%[[D]])
// CHECK: linalg.abs ins(%[[X]] : {{.*}} outs(%[[B]] :
// CHECK: linalg.sub ins(%[[A]], %[[B]] : {{.*}} outs(%[[Y]] :
// CHECK-NOT: memref.alloc
// CHECK-NOT: copy
// CHECK: return{{$}}
func.func @empties_stay_apart(%x: tensor<?x64xf32> {snug.dims = ["seq", "64"]},
    %y: tensor<?x64xf32> {bufferization.writable = true, snug.output}) -> tensor<?x64xf32> attributes {snug.num_inputs = 1 : i64} {
  %c0 = arith.constant 0 : index
  %d = tensor.dim %x, %c0 : tensor<?x64xf32>
  %a = tensor.empty(%d) : tensor<?x64xf32>
  %0 = linalg.exp ins(%x : tensor<?x64xf32>) outs(%a : tensor<?x64xf32>) -> tensor<?x64xf32>
  %b = tensor.empty(%d) : tensor<?x64xf32>
  %1 = linalg.abs ins(%x : tensor<?x64xf32>) outs(%b : tensor<?x64xf32>) -> tensor<?x64xf32>
  %2 = linalg.sub ins(%0, %1 : tensor<?x64xf32>, tensor<?x64xf32>) outs(%y : tensor<?x64xf32>) -> tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}

// -----

// The result stands behind views of its destination.
// CHECK-LABEL: func.func @through_views(
// CHECK-SAME: %[[OUT:[a-z0-9]+]]: memref<1x64xf32> {snug.output})
// CHECK-NOT: memref.alloc
// CHECK-NOT: copy
// CHECK: return{{$}}
func.func @through_views(%x: tensor<4x16xf32>, %out: tensor<1x64xf32> {bufferization.writable = true, snug.output})
    -> tensor<1x64xf32> attributes {snug.num_inputs = 1 : i64} {
  %c = tensor.collapse_shape %out [[0, 1]] : tensor<1x64xf32> into tensor<64xf32>
  %e = tensor.expand_shape %c [[0, 1]] output_shape [4, 16] : tensor<64xf32> into tensor<4x16xf32>
  %0 = linalg.exp ins(%x : tensor<4x16xf32>) outs(%e : tensor<4x16xf32>) -> tensor<4x16xf32>
  %1 = tensor.collapse_shape %0 [[0, 1]] : tensor<4x16xf32> into tensor<64xf32>
  %2 = tensor.expand_shape %1 [[0, 1]] output_shape [1, 64] : tensor<64xf32> into tensor<1x64xf32>
  return %2 : tensor<1x64xf32>
}

// -----

// The kernels of ours that the schedule lets write over an operand do.
#m = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#o = affine_map<(m, n, k) -> (m, n)>
snug_nn.data @w : tensor<64x64xf32> {file = "w.bin", offset = 0 : i64, length = 16384 : i64}
// CHECK-LABEL: func.func @kernels_in_place(
// CHECK-SAME: %[[X:[a-z0-9]+]]: memref<16x64xf32>, %[[OUT:[a-z0-9]+]]: memref<16x64xf32>
// CHECK: linalg.exp ins(%[[X]] : {{.*}} outs(%[[OUT]] :
// CHECK: %[[A:.*]] = memref.alloc
// CHECK: snug_nn.norm layer ins(%[[OUT]] : {{.*}} outs(%[[A]] :
// CHECK: snug_nn.softmax ins(%[[A]] : {{.*}} outs(%[[A]] : memref<16x64xf32>){{$}}
// CHECK: snug_nn.contract ins(%[[A]], {{.*}} epilogue(%[[OUT]] : {{.*}} outs(%[[OUT]] :
// CHECK-NOT: memref.alloc
// CHECK: return{{$}}
func.func @kernels_in_place(%x: tensor<16x64xf32>, %out: tensor<16x64xf32> {bufferization.writable = true, snug.output})
    -> tensor<16x64xf32> attributes {snug.num_inputs = 1 : i64} {
  %r = linalg.exp ins(%x : tensor<16x64xf32>) outs(%out : tensor<16x64xf32>) -> tensor<16x64xf32>
  %e = tensor.empty() : tensor<16x64xf32>
  %n = snug_nn.norm layer ins(%r : tensor<16x64xf32>) outs(%e : tensor<16x64xf32>) {epsilon = 1.0e-5 : f32} -> tensor<16x64xf32>
  %s = snug_nn.softmax ins(%n : tensor<16x64xf32>) outs(%n : tensor<16x64xf32>) -> tensor<16x64xf32>
  %w = snug_nn.weight @w : tensor<64x64xf32>
  %c = snug_nn.contract ins(%s, %w : tensor<16x64xf32>, tensor<64x64xf32>) epilogue(%r : tensor<16x64xf32>)
      outs(%r : tensor<16x64xf32>) attributes {indexing_maps = [#m, #w, #o, #o], iterator_types = ["parallel", "parallel", "reduction"]} {
  ^bb0(%acc: f32, %res: f32):
    %0 = arith.addf %acc, %res : f32
    snug_nn.yield %0 : f32
  } -> tensor<16x64xf32>
  return %c : tensor<16x64xf32>
}

// -----

// A chunk loop over the rows of a residual block: the loop carries the residual's buffer, reads go through the
// iter_arg, so a row is read before it is written and nothing is allocated but the chunk's own tensors.
#m = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (k, n)>
#o = affine_map<(m, n, k) -> (m, n)>
snug_nn.data @w : tensor<64x64xf32> {file = "w.bin", offset = 0 : i64, length = 16384 : i64}
// CHECK-LABEL: func.func @residual_in_chunk_loop(
// CHECK-SAME: %[[X:[a-z0-9]+]]: memref<?x64xf32>{{.*}}, %[[OUT:[a-z0-9]+]]: memref<?x64xf32>
// CHECK-NOT: memref.alloc
// CHECK: linalg.exp ins(%[[X]] : {{.*}} outs(%[[OUT]] :
// CHECK-NOT: memref.alloc
// CHECK: scf.for %[[I:[a-z0-9]+]] = {{.*}} {
// CHECK: %[[SIZE:.*]] = affine.min
// CHECK: %[[ROWS:.*]] = memref.subview %[[OUT]][%[[I]], 0] [%[[SIZE]], 64] [1, 1]
// CHECK: %[[A:.*]] = memref.alloc(%[[SIZE]])
// CHECK: snug_nn.norm rms ins(%[[ROWS]] : {{.*}} outs(%[[A]] :
// CHECK: snug_nn.contract ins(%[[A]], {{.*}} epilogue(%[[ROWS]] : {{.*}} outs(%[[ROWS]] :
// CHECK-NOT: memref.alloc
// CHECK-NOT: copy
// CHECK: return{{$}}
func.func @residual_in_chunk_loop(%x: tensor<?x64xf32> {snug.dims = ["seq", "64"]},
    %out: tensor<?x64xf32> {bufferization.writable = true, snug.output}) -> tensor<?x64xf32> attributes {snug.num_inputs = 1 : i64} {
  %c0 = arith.constant 0 : index
  %c8 = arith.constant 8 : index
  %d = tensor.dim %x, %c0 : tensor<?x64xf32>
  %w = snug_nn.weight @w : tensor<64x64xf32>
  %r = linalg.exp ins(%x : tensor<?x64xf32>) outs(%out : tensor<?x64xf32>) -> tensor<?x64xf32>
  %y = scf.for %i = %c0 to %d step %c8 iter_args(%acc = %r) -> (tensor<?x64xf32>) {
    %size = affine.min affine_map<(i)[n] -> (8, n - i)>(%i)[%d]
    %rows = tensor.extract_slice %acc[%i, 0] [%size, 64] [1, 1] : tensor<?x64xf32> to tensor<?x64xf32>
    %e = tensor.empty(%size) : tensor<?x64xf32>
    %n = snug_nn.norm rms ins(%rows : tensor<?x64xf32>) outs(%e : tensor<?x64xf32>) {epsilon = 1.0e-5 : f32} -> tensor<?x64xf32>
    %again = tensor.extract_slice %acc[%i, 0] [%size, 64] [1, 1] : tensor<?x64xf32> to tensor<?x64xf32>
    %c = snug_nn.contract ins(%n, %w : tensor<?x64xf32>, tensor<64x64xf32>) epilogue(%rows : tensor<?x64xf32>)
        outs(%again : tensor<?x64xf32>) attributes {indexing_maps = [#m, #w, #o, #o], iterator_types = ["parallel", "parallel", "reduction"]} {
    ^bb0(%sum: f32, %res: f32):
      %0 = arith.addf %sum, %res : f32
      snug_nn.yield %0 : f32
    } -> tensor<?x64xf32>
    %next = tensor.insert_slice %c into %acc[%i, 0] [%size, 64] [1, 1] : tensor<?x64xf32> into tensor<?x64xf32>
    scf.yield %next : tensor<?x64xf32>
  }
  return %y : tensor<?x64xf32>
}

// -----

// An insert of what stands elsewhere is a copy of the program's own: a kernel.
// CHECK-LABEL: func.func @concat(
// CHECK-SAME: %[[A:[a-z0-9]+]]: memref<4x8xf32>, %[[B:[a-z0-9]+]]: memref<4x8xf32>, %[[OUT:[a-z0-9]+]]: memref<8x8xf32>
// CHECK: %[[LOW:.*]] = memref.subview %[[OUT]][0, 0]
// CHECK: linalg.copy ins(%[[A]] : {{.*}} outs(%[[LOW]] :
// CHECK: %[[HIGH:.*]] = memref.subview %[[OUT]][4, 0]
// CHECK: linalg.copy ins(%[[B]] : {{.*}} outs(%[[HIGH]] :
// CHECK-NOT: memref.copy
// CHECK: return{{$}}
func.func @concat(%a: tensor<4x8xf32>, %b: tensor<4x8xf32>, %out: tensor<8x8xf32> {bufferization.writable = true, snug.output})
    -> tensor<8x8xf32> attributes {snug.num_inputs = 2 : i64} {
  %0 = tensor.insert_slice %a into %out[0, 0] [4, 8] [1, 1] : tensor<4x8xf32> into tensor<8x8xf32>
  %1 = tensor.insert_slice %b into %0[4, 0] [4, 8] [1, 1] : tensor<4x8xf32> into tensor<8x8xf32>
  return %1 : tensor<8x8xf32>
}
