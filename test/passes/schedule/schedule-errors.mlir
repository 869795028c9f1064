// RUN: snug-opt %s -snug-schedule -split-input-file -verify-diagnostics
// RUN: not snug-opt %s -snug-schedule=order=fastest -split-input-file 2>&1 | FileCheck %s

// CHECK: error: unknown order 'fastest': use best, given, memory or depth
func.func @unbounded(%x: tensor<?xf32>) -> tensor<?xf32> {
  %c0 = arith.constant 0 : index
  %d = tensor.dim %x, %c0 : tensor<?xf32>
  // expected-error @below {{a buffer of type 'tensor<?xf32>' has no upper bound: state the bounds of its dims with --dim NAME=A..B}}
  %e = tensor.empty(%d) : tensor<?xf32>
  %0 = linalg.exp ins(%x : tensor<?xf32>) outs(%e : tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}
