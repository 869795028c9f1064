// RUN: snug-opt %s -split-input-file -snug-select-chunks 2> %t | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK < %t
// RUN: snug-opt %s -split-input-file -snug-select-chunks 2> %t \
// RUN:   | snug-opt -one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" -split-input-file \
// RUN:   | FileCheck %s --check-prefix=BUFFER

// A tensor is needed after it is written over: the loop gets a copy. Bufferization by itself would copy the argument for
// the loop, and then the slice, which the loop reads of what it writes.
// REMARK: remark: chunk loop over dim 0 of extent 64, {{.*}}; peak 393216 -> 264192 bytes
// CHECK-LABEL: func.func @copied_for_a_loop
// CHECK: %[[EMPTY:.*]] = tensor.empty() : tensor<64x1024xf32>
// CHECK: scf.for {{.*}} iter_args(%[[ALL:.*]] = %[[EMPTY]]) -> (tensor<64x1024xf32>)
// CHECK: %[[FROM:.*]] = tensor.extract_slice %arg0[%[[I:.*]], 0] [1, 1024] [1, 1]
// CHECK: %[[TO:.*]] = tensor.extract_slice %[[ALL]][%[[I]], 0] [1, 1024] [1, 1]
// CHECK: %[[COPY:.*]] = linalg.copy ins(%[[FROM]] : {{.*}} outs(%[[TO]] :
// CHECK: tensor.insert_slice %{{.*}} into %[[COPY]][0, 256] [1, 512] [1, 1]
// BUFFER-LABEL: func.func @copied_for_a_loop
// BUFFER: memref.alloc() {{.*}} : memref<64x1024xf32>
// BUFFER-NOT: memref.alloc() {{.*}} : memref<64x
// BUFFER: return
func.func @copied_for_a_loop(%x: tensor<64x1024xf32> {bufferization.writable = false}) -> tensor<64x1024xf32> {
  %e = tensor.empty() : tensor<64x512xf32>
  %s = tensor.extract_slice %x[0, 0] [64, 512] [1, 1] : tensor<64x1024xf32> to tensor<64x512xf32>
  %t = linalg.tanh ins(%s : tensor<64x512xf32>) outs(%e : tensor<64x512xf32>) -> tensor<64x512xf32>
  %y = tensor.insert_slice %t into %x[0, 256] [64, 512] [1, 1] : tensor<64x512xf32> into tensor<64x1024xf32>
  return %y : tensor<64x1024xf32>
}

// -----

// An argument that does not say that it may not be written over is. The loop reads of it what it writes over.
// CHECK-LABEL: func.func @writable
// CHECK-NOT: linalg.copy
// CHECK: scf.for {{.*}} = %arg0
// CHECK-NOT: linalg.copy
// CHECK: return
func.func @writable(%x: tensor<64x1024xf32>) -> tensor<64x1024xf32> {
  %e = tensor.empty() : tensor<64x512xf32>
  %s = tensor.extract_slice %x[0, 0] [64, 512] [1, 1] : tensor<64x1024xf32> to tensor<64x512xf32>
  %t = linalg.tanh ins(%s : tensor<64x512xf32>) outs(%e : tensor<64x512xf32>) -> tensor<64x512xf32>
  %y = tensor.insert_slice %t into %x[0, 256] [64, 512] [1, 1] : tensor<64x512xf32> into tensor<64x1024xf32>
  return %y : tensor<64x1024xf32>
}

// -----

// A destination whose content does not count, and that is needed: a new one, not a copy.
// CHECK-LABEL: func.func @blind
// CHECK: linalg.exp
// CHECK: %[[E:.*]] = tensor.empty()
// CHECK: linalg.tanh {{.*}} outs(%[[E]] :
// CHECK-NOT: linalg.copy
// CHECK: return
// BUFFER-LABEL: func.func @blind
// BUFFER-COUNT-2: memref.alloc() {{.*}} : memref<64x1024xf32>
// BUFFER-NOT: memref.copy
// BUFFER: return
func.func @blind(%x: tensor<64x1024xf32>) -> (tensor<64x1024xf32>, tensor<64x1024xf32>) {
  %e = tensor.empty() : tensor<64x1024xf32>
  %a = linalg.exp ins(%x : tensor<64x1024xf32>) outs(%e : tensor<64x1024xf32>) -> tensor<64x1024xf32>
  %b = linalg.tanh ins(%a : tensor<64x1024xf32>) outs(%a : tensor<64x1024xf32>) -> tensor<64x1024xf32>
  return %a, %b : tensor<64x1024xf32>, tensor<64x1024xf32>
}

// -----

