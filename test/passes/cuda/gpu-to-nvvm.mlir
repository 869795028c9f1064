// RUN: snug-opt %s --pass-pipeline='builtin.module(gpu.module(convert-scf-to-cf,snug-gpu-to-nvvm,reconcile-unrealized-casts,canonicalize,cse))' | FileCheck %s
// RUN: snug-opt %s --pass-pipeline='builtin.module(gpu.module(convert-scf-to-cf,snug-gpu-to-nvvm{index-bits=32},reconcile-unrealized-casts,canonicalize,cse))' | FileCheck %s --check-prefix=NARROW
// RUN: mlir-opt %s --load-pass-plugin=%snug_lib_dir/libSnugPlugin.so --pass-pipeline='builtin.module(gpu.module(convert-scf-to-cf,snug-gpu-to-nvvm,reconcile-unrealized-casts,canonicalize,cse))' | FileCheck %s

// An i64 in memory is aligned to its size.
// CHECK: gpu.module @kernels attributes {llvm.data_layout = "{{.*}}i64:64{{.*}}"}
// Dynamic shared memory is external, so that ptxas puts it behind what is static.
// CHECK: llvm.mlir.global external @__dynamic_shmem__0() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>
gpu.module @kernels {
  // What is said of an argument stays said, and the block has exactly the size it was said to have.
  // CHECK-LABEL: llvm.func @arguments(
  // CHECK-SAME: !llvm.ptr {llvm.align = 256 : i64, llvm.noalias, llvm.readonly}, %{{.*}}: !llvm.ptr {llvm.align = 256 : i64, llvm.noalias}, %{{.*}}: i64, %{{.*}}: f32)
  // CHECK-NOT: maxntid
  // CHECK-SAME: nvvm.kernel, nvvm.reqntid = array<i32: 64, 1, 1>
  gpu.func @arguments(%in: memref<f32> {llvm.noalias, llvm.readonly, llvm.align = 256 : i64},
                      %out: memref<f32> {llvm.noalias, llvm.align = 256 : i64}, %n: i64, %by: f32) kernel
      attributes {known_block_size = array<i32: 64, 1, 1>} {
    %x = memref.load %in[] : memref<f32>
    %y = arith.mulf %x, %by : f32
    memref.store %y, %out[] : memref<f32>
    gpu.return
  }

  // The option decides where a kernel does not.
  // CHECK-LABEL: llvm.func @index
  // CHECK: llvm.getelementptr {{.*}}%{{.*}}[%{{.*}}] : (!llvm.ptr, i64)
  // NARROW-LABEL: llvm.func @index
  // NARROW: llvm.getelementptr {{.*}}%{{.*}}[%{{.*}}] : (!llvm.ptr, i32)
  gpu.func @index(%out: memref<64xf32>, %value: f32) kernel {
    %i = gpu.thread_id x
    memref.store %value, %out[%i] : memref<64xf32>
    gpu.return
  }
  // CHECK-LABEL: llvm.func @index_32
  // CHECK: llvm.getelementptr {{.*}}%{{.*}}[%{{.*}}] : (!llvm.ptr, i32)
  gpu.func @index_32(%out: memref<64xf32>, %value: f32) kernel attributes {snug.index_bits = 32 : i32} {
    %i = gpu.thread_id x
    memref.store %value, %out[%i] : memref<64xf32>
    gpu.return
  }
  // NARROW-LABEL: llvm.func @index_64
  // NARROW: llvm.getelementptr {{.*}}%{{.*}}[%{{.*}}] : (!llvm.ptr, i64)
  gpu.func @index_64(%out: memref<64xf32>, %value: f32) kernel attributes {snug.index_bits = 64 : i32} {
    %i = gpu.thread_id x
    memref.store %value, %out[%i] : memref<64xf32>
    gpu.return
  }

  // CHECK: llvm.mlir.global internal @__wg_memory_0() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<512 x f16>
  // CHECK-LABEL: llvm.func @memory
  gpu.func @memory(%x: f16, %out: memref<f16>) workgroup(%s: memref<16x32xf16, #gpu.address_space<workgroup>> {llvm.align = 16 : i64})
      private(%own: memref<4xf16, #gpu.address_space<private>>) kernel {
    // CHECK-DAG: llvm.mlir.addressof @__dynamic_shmem__0 : !llvm.ptr<3>
    // CHECK-DAG: llvm.mlir.addressof @__wg_memory_0 : !llvm.ptr<3>
    // CHECK-DAG: llvm.alloca %{{.*}} x f16 : (i64) -> !llvm.ptr{{$}}
    %c0 = arith.constant 0 : index
    %i = gpu.thread_id x
    %bytes = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
    %d = memref.view %bytes[%c0][] : memref<?xi8, #gpu.address_space<workgroup>> to memref<64xf16, #gpu.address_space<workgroup>>
    // CHECK: llvm.store %{{.*}} : f16, !llvm.ptr<3>
    memref.store %x, %s[%c0, %i] : memref<16x32xf16, #gpu.address_space<workgroup>>
    // CHECK: nvvm.barrier
    gpu.barrier
    // CHECK: llvm.load %{{.*}} : !llvm.ptr<3> -> f16
    %y = memref.load %d[%i] : memref<64xf16, #gpu.address_space<workgroup>>
    memref.store %y, %own[%i] : memref<4xf16, #gpu.address_space<private>>
    %z = memref.load %own[%c0] : memref<4xf16, #gpu.address_space<private>>
    memref.store %z, %out[] : memref<f16>
    gpu.return
  }

  // CHECK-LABEL: llvm.func @instructions
  // CHECK-NOT: llvm.call
  // CHECK: llvm.intr.sqrt(%{{.*}}) : (f32) -> f32
  // CHECK: llvm.intr.fma(%{{.*}}) : (vector<2xf16>, vector<2xf16>, vector<2xf16>) -> vector<2xf16>
  // CHECK: llvm.intr.floor(%{{.*}}) : (bf16) -> bf16
  gpu.func @instructions(%f: memref<f32>, %h: memref<2xf16>, %b: memref<bf16>) kernel {
    %c0 = arith.constant 0 : index
    %x = memref.load %f[] : memref<f32>
    %root = math.sqrt %x : f32
    memref.store %root, %f[] : memref<f32>
    %y = vector.load %h[%c0] : memref<2xf16>, vector<2xf16>
    %yyy = math.fma %y, %y, %y : vector<2xf16>
    vector.store %yyy, %h[%c0] : memref<2xf16>, vector<2xf16>
    %z = memref.load %b[] : memref<bf16>
    %down = math.floor %z : bf16
    memref.store %down, %b[] : memref<bf16>
    gpu.return
  }

  // Approximations are for those who ask for them. Of f16 and bf16, f32 is computed.
  // CHECK-LABEL: llvm.func @libdevice
  gpu.func @libdevice(%f: memref<f32>, %b: memref<bf16>) kernel {
    %x = memref.load %f[] : memref<f32>
    // CHECK: llvm.call @__nv_expf(
    %y = math.exp %x : f32
    // CHECK: llvm.call @__nv_fast_expf(
    %z = math.exp %y fastmath<afn> : f32
    memref.store %z, %f[] : memref<f32>
    // CHECK: %[[WIDE:.*]] = llvm.fpext %{{.*}} : bf16 to f32
    // CHECK: %[[ERF:.*]] = llvm.call @__nv_erff(%[[WIDE]])
    // CHECK: llvm.fptrunc %[[ERF]] : f32 to bf16
    %v = memref.load %b[] : memref<bf16>
    %w = math.erf %v : bf16
    memref.store %w, %b[] : memref<bf16>
    gpu.return
  }

  // CHECK-LABEL: llvm.func @warp
  gpu.func @warp(%f: memref<f32>, %l: memref<i64>) kernel {
    %c1 = arith.constant 1 : i32
    %c32 = arith.constant 32 : i32
    %x = memref.load %f[] : memref<f32>
    // CHECK: nvvm.shfl.sync bfly {{.*}} : f32
    %y, %valid = gpu.shuffle xor %x, %c1, %c32 : f32
    memref.store %y, %f[] : memref<f32>
    // A sum of 64 bits takes two shuffles a step.
    // CHECK-COUNT-10: nvvm.shfl.sync bfly {{.*}} : i32
    // CHECK-NOT: nvvm.shfl.sync
    %n = memref.load %l[] : memref<i64>
    %sum = gpu.subgroup_reduce add %n : (i64) -> i64
    memref.store %sum, %l[] : memref<i64>
    gpu.return
  }

  // CHECK-LABEL: llvm.func @tensor_cores
  // CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
  // CHECK: nvvm.cp.async.commit.group
  // CHECK: nvvm.cp.async.wait.group 0
  // CHECK: nvvm.ldmatrix %{{.*}} {{.*}}num = 4 : i32
  // CHECK: nvvm.mma.sync {{.*}}shape = #nvvm.shape<m = 16, n = 8, k = 16>{{.*}} : (vector<2xf16>, vector<2xf16>, f32)
  // CHECK: nvvm.mma.sync {{.*}}multiplicandAPtxType = #nvvm.mma_type<bf16>{{.*}}shape = #nvvm.shape<m = 16, n = 8, k = 16>{{.*}} : (i32, i32, f32)
  // CHECK: nvvm.mma.sync {{.*}}multiplicandAPtxType = #nvvm.mma_type<tf32>{{.*}}shape = #nvvm.shape<m = 16, n = 8, k = 8>{{.*}} : (i32, i32, f32)
  gpu.func @tensor_cores(%in: memref<256xf16>, %b16: memref<8xbf16>, %f32: memref<8xf32>, %out: memref<12xf32>)
      workgroup(%tile: memref<16x16xf16, #gpu.address_space<workgroup>> {llvm.align = 16 : i64}) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c4 = arith.constant 4 : index
    %c8 = arith.constant 8 : index
    %c2 = arith.constant 2 : index
    %lane = gpu.thread_id x
    %row = arith.divui %lane, %c2 : index
    %half = arith.remui %lane, %c2 : index
    %column = arith.muli %half, %c8 : index
    %from = arith.muli %lane, %c8 : index
    %copy = nvgpu.device_async_copy %in[%from], %tile[%row, %column], 8 {bypassL1} : memref<256xf16> to memref<16x16xf16, #gpu.address_space<workgroup>>
    %group = nvgpu.device_async_create_group %copy
    nvgpu.device_async_wait %group {numGroups = 0 : i32}
    gpu.barrier
    %zero = arith.constant dense<0.0> : vector<2x2xf32>
    %ah = nvgpu.ldmatrix %tile[%row, %column] {numTiles = 4 : i32, transpose = false} : memref<16x16xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
    %bh = vector.extract_strided_slice %ah {offsets = [0, 0], sizes = [2, 2], strides = [1, 1]} : vector<4x2xf16> to vector<2x2xf16>
    %h = nvgpu.mma.sync (%ah, %bh, %zero) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
    %flat = vector.load %b16[%c0] : memref<8xbf16>, vector<8xbf16>
    %ab = vector.shape_cast %flat : vector<8xbf16> to vector<4x2xbf16>
    %bb = vector.extract_strided_slice %ab {offsets = [0, 0], sizes = [2, 2], strides = [1, 1]} : vector<4x2xbf16> to vector<2x2xbf16>
    %b = nvgpu.mma.sync (%ab, %bb, %h) {mmaShape = [16, 8, 16]} : (vector<4x2xbf16>, vector<2x2xbf16>, vector<2x2xf32>) -> vector<2x2xf32>
    %wide = vector.load %f32[%c0] : memref<8xf32>, vector<4xf32>
    %af = vector.shape_cast %wide : vector<4xf32> to vector<4x1xf32>
    %bf = vector.extract_strided_slice %af {offsets = [0, 0], sizes = [2, 1], strides = [1, 1]} : vector<4x1xf32> to vector<2x1xf32>
    %t = nvgpu.mma.sync (%af, %bf, %b) {mmaShape = [16, 8, 8], tf32Enabled} : (vector<4x1xf32>, vector<2x1xf32>, vector<2x2xf32>) -> vector<2x2xf32>
    %result = vector.shape_cast %t : vector<2x2xf32> to vector<4xf32>
    vector.store %result, %out[%c0] : memref<12xf32>, vector<4xf32>
    gpu.return
  }
}
