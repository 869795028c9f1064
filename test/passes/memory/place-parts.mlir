// RUN: snug-opt %s -snug-place-parts -split-input-file | FileCheck %s --enable-var-scope
// RUN: snug-opt %s -snug-place-parts -snug-bufferize -split-input-file | FileCheck %s --check-prefix=COPIES

// Both parts of a concatenation are made in it, whichever is made first.
// CHECK-LABEL: func.func @concat(
// CHECK: %[[WHOLE:.*]] = tensor.empty() : tensor<64x32xf32>
// CHECK-NEXT: %[[AT:.*]] = tensor.extract_slice %[[WHOLE]][16, 0] [48, 32] [1, 1]
// CHECK-NEXT: %[[B:.*]] = linalg.exp ins(%{{.*}} outs(%[[AT]] :
// CHECK-NEXT: %[[ONE:.*]] = tensor.insert_slice %[[B]] into %[[WHOLE]][16, 0]
// CHECK-NEXT: %[[AT2:.*]] = tensor.extract_slice %[[ONE]][0, 0] [16, 32] [1, 1]
// CHECK-NEXT: %[[A:.*]] = linalg.abs ins(%{{.*}} outs(%[[AT2]] :
// CHECK-NEXT: tensor.insert_slice %[[A]] into %[[ONE]][0, 0]
// COPIES-LABEL: func.func @concat(
// COPIES-COUNT-1: memref.alloc
// COPIES-NOT: memref.alloc
// COPIES-NOT: copy
// COPIES: return
func.func @concat(%x: tensor<16x32xf32>, %y: tensor<48x32xf32>, %out: tensor<64x32xf32> {bufferization.writable = true, snug.output})
    -> tensor<64x32xf32> attributes {snug.num_inputs = 2 : i64} {
  %e0 = tensor.empty() : tensor<48x32xf32>
  %b = linalg.exp ins(%y : tensor<48x32xf32>) outs(%e0 : tensor<48x32xf32>) -> tensor<48x32xf32>
  %e1 = tensor.empty() : tensor<16x32xf32>
  %a = linalg.abs ins(%x : tensor<16x32xf32>) outs(%e1 : tensor<16x32xf32>) -> tensor<16x32xf32>
  %e2 = tensor.empty() : tensor<64x32xf32>
  %0 = tensor.insert_slice %a into %e2[0, 0] [16, 32] [1, 1] : tensor<16x32xf32> into tensor<64x32xf32>
  %1 = tensor.insert_slice %b into %0[16, 0] [48, 32] [1, 1] : tensor<48x32xf32> into tensor<64x32xf32>
  %2 = linalg.negf ins(%1 : tensor<64x32xf32>) outs(%out : tensor<64x32xf32>) -> tensor<64x32xf32>
  return %2 : tensor<64x32xf32>
}

// -----

// A padding is filled before the kernel writes into the midst of it; one that would have written over its operand does
// not.
// CHECK-LABEL: func.func @padding(
// CHECK: %[[X:.*]] = linalg.exp
// CHECK: %[[FILL:.*]] = linalg.fill
// CHECK: %[[AT:.*]] = tensor.extract_slice %[[FILL]][1, 1] [16, 32] [1, 1]
// CHECK-NEXT: %[[A:.*]] = linalg.abs ins(%[[X]] : {{.*}} outs(%[[AT]] :
// CHECK-NEXT: tensor.insert_slice %[[A]] into %[[FILL]][1, 1]
// COPIES-LABEL: func.func @padding(
// COPIES-NOT: copy
// COPIES: return
func.func @padding(%x: tensor<16x32xf32>, %out: tensor<18x34xf32> {bufferization.writable = true, snug.output})
    -> tensor<18x34xf32> attributes {snug.num_inputs = 1 : i64} {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<16x32xf32>
  %0 = linalg.exp ins(%x : tensor<16x32xf32>) outs(%e0 : tensor<16x32xf32>) -> tensor<16x32xf32>
  %1 = linalg.abs ins(%0 : tensor<16x32xf32>) outs(%0 : tensor<16x32xf32>) -> tensor<16x32xf32>
  %e1 = tensor.empty() : tensor<18x34xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e1 : tensor<18x34xf32>) -> tensor<18x34xf32>
  %2 = tensor.insert_slice %1 into %fill[1, 1] [16, 32] [1, 1] : tensor<16x32xf32> into tensor<18x34xf32>
  %3 = linalg.negf ins(%2 : tensor<18x34xf32>) outs(%out : tensor<18x34xf32>) -> tensor<18x34xf32>
  return %3 : tensor<18x34xf32>
}

