// REQUIRES: cuda-toolkit
// RUN: snug-opt %s --snug-assemble-kernels="chips=sm_90a dump=%t" -o /dev/null
// RUN: FileCheck %s <%t.sm_90a.ptx
// RUN: not snug-opt %s --snug-assemble-kernels="chips=sm_90" 2>&1 | FileCheck %s --check-prefix=PLAIN

// What LLVM has no intrinsic for becomes PTX text, such as the tensor cores that sm_90a has, and not sm_90.
// PLAIN: error: kernel 'products' is made with nvvm.wgmma.fence.aligned, which sm_90 does not have; leave this chip out
gpu.module @kernels {
  // CHECK-LABEL: .entry products(
  // CHECK: wgmma.fence.sync.aligned
  // CHECK: wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16
  // CHECK: wgmma.commit_group.sync.aligned
  // CHECK: wgmma.wait_group.sync.aligned 0
  gpu.func @products(%a: i64, %b: i64, %out: memref<f32>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c = llvm.mlir.zero : !llvm.struct<(f32, f32, f32, f32)>
    nvvm.wgmma.fence.aligned
    %d = nvvm.wgmma.mma_async %a, %b, %c, #nvvm.shape<m = 64, n = 8, k = 16>, D [<f32>, #nvvm.wgmma_scale_out<zero>],
      A [<f16>, #nvvm.wgmma_scale_in<one>, <row>], B [<f16>, #nvvm.wgmma_scale_in<one>, <col>]
      : !llvm.struct<(f32, f32, f32, f32)> -> !llvm.struct<(f32, f32, f32, f32)>
    nvvm.wgmma.commit.group.sync.aligned
    nvvm.wgmma.wait.group.sync.aligned 0
    %x = llvm.extractvalue %d[0] : !llvm.struct<(f32, f32, f32, f32)>
    memref.store %x, %out[] : memref<f32>
    gpu.return
  }
}
