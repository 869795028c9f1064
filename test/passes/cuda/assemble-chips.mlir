// REQUIRES: cuda-toolkit
// RUN: snug-opt %s --snug-assemble-kernels="chips=sm_75,sm_80,sm_86,sm_87,sm_88,sm_89,sm_90,sm_90a,sm_100,sm_100a,sm_100f,sm_103,sm_110,sm_120,sm_121 dump=%t output=%t.fatbin" -o /dev/null 2>&1 | FileCheck %s
// RUN: %python %S/Inputs/list_images.py %t.fatbin | FileCheck %s --check-prefix=IMAGES
// RUN: cat %t.sm_75.ptx %t.sm_90a.ptx %t.sm_100.ptx %t.sm_121.ptx | FileCheck %s --check-prefix=PTX

// From stock mlir-opt.
// RUN: mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so --pass-pipeline='builtin.module(gpu.module(snug-assemble-kernels{chips=sm_90,sm_100}))' -o /dev/null 2>&1 | FileCheck %s --check-prefix=STOCK
// STOCK: remark: add on sm_90:
// STOCK: remark: add on sm_100:

// Chips of every generation that the toolkit knows.
// CHECK-COUNT-15: remark: add on sm_{{.*}} 0 + 0 B spilled
// IMAGES-COUNT-15: elf
// IMAGES-NEXT: ptx sm_121

// PTX is of a version that drivers have had for long, where the chip is as old.
// PTX: .version 8.0
// PTX: .target sm_75
// PTX: .version 8.0
// PTX: .target sm_90a
// PTX: .version 8.6
// PTX: .target sm_100
// PTX: .version 8.8
// PTX: .target sm_121
gpu.module @kernels {
  // A kernel may say how many of its blocks are to run on a multiprocessor at once.
  // PTX: .reqntid 64, 1, 1
  // PTX-NEXT: .minnctapersm 8
  gpu.func @add(%a: memref<64xf32>, %b: memref<64xf32>) kernel
      attributes {known_block_size = array<i32: 64, 1, 1>, nvvm.minctasm = 8 : i32} {
    %i = gpu.thread_id x
    %x = memref.load %a[%i] : memref<64xf32>
    %y = memref.load %b[%i] : memref<64xf32>
    %sum = arith.addf %x, %y : f32
    memref.store %sum, %b[%i] : memref<64xf32>
    gpu.return
  }
}
