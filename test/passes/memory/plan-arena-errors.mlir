// RUN: snug-opt %s -snug-plan-arena -split-input-file -verify-diagnostics
// RUN: not snug-opt %s -snug-plan-arena=alignment=48 2>&1 | FileCheck %s

// CHECK: error: alignment 48 is no power of two
func.func @unbounded(%x: memref<?xf32>, %out: memref<?xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
  %c0 = arith.constant 0 : index
  %d = memref.dim %x, %c0 : memref<?xf32>
  // expected-error @below {{a buffer of type 'memref<?xf32>' has no upper bound: state the bounds of its dims with --dim NAME=A..B}}
  %a = memref.alloc(%d) : memref<?xf32>
  linalg.exp ins(%x : memref<?xf32>) outs(%a : memref<?xf32>)
  linalg.exp ins(%a : memref<?xf32>) outs(%out : memref<?xf32>)
  return
}

// -----

func.func @leaves_its_iteration(%x: memref<8xf32>, %out: memref<8xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %r = scf.for %i = %c0 to %c4 step %c1 iter_args(%acc = %x) -> (memref<8xf32>) {
    %a = memref.alloc() : memref<8xf32>
    linalg.exp ins(%acc : memref<8xf32>) outs(%a : memref<8xf32>)
    scf.yield %a : memref<8xf32>
  }
  // expected-error @below {{internal fault: a buffer that is made in a loop is used after its iteration}}
  linalg.exp ins(%r : memref<8xf32>) outs(%out : memref<8xf32>)
  return
}

// -----

func.func @first() attributes {snug.num_inputs = 0 : i64} { return }
// expected-error @below {{internal fault: the module has two host functions, first and second, for one arena}}
func.func @second() attributes {snug.num_inputs = 0 : i64} { return }
