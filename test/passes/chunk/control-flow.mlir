// Bodies of loops and branches that were there before are searched, too: at a node of the program around them counts
// what is live in the body beside it.
// RUN: snug-opt %s --split-input-file --snug-select-chunks=activation-budget=30000 2>&1 | FileCheck %s -enable-var-scope

// The carried tensor leaves 30000 - 16384 bytes to the body: two halves of the hidden tensor would be too large.
// CHECK: remark: chunk loop over dim 0 of extent 64, 4 iterations of 16; peak 49152 -> 24576 bytes
// CHECK-LABEL: func.func @what_is_left(
// CHECK: scf.for {{.*}} iter_args(%[[X:.*]] = %{{.*}}) -> (tensor<64x64xf32>) {
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %[[X]]) -> (tensor<64x64xf32>) {
// CHECK: tensor.empty() : tensor<16x128xf32>
// CHECK: snug.chunk_loop = 0
// CHECK: scf.yield
func.func @what_is_left(%x: tensor<64x64xf32>, %w: tensor<64x128xf32>, %v: tensor<128x64xf32>) -> tensor<64x64xf32> {
  %zero = arith.constant 0.0 : f32
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %e = tensor.empty() : tensor<64x64xf32>
  %first = linalg.tanh ins(%x : tensor<64x64xf32>) outs(%e : tensor<64x64xf32>) -> tensor<64x64xf32>
  %all = scf.for %i = %c0 to %c3 step %c1 iter_args(%carried = %first) -> (tensor<64x64xf32>) {
    %e0 = tensor.empty() : tensor<64x128xf32>
    %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<64x128xf32>) -> tensor<64x128xf32>
    %h = linalg.matmul ins(%carried, %w : tensor<64x64xf32>, tensor<64x128xf32>) outs(%f0 : tensor<64x128xf32>) -> tensor<64x128xf32>
    %y = linalg.matmul ins(%h, %v : tensor<64x128xf32>, tensor<128x64xf32>) outs(%carried : tensor<64x64xf32>) -> tensor<64x64xf32>
    scf.yield %y : tensor<64x64xf32>
  }
  return %all : tensor<64x64xf32>
}

// -----

// What each iteration reads is needed by the next one: nothing in the body is written over it.
// CHECK-LABEL: func.func @read_again(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<64x64xf32>
// CHECK: %[[T:.*]] = linalg.tanh
// CHECK: scf.for {{.*}} iter_args(%[[SUM:.*]] = %{{.*}}) -> (tensor<64xf32>) {
// CHECK: scf.for {{.*}} iter_args(%{{.*}} = %[[SUM]]) -> (tensor<64xf32>) {
// CHECK: tensor.extract_slice %[[T]]
// CHECK: snug.chunk_loop
func.func @read_again(%x: tensor<64x64xf32>) -> tensor<64xf32> {
  %zero = arith.constant 0.0 : f32
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %e = tensor.empty() : tensor<64x64xf32>
  %t = linalg.tanh ins(%x : tensor<64x64xf32>) outs(%e : tensor<64x64xf32>) -> tensor<64x64xf32>
  %e1 = tensor.empty() : tensor<64xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<64xf32>) -> tensor<64xf32>
  %all = scf.for %i = %c0 to %c3 step %c1 iter_args(%sum = %f1) -> (tensor<64xf32>) {
    %e2 = tensor.empty() : tensor<64x64xf32>
    %s = linalg.exp ins(%t : tensor<64x64xf32>) outs(%e2 : tensor<64x64xf32>) -> tensor<64x64xf32>
    %r = linalg.reduce { arith.addf } ins(%s : tensor<64x64xf32>) outs(%sum : tensor<64xf32>) dimensions = [1]
    scf.yield %r : tensor<64xf32>
  }
  return %all : tensor<64xf32>
}

// -----

// A body with control flow between blocks has no order to plan for.
// CHECK-LABEL: func.func @blocks(
// CHECK: scf.execute_region
// CHECK-NOT: snug.chunk_loop
// CHECK: return
func.func @blocks(%c: i1, %x: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %y = scf.execute_region -> tensor<64x64xf32> {
    cf.cond_br %c, ^one, ^other
  ^one:
    %e0 = tensor.empty() : tensor<64x64xf32>
    %t0 = linalg.tanh ins(%x : tensor<64x64xf32>) outs(%e0 : tensor<64x64xf32>) -> tensor<64x64xf32>
    scf.yield %t0 : tensor<64x64xf32>
  ^other:
    scf.yield %x : tensor<64x64xf32>
  }
  return %y : tensor<64x64xf32>
}
