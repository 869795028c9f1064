// Loops and branches: what an iteration hands on is made where it got it, once nobody reads that any more; both blocks of a
// branch write into one tensor from outside.
// RUN: snug-opt %s -snug-schedule -split-input-file | FileCheck %s --enable-var-scope

// The hidden state is read first and then written over, though the program had it the other way round.
// CHECK-LABEL: func.func @order_for_the_carried(
// CHECK: scf.for {{.*}} iter_args(%[[H:[a-z0-9]+]] = %{{.*}} {
// CHECK: linalg.tanh ins(%[[H]]
// CHECK: %[[NEW:.*]] = linalg.exp ins(%[[H]] : {{.*}} outs(%[[H]] :
// CHECK-NOT: linalg.copy
// CHECK: scf.yield %[[NEW]]
func.func @order_for_the_carried(%x: tensor<8xf32>) -> (tensor<8xf32>, tensor<4x8xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %e0 = tensor.empty() : tensor<8xf32>
  %start = linalg.exp ins(%x : tensor<8xf32>) outs(%e0 : tensor<8xf32>) -> tensor<8xf32>
  %all = tensor.empty() : tensor<4x8xf32>
  %r:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(%h = %start, %y = %all) -> (tensor<8xf32>, tensor<4x8xf32>) {
    %e1 = tensor.empty() : tensor<8xf32>
    %new = linalg.exp ins(%h : tensor<8xf32>) outs(%e1 : tensor<8xf32>) -> tensor<8xf32>
    %e2 = tensor.empty() : tensor<8xf32>
    %t = linalg.tanh ins(%h : tensor<8xf32>) outs(%e2 : tensor<8xf32>) -> tensor<8xf32>
    %s = tensor.insert_slice %t into %y[%i, 0] [1, 8] [1, 1] : tensor<8xf32> into tensor<4x8xf32>
    scf.yield %new, %s : tensor<8xf32>, tensor<4x8xf32>
  }
  return %r#0, %r#1 : tensor<8xf32>, tensor<4x8xf32>
}

// -----

// Values that change places: one is brought away before the other one takes its place.
// CHECK-LABEL: func.func @change_places(
// CHECK: scf.for {{.*}} iter_args(%[[A:[a-z0-9]+]] = %{{.*}}, %[[B:[a-z0-9]+]] = %{{.*}} {
// CHECK-DAG: %[[SAVED_A:.*]] = linalg.copy ins(%[[A]] : tensor<8xf32>) outs(%{{.*}} :
// CHECK-DAG: %[[SAVED_B:.*]] = linalg.copy ins(%[[B]] : tensor<8xf32>) outs(%{{.*}} :
// CHECK: scf.yield
func.func @change_places(%x: tensor<8xf32>, %y: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %r:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(%a = %x, %b = %y) -> (tensor<8xf32>, tensor<8xf32>) {
    scf.yield %b, %a : tensor<8xf32>, tensor<8xf32>
  }
  return %r#0, %r#1 : tensor<8xf32>, tensor<8xf32>
}

// -----

// A tensor from outside of the loop is there for all iterations: a copy of it is written.
// CHECK-LABEL: func.func @from_outside(
// CHECK: %[[OUTER:.*]] = linalg.exp
// CHECK: scf.for
// CHECK-NOT: outs(%[[OUTER]]
// CHECK: return
func.func @from_outside(%x: tensor<8xf32>, %m: tensor<8x8xf32>) -> tensor<8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %e0 = tensor.empty() : tensor<8xf32>
  %outer = linalg.exp ins(%x : tensor<8xf32>) outs(%e0 : tensor<8xf32>) -> tensor<8xf32>
  %e1 = tensor.empty() : tensor<8xf32>
  %start = linalg.tanh ins(%x : tensor<8xf32>) outs(%e1 : tensor<8xf32>) -> tensor<8xf32>
  %r = scf.for %i = %c0 to %c4 step %c1 iter_args(%h = %start) -> (tensor<8xf32>) {
    %v = linalg.matvec ins(%m, %h : tensor<8x8xf32>, tensor<8xf32>) outs(%outer : tensor<8xf32>) -> tensor<8xf32>
    scf.yield %v : tensor<8xf32>
  }
  return %r : tensor<8xf32>
}

// -----

// CHECK-LABEL: func.func @both_blocks(
// CHECK-SAME: %[[OUT:[a-z0-9]+]]: tensor<8xf32> {bufferization.writable = true
// CHECK: scf.if
// CHECK: linalg.exp ins({{.*}} outs(%[[OUT]] :
// CHECK: else
// CHECK: linalg.copy ins({{.*}} outs(%[[OUT]] :
func.func @both_blocks(%c: i1, %x: tensor<8xf32>) -> tensor<8xf32> {
  %r = scf.if %c -> (tensor<8xf32>) {
    %e = tensor.empty() : tensor<8xf32>
    %t = linalg.exp ins(%x : tensor<8xf32>) outs(%e : tensor<8xf32>) -> tensor<8xf32>
    scf.yield %t : tensor<8xf32>
  } else {
    scf.yield %x : tensor<8xf32>
  }
  return %r : tensor<8xf32>
}

// -----

// What one block leaves as it is, the other one may write over.
// CHECK-LABEL: func.func @updated_or_not(
// CHECK: scf.for {{.*}} iter_args(%[[H:[a-z0-9]+]] = %{{.*}} {
// CHECK-NOT: tensor.empty
// CHECK: scf.if
// CHECK: linalg.exp ins(%[[H]] : {{.*}} outs(%[[H]] :
// CHECK: else
// CHECK: scf.yield %[[H]]
func.func @updated_or_not(%c: i1, %x: tensor<8xf32>) -> tensor<8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %r = scf.for %i = %c0 to %c4 step %c1 iter_args(%h = %x) -> (tensor<8xf32>) {
    %b = scf.if %c -> (tensor<8xf32>) {
      %e = tensor.empty() : tensor<8xf32>
      %t = linalg.exp ins(%h : tensor<8xf32>) outs(%e : tensor<8xf32>) -> tensor<8xf32>
      scf.yield %t : tensor<8xf32>
    } else {
      scf.yield %h : tensor<8xf32>
    }
    scf.yield %b : tensor<8xf32>
  }
  return %r : tensor<8xf32>
}