// -----

// What is made long before is copied where the whole would be in the way of what is between.
// CHECK-LABEL: func.func @skip(
// CHECK: %[[SKIP:.*]] = linalg.exp
// CHECK-NOT: tensor.extract_slice
// CHECK: linalg.reduce
// CHECK: %[[WHOLE:.*]] = tensor.empty() : tensor<128x32xf32>
// CHECK-NEXT: %[[ONE:.*]] = tensor.insert_slice %[[SKIP]] into %[[WHOLE]]
// CHECK-NEXT: %[[AT:.*]] = tensor.extract_slice %[[ONE]][0, 0]
// CHECK-NEXT: linalg.broadcast {{.*}} outs(%[[AT]] :
func.func @skip(%x: tensor<64x32xf32>, %w: tensor<64x256xf32>, %out: tensor<128x32xf32> {bufferization.writable = true, snug.output})
    -> tensor<128x32xf32> attributes {snug.num_inputs = 2 : i64} {
  %zero = arith.constant 0.0 : f32
  %e0 = tensor.empty() : tensor<64x32xf32>
  %skip = linalg.exp ins(%x : tensor<64x32xf32>) outs(%e0 : tensor<64x32xf32>) -> tensor<64x32xf32>
  %e1 = tensor.empty() : tensor<64x256xf32>
  %large = linalg.abs ins(%w : tensor<64x256xf32>) outs(%e1 : tensor<64x256xf32>) -> tensor<64x256xf32>
  %e2 = tensor.empty() : tensor<64xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e2 : tensor<64xf32>) -> tensor<64xf32>
  %sum = linalg.reduce ins(%large : tensor<64x256xf32>) outs(%fill : tensor<64xf32>) dimensions = [1]
    (%a: f32, %b: f32) {
      %s = arith.addf %a, %b : f32
      linalg.yield %s : f32
    }
  %e3 = tensor.empty() : tensor<64x32xf32>
  %wide = linalg.broadcast ins(%sum : tensor<64xf32>) outs(%e3 : tensor<64x32xf32>) dimensions = [1]
  %e4 = tensor.empty() : tensor<128x32xf32>
  %0 = tensor.insert_slice %wide into %e4[0, 0] [64, 32] [1, 1] : tensor<64x32xf32> into tensor<128x32xf32>
  %1 = tensor.insert_slice %skip into %0[64, 0] [64, 32] [1, 1] : tensor<64x32xf32> into tensor<128x32xf32>
  %2 = linalg.negf ins(%1 : tensor<128x32xf32>) outs(%out : tensor<128x32xf32>) -> tensor<128x32xf32>
  return %2 : tensor<128x32xf32>
}

// -----

// A part that somebody else reads, too, stays where it is, and so does one of a whole that is read before.
// CHECK-LABEL: func.func @shared(
// CHECK-NOT: tensor.extract_slice
// CHECK: return
func.func @shared(%x: tensor<16x32xf32>, %y: tensor<64x32xf32>, %out: tensor<64x32xf32> {bufferization.writable = true, snug.output},
    %out2: tensor<16x32xf32> {bufferization.writable = true, snug.output})
    -> (tensor<64x32xf32>, tensor<16x32xf32>) attributes {snug.num_inputs = 2 : i64} {
  %e0 = tensor.empty() : tensor<16x32xf32>
  %a = linalg.exp ins(%x : tensor<16x32xf32>) outs(%e0 : tensor<16x32xf32>) -> tensor<16x32xf32>
  %e1 = tensor.empty() : tensor<64x32xf32>
  %b = linalg.exp ins(%y : tensor<64x32xf32>) outs(%e1 : tensor<64x32xf32>) -> tensor<64x32xf32>
  %0 = tensor.insert_slice %a into %b[0, 0] [16, 32] [1, 1] : tensor<16x32xf32> into tensor<64x32xf32>
  %1 = linalg.negf ins(%0 : tensor<64x32xf32>) outs(%out : tensor<64x32xf32>) -> tensor<64x32xf32>
  %2 = linalg.negf ins(%a : tensor<16x32xf32>) outs(%out2 : tensor<16x32xf32>) -> tensor<16x32xf32>
  return %1, %2 : tensor<64x32xf32>, tensor<16x32xf32>
}

// -----

