// RUN: snug-opt %s -snug-plan-arena=buckets=4 -snug-reserve-workspace=bytes=1100 -snug-verify-plan -split-input-file | FileCheck %s
// RUN: snug-opt %s -snug-plan-arena=buckets=4 "-snug-reserve-workspace=bytes=1100 limit=800" -snug-verify-plan -split-input-file | FileCheck %s --check-prefix=LIMIT

// Behind the buffers, from a multiple of 256 on, and as many of those as are asked for or left.
// CHECK: module attributes {snug.arena_bytes = 1280 : i64,
// CHECK-SAME: snug.workspace_bytes = 1024 : i64
// CHECK-LABEL: func.func @behind(
// CHECK: snug_plan.arena align 64 : memref<1280xi8>
// CHECK: memref.view %{{.*}}[%c0{{.*}}][] : memref<1280xi8> to memref<16xf32>
// LIMIT: module attributes {snug.arena_bytes = 768 : i64,
// LIMIT-SAME: snug.workspace_bytes = 512 : i64
// LIMIT-LABEL: func.func @behind(
// LIMIT: snug_plan.arena align 64 : memref<768xi8>
module {
  func.func @behind(%x: memref<16xf32>, %out: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
    %a = memref.alloc() : memref<16xf32>
    linalg.exp ins(%x : memref<16xf32>) outs(%a : memref<16xf32>)
    linalg.abs ins(%a : memref<16xf32>) outs(%out : memref<16xf32>)
    return
  }
}

// -----

// All buckets get as much.
// CHECK: snug.arena_bytes = 2048 : i64
// CHECK-SAME: snug.buckets = {arenas = array<i64: 1280, 1280, 2048>
// LIMIT-NOT: snug.workspace_bytes
// LIMIT-LABEL: func.func @buckets(
module attributes {snug.dims = [{name = "n", min = 1 : i64, max = 256 : i64, step = 1 : i64}]} {
  func.func @buckets(%x: memref<?xf32> {snug.dims = ["n"]}, %out: memref<?xf32> {snug.output, snug.dims = ["n"]}) attributes {snug.num_inputs = 1 : i64} {
    %c0 = arith.constant 0 : index
    %n = memref.dim %x, %c0 : memref<?xf32>
    %a = memref.alloc(%n) : memref<?xf32>
    linalg.exp ins(%x : memref<?xf32>) outs(%a : memref<?xf32>)
    linalg.abs ins(%a : memref<?xf32>) outs(%out : memref<?xf32>)
    return
  }
}

// -----

// There may be a workspace and no buffer.
// CHECK: snug.arena_bytes = 1024 : i64
// CHECK: snug_plan.arena align 256 : memref<1024xi8>
// LIMIT: snug.workspace_bytes = 768 : i64
module {
  func.func @alone(%x: memref<16xf32>, %out: memref<16xf32> {snug.output}) attributes {snug.num_inputs = 1 : i64} {
    linalg.exp ins(%x : memref<16xf32>) outs(%out : memref<16xf32>)
    return
  }
}
