// RUN: snug-opt %s -snug-plan-arena=buckets=64 -snug-verify-plan | FileCheck %s --enable-var-scope
// RUN: snug-opt %s -snug-plan-arena -snug-verify-plan | FileCheck %s --check-prefix=ONE

// Powers of two from the least to the largest value. %b grows with n, %a does not; what starts at one place in all buckets
// has no table.
// CHECK: snug.arena_bytes = 1920 : i64
// CHECK-SAME: snug.buckets = {arenas = array<i64: 1152, 1152, 1216, 1344, 1600, 1920>, bounds = [array<i64: 3>, array<i64: 8, 16, 32, 64, 128, 200>]}
// CHECK-LABEL: func.func @grows(
// CHECK: %[[ARENA:.*]] = snug_plan.arena align 64 : memref<1920xi8>
// CHECK: memref.view %[[ARENA]][%c0{{.*}}][] : memref<1920xi8> to memref<256xf32>
// CHECK: memref.view %[[ARENA]][%c1024][%{{.*}}]
// CHECK: %[[LAST:.*]] = snug_plan.offset [1088, 1088, 1152, 1280, 1536, 1856]
// CHECK: memref.view %[[ARENA]][%[[LAST]]][]
// ONE: snug.arena_bytes
// ONE-NOT: snug.buckets
// ONE-NOT: snug_plan.offset
module attributes {snug.dims = [{name = "m", min = 3 : i64, max = 3 : i64}, {name = "n", min = 5 : i64, max = 200 : i64, step = 1 : i64}]} {
  func.func @grows(%x: memref<256xf32>, %y: memref<?xf32> {snug.dims = ["n"]}, %out: memref<256xf32> {snug.output},
                   %out2: memref<?xf32> {snug.output, snug.dims = ["n"]}) attributes {snug.num_inputs = 2 : i64} {
    %c0 = arith.constant 0 : index
    %n = memref.dim %y, %c0 : memref<?xf32>
    %a = memref.alloc() : memref<256xf32>
    linalg.exp ins(%x : memref<256xf32>) outs(%a : memref<256xf32>)
    %b = memref.alloc(%n) : memref<?xf32>
    linalg.exp ins(%y : memref<?xf32>) outs(%b : memref<?xf32>)
    %c = memref.alloc() : memref<4xf32>
    %small = memref.subview %x[0] [4] [1] : memref<256xf32> to memref<4xf32, strided<[1]>>
    linalg.exp ins(%small : memref<4xf32, strided<[1]>>) outs(%c : memref<4xf32>)
    %part = memref.subview %out[0] [4] [1] : memref<256xf32> to memref<4xf32, strided<[1]>>
    linalg.exp ins(%a : memref<256xf32>) outs(%out : memref<256xf32>)
    linalg.exp ins(%b : memref<?xf32>) outs(%out2 : memref<?xf32>)
    linalg.exp ins(%c : memref<4xf32>) outs(%part : memref<4xf32, strided<[1]>>)
    return
  }
}