// Of a length known at run time, with sizes that are computed between.
// CHECK-LABEL: func.func @bounded(
// CHECK: %[[SUM:.*]] = arith.addi
// CHECK: %[[EMPTY:.*]] = tensor.empty(%[[SUM]])
// CHECK: %[[FILL:.*]] = linalg.fill {{.*}} outs(%[[EMPTY]] :
// CHECK: %[[AT:.*]] = tensor.extract_slice %[[FILL]][4, 0]
// CHECK: linalg.exp {{.*}} outs(%[[AT]] :
// COPIES-LABEL: func.func @bounded(
// COPIES-NOT: copy
// COPIES: return
module attributes {snug.dims = [{name = "s", min = 1, max = 64, step = 1}]} {
func.func @bounded(%x: tensor<?x32xf32> {snug.dims = ["s", "32"]},
    %out: tensor<?x32xf32> {bufferization.writable = true, snug.output, snug.dims = ["s+4", "32"]})
    -> tensor<?x32xf32> attributes {snug.num_inputs = 1 : i64} {
  %c0 = arith.constant 0 : index
  %c4 = arith.constant 4 : index
  %zero = arith.constant 0.0 : f32
  %d = tensor.dim %x, %c0 : tensor<?x32xf32>
  %e0 = tensor.empty(%d) : tensor<?x32xf32>
  %a = linalg.exp ins(%x : tensor<?x32xf32>) outs(%e0 : tensor<?x32xf32>) -> tensor<?x32xf32>
  %sum = arith.addi %d, %c4 : index
  %e1 = tensor.empty(%sum) : tensor<?x32xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%e1 : tensor<?x32xf32>) -> tensor<?x32xf32>
  %0 = tensor.insert_slice %a into %fill[4, 0] [%d, 32] [1, 1] : tensor<?x32xf32> into tensor<?x32xf32>
  %1 = linalg.negf ins(%0 : tensor<?x32xf32>) outs(%out : tensor<?x32xf32>) -> tensor<?x32xf32>
  return %1 : tensor<?x32xf32>
}
}

// -----

// Collectives write contiguous memory: rows of the whole, but no columns of it.
// CHECK-LABEL: func.func @collectives(
// CHECK: %[[AT:.*]] = tensor.extract_slice %{{.*}}[4, 0] [4, 3] [1, 1] : tensor<8x3xf32> to tensor<4x3xf32>
// CHECK: snug_mesh.all_reduce max axes [0] ins(%{{.*}} : tensor<4x3xf32>) outs(%[[AT]] :
// CHECK: %[[E:.*]] = tensor.empty() : tensor<4x3xf32>
// CHECK: snug_mesh.all_reduce sum axes [0] ins(%{{.*}} : tensor<4x3xf32>) outs(%[[E]] :
// COPIES-LABEL: func.func @collectives(
// COPIES: snug_mesh.all_reduce max {{.*}} outs(%{{.*}} : memref<4x3xf32, strided<[3, 1], offset: 12>>)
// COPIES: snug_mesh.all_reduce sum {{.*}} outs(%{{.*}} : memref<4x3xf32>)
// COPIES: return
module attributes {snug.mesh = array<i64: 2, 1>} {
func.func @collectives(%x: tensor<4x3xf32>, %rows: tensor<8x3xf32> {bufferization.writable = true, snug.output},
    %columns: tensor<4x6xf32> {bufferization.writable = true, snug.output})
    -> (tensor<8x3xf32>, tensor<4x6xf32>) attributes {snug.num_inputs = 1 : i64} {
  %e0 = tensor.empty() : tensor<4x3xf32>
  %m = snug_mesh.all_reduce max axes [0] ins(%x : tensor<4x3xf32>) outs(%e0 : tensor<4x3xf32>) -> tensor<4x3xf32>
  %0 = tensor.insert_slice %x into %rows[0, 0] [4, 3] [1, 1] : tensor<4x3xf32> into tensor<8x3xf32>
  %1 = tensor.insert_slice %m into %0[4, 0] [4, 3] [1, 1] : tensor<4x3xf32> into tensor<8x3xf32>
  %e1 = tensor.empty() : tensor<4x3xf32>
  %s = snug_mesh.all_reduce sum axes [0] ins(%x : tensor<4x3xf32>) outs(%e1 : tensor<4x3xf32>) -> tensor<4x3xf32>
  %2 = tensor.insert_slice %x into %columns[0, 0] [4, 3] [1, 1] : tensor<4x3xf32> into tensor<4x6xf32>
  %3 = tensor.insert_slice %s into %2[0, 3] [4, 3] [1, 1] : tensor<4x3xf32> into tensor<4x6xf32>
  return %1, %3 : tensor<8x3xf32>, tensor<4x6xf32>
}
}
