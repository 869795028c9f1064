// RUN: snug-opt %s -snug-plan-arena -snug-verify-plan -split-input-file | FileCheck %s --enable-var-scope
// RUN: snug-opt %s -snug-plan-arena=problem=- -split-input-file 2>&1 >%t | FileCheck %s --check-prefix=PROBLEM
// RUN: snug-opt %s -snug-plan-arena=alignment=256 -split-input-file | FileCheck %s --check-prefix=ALIGN

// Three buffers in a chain: the third takes the place of the first. Sizes are rounded up to the alignment.
// CHECK: module attributes {snug.arena_bytes = 128 : i64, snug.sched_bound = 128 : i64}
// CHECK-LABEL: func.func @chain(
// CHECK: %[[ARENA:.*]] = snug_plan.arena align 64 : memref<128xi8>
// CHECK: memref.view %[[ARENA]][%{{.*}}][] : memref<128xi8> to memref<10xf32>
// CHECK-COUNT-2: memref.view
// CHECK-NOT: memref.alloc
// PROBLEM: {{^}}0,{{.*}}40
// ALIGN: module attributes {snug.arena_bytes = 512 : i64, snug.sched_bound = 512 : i64}
// ALIGN: snug_plan.arena align 256
func.func @chain(%x: memref<10xf32>, %out: memref<10xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
  %a = memref.alloc() : memref<10xf32>
  linalg.exp ins(%x : memref<10xf32>) outs(%a : memref<10xf32>)
  %b = memref.alloc() : memref<10xf32>
  linalg.abs ins(%a : memref<10xf32>) outs(%b : memref<10xf32>)
  %c = memref.alloc() : memref<10xf32>
  linalg.tanh ins(%b : memref<10xf32>) outs(%c : memref<10xf32>)
  linalg.floor ins(%c : memref<10xf32>) outs(%out : memref<10xf32>)
  return
}

// -----

// Dynamic sizes count at their bound; a chunk's buffers share the loop's steps and live beside what enters the loop:
// 4096 x 16 x 4 for %a and twice 256 x 16 x 4, of which the second may not take %a's place, dead or not, as the next
// iteration reads %a again.
// CHECK: module attributes {snug.arena_bytes = 294912 : i64, {{.*}}snug.sched_bound = 294912 : i64}
// CHECK-LABEL: func.func @chunk_loop(
// CHECK: %[[A:.*]] = memref.view {{.*}} to memref<?x16xf32>
// CHECK: scf.for
// CHECK-COUNT-2: memref.view
// CHECK: }
module attributes {snug.dims = [{name = "seq", min = 1 : i64, max = 4095 : i64, step = 1 : i64}]} {
  func.func @chunk_loop(%x: memref<?x16xf32> {snug.dims = ["seq + 1", "16"]}, %out: memref<?x16xf32> {snug.output})
      attributes {snug.num_inputs = 1 : i64} {
    %c0 = arith.constant 0 : index
    %c256 = arith.constant 256 : index
    %d = memref.dim %x, %c0 : memref<?x16xf32>
    %a = memref.alloc(%d) : memref<?x16xf32>
    linalg.exp ins(%x : memref<?x16xf32>) outs(%a : memref<?x16xf32>)
    scf.for %i = %c0 to %d step %c256 {
      %n = affine.min affine_map<(i)[d] -> (256, d - i)>(%i)[%d]
      %rows = memref.subview %a[%i, 0] [%n, 16] [1, 1] : memref<?x16xf32> to memref<?x16xf32, strided<[16, 1], offset: ?>>
      %to = memref.subview %out[%i, 0] [%n, 16] [1, 1] : memref<?x16xf32> to memref<?x16xf32, strided<[16, 1], offset: ?>>
      %b = memref.alloc(%n) : memref<?x16xf32>
      linalg.abs ins(%rows : memref<?x16xf32, strided<[16, 1], offset: ?>>) outs(%b : memref<?x16xf32>)
      %c = memref.alloc(%n) : memref<?x16xf32>
      linalg.tanh ins(%b : memref<?x16xf32>) outs(%c : memref<?x16xf32>)
      linalg.floor ins(%c : memref<?x16xf32>) outs(%to : memref<?x16xf32, strided<[16, 1], offset: ?>>)
    }
    return
  }
}

// -----

// Nothing to plan: no arena.
// CHECK: module attributes {snug.arena_bytes = 0 : i64, snug.sched_bound = 0 : i64}
// CHECK-NOT: snug_plan.arena
func.func @no_buffers(%x: memref<10xf32>, %out: memref<10xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
  linalg.exp ins(%x : memref<10xf32>) outs(%out : memref<10xf32>)
  return
}