// A loop that was there before starts from what is needed after it.
// CHECK-LABEL: func.func @before_a_loop
// CHECK: %[[A:.*]] = linalg.exp
// CHECK: %[[COPY:.*]] = linalg.copy ins(%[[A]] :
// CHECK: %[[B:.*]] = scf.for {{.*}} = %[[COPY]])
// CHECK: return %[[A]], %[[B]]
func.func @before_a_loop(%x: tensor<64xf32>) -> (tensor<64xf32>, tensor<64xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c9 = arith.constant 9 : index
  %e = tensor.empty() : tensor<64xf32>
  %a = linalg.exp ins(%x : tensor<64xf32>) outs(%e : tensor<64xf32>) -> tensor<64xf32>
  %b = scf.for %i = %c0 to %c9 step %c1 iter_args(%t = %a) -> (tensor<64xf32>) {
    %u = linalg.tanh ins(%t : tensor<64xf32>) outs(%t : tensor<64xf32>) -> tensor<64xf32>
    scf.yield %u : tensor<64xf32>
  }
  return %a, %b : tensor<64xf32>, tensor<64xf32>
}

// -----

// Of a tensor whose parts are returned there is never the whole.
// REMARK: remark: chunk loop over dim 0 of extent 64, {{.*}}; peak 524288 -> {{2[0-9]+}} bytes
// CHECK-LABEL: func.func @returned_parts
// CHECK-NOT: -> tensor<64x1024xf32>
// CHECK: linalg.copy {{.*}} -> tensor<{{[0-9]+}}x512xf32>
// CHECK: return
// BUFFER-LABEL: func.func @returned_parts
// BUFFER-NOT: memref.alloc() {{.*}} : memref<64x1024xf32>
// BUFFER: return
func.func @returned_parts(%x: tensor<64x1024xf32>) -> (tensor<64x512xf32>, tensor<64x512xf32>) {
  %e = tensor.empty() : tensor<64x1024xf32>
  %a = linalg.exp ins(%x : tensor<64x1024xf32>) outs(%e : tensor<64x1024xf32>) -> tensor<64x1024xf32>
  %b = tensor.extract_slice %a[0, 0] [64, 512] [1, 1] : tensor<64x1024xf32> to tensor<64x512xf32>
  %c = tensor.extract_slice %a[0, 512] [64, 512] [1, 1] : tensor<64x1024xf32> to tensor<64x512xf32>
  return %b, %c : tensor<64x512xf32>, tensor<64x512xf32>
}

// -----

// What is returned is not made in the place of a part of a tensor that dies: the caller would get a copy of it.
// CHECK-LABEL: func.func @place_of_a_part
// CHECK-NOT: scf.for
// CHECK: return
func.func @place_of_a_part(%f: f32) -> tensor<64x1000xf32> {
  %a = tensor.generate {
  ^bb0(%i: index, %j: index):
    tensor.yield %f : f32
  } : tensor<64x1024xf32>
  %s = tensor.extract_slice %a[0, 8] [64, 1000] [1, 1] : tensor<64x1024xf32> to tensor<64x1000xf32>
  %e = tensor.empty() : tensor<64x1000xf32>
  %b = linalg.tanh ins(%s : tensor<64x1000xf32>) outs(%e : tensor<64x1000xf32>) -> tensor<64x1000xf32>
  return %b : tensor<64x1000xf32>
}

// -----

// An argument is read by rows and by columns, and written by rows: columns are those of the argument, not of what the
// loop carries, in which iterations before have written.
// REMARK: remark: chunk loop over dim 0 of extent 256
// CHECK-LABEL: func.func @other_slices
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %arg0)
// CHECK: tensor.extract_slice %arg0
func.func @other_slices(%x: tensor<256x256xf32>) -> tensor<256x256xf32> {
  %e = tensor.empty() : tensor<256x256xf32>
  %t = linalg.exp ins(%x : tensor<256x256xf32>) outs(%e : tensor<256x256xf32>) -> tensor<256x256xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d1, d0)>, affine_map<(d0, d1) -> (d0, d1)>,
                                        affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]}
      ins(%x, %t : tensor<256x256xf32>, tensor<256x256xf32>) outs(%x : tensor<256x256xf32>) {
  ^bb0(%a: f32, %b: f32, %acc: f32):
    %p = arith.mulf %a, %b : f32
    %q = arith.addf %acc, %p : f32
    linalg.yield %q : f32
  } -> tensor<256x256xf32>
  return %y : tensor<256x256xf32>
}

// -----

// Nothing is live at any time.
// CHECK-LABEL: func.func @no_buffers
// CHECK-NEXT: %[[I:.*]] = tensor.dim
// CHECK-NEXT: return %[[I]]
func.func @no_buffers(%x: tensor<8x?xf32>, %i: index) -> index {
  %n = tensor.dim %x, %i : tensor<8x?xf32>
  return %n : index
}
