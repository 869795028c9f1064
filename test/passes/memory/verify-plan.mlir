// RUN: snug-opt %s -snug-verify-plan -split-input-file | FileCheck %s

// Bytes may be used again as soon as the value in them has been read for the last time, also step by step in a loop.
// CHECK-LABEL: func.func @reused(
module attributes {snug.arena_bytes = 128 : i64} {
  func.func @reused(%x: memref<16xf32>, %out: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c64 = arith.constant 64 : index
    %arena = snug_plan.arena align 64 : memref<128xi8>
    %a = memref.view %arena[%c0][] : memref<128xi8> to memref<16xf32>
    linalg.exp ins(%x : memref<16xf32>) outs(%a : memref<16xf32>)
    %b = memref.view %arena[%c64][] : memref<128xi8> to memref<16xf32>
    linalg.abs ins(%a : memref<16xf32>) outs(%b : memref<16xf32>)
    linalg.tanh ins(%b : memref<16xf32>) outs(%out : memref<16xf32>)
    scf.for %i = %c0 to %c4 step %c1 {
      %c = memref.view %arena[%c0][] : memref<128xi8> to memref<16xf32>
      linalg.exp ins(%x : memref<16xf32>) outs(%c : memref<16xf32>)
      %d = memref.view %arena[%c64][] : memref<128xi8> to memref<16xf32>
      linalg.abs ins(%c : memref<16xf32>) outs(%d : memref<16xf32>)
      %e = memref.view %arena[%c0][] : memref<128xi8> to memref<16xf32>
      linalg.floor ins(%d : memref<16xf32>) outs(%e : memref<16xf32>)
      linalg.tanh ins(%e : memref<16xf32>) outs(%out : memref<16xf32>)
    }
    return
  }
}
