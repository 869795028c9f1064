// c = a * b on tensor cores, a warp a tile of 16 x 8; M, N, K multiples of 16, 8 and 16. Tiles of a and b come through
// shared memory by asynchronous copies, one step ahead of the multiplication. ELEMENT is f16 or bf16.
#shared = #gpu.address_space<workgroup>
#row = strided<[?, 1]>
module {
  gpu.module @kernels {
    gpu.func @matmul(%ap: memref<1xELEMENT> {llvm.noalias, llvm.readonly, llvm.align = 256 : i64},
                     %bp: memref<1xELEMENT> {llvm.noalias, llvm.readonly, llvm.align = 256 : i64},
                     %cp: memref<1xf32> {llvm.noalias, llvm.align = 256 : i64}, %mi: i64, %ni: i64, %ki: i64)
        workgroup(%ta: memref<2x16x24xELEMENT, #shared> {llvm.align = 16 : i64},
                  %tb: memref<2x16x8xELEMENT, #shared> {llvm.align = 16 : i64}) kernel
        attributes {known_block_size = array<i32: 32, 1, 1>, snug.index_bits = 32 : i32} {
      %m = arith.index_cast %mi : i64 to index
      %n = arith.index_cast %ni : i64 to index
      %k = arith.index_cast %ki : i64 to index
      %a = memref.reinterpret_cast %ap to offset: [0], sizes: [%m, %k], strides: [%k, 1] : memref<1xELEMENT> to memref<?x?xELEMENT, #row>
      %b = memref.reinterpret_cast %bp to offset: [0], sizes: [%k, %n], strides: [%n, 1] : memref<1xELEMENT> to memref<?x?xELEMENT, #row>
      %c = memref.reinterpret_cast %cp to offset: [0], sizes: [%m, %n], strides: [%n, 1] : memref<1xf32> to memref<?x?xf32, #row>
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c2 = arith.constant 2 : index
      %c4 = arith.constant 4 : index
      %c8 = arith.constant 8 : index
      %c16 = arith.constant 16 : index
      %zero = arith.constant dense<0.0> : vector<2x2xf32>
      %bx = gpu.block_id x
      %by = gpu.block_id y
      %lane = gpu.lane_id
      %row0 = arith.muli %by, %c16 : index
      %column0 = arith.muli %bx, %c8 : index
      // 16 bytes a lane: two lanes a row of a's tile, one lane a row of b's.
      %ar = arith.divui %lane, %c2 : index
      %ah = arith.remui %lane, %c2 : index
      %ac = arith.muli %ah, %c8 : index
      %copiesB = arith.cmpi ult, %lane, %c16 : index
      %gr = arith.addi %row0, %ar : index
      %t0 = nvgpu.device_async_copy %a[%gr, %ac], %ta[%c0, %ar, %ac], 8 {bypassL1} : memref<?x?xELEMENT, #row> to memref<2x16x24xELEMENT, #shared>
      scf.if %copiesB {
        %t1 = nvgpu.device_async_copy %b[%lane, %column0], %tb[%c0, %lane, %c0], 8 {bypassL1} : memref<?x?xELEMENT, #row> to memref<2x16x8xELEMENT, #shared>
      }
      %g0 = nvgpu.device_async_create_group %t0
      %lr = arith.remui %lane, %c16 : index
      %lh = arith.divui %lane, %c16 : index
      %lc = arith.muli %lh, %c8 : index
      %sum = scf.for %kk = %c0 to %k step %c16 iter_args(%acc = %zero) -> vector<2x2xf32> {
        %step = arith.divui %kk, %c16 : index
        %stage = arith.remui %step, %c2 : index
        %other = arith.subi %c1, %stage : index
        %next = arith.addi %kk, %c16 : index
        %more = arith.cmpi ult, %next, %k : index
        scf.if %more {
          %gc = arith.addi %next, %ac : index
          %t2 = nvgpu.device_async_copy %a[%gr, %gc], %ta[%other, %ar, %ac], 8 {bypassL1} : memref<?x?xELEMENT, #row> to memref<2x16x24xELEMENT, #shared>
          scf.if %copiesB {
            %gk = arith.addi %next, %lane : index
            %t3 = nvgpu.device_async_copy %b[%gk, %column0], %tb[%other, %lane, %c0], 8 {bypassL1} : memref<?x?xELEMENT, #row> to memref<2x16x8xELEMENT, #shared>
          }
        }
        %g1 = nvgpu.device_async_create_group
        nvgpu.device_async_wait %g1 {numGroups = 1 : i32}
        gpu.barrier
        %fa = nvgpu.ldmatrix %ta[%stage, %lr, %lc] {numTiles = 4 : i32, transpose = false} : memref<2x16x24xELEMENT, #shared> -> vector<4x2xELEMENT>
        %fb = nvgpu.ldmatrix %tb[%stage, %lr, %c0] {numTiles = 2 : i32, transpose = true} : memref<2x16x8xELEMENT, #shared> -> vector<2x2xELEMENT>
        %d = nvgpu.mma.sync (%fa, %fb, %acc) {mmaShape = [16, 8, 16]} : (vector<4x2xELEMENT>, vector<2x2xELEMENT>, vector<2x2xf32>) -> vector<2x2xf32>
        gpu.barrier
        scf.yield %d : vector<2x2xf32>
      }
      %group = arith.divui %lane, %c4 : index
      %member = arith.remui %lane, %c4 : index
      %pair = arith.muli %member, %c2 : index
      %column = arith.addi %column0, %pair : index
      %upper = arith.addi %row0, %group : index
      %lower = arith.addi %upper, %c8 : index
      %d0 = vector.extract %sum[0] : vector<2xf32> from vector<2x2xf32>
      %d1 = vector.extract %sum[1] : vector<2xf32> from vector<2x2xf32>
      vector.store %d0, %c[%upper, %column] {alignment = 8 : i64} : memref<?x?xf32, #row>, vector<2xf32>
      vector.store %d1, %c[%lower, %column] {alignment = 8 : i64} : memref<?x?xf32, #row>, vector<2xf32>
      gpu.return
    }

    // The same of f32 with the precision of tf32, straight from global memory, 8 of K at a time.
    gpu.func @matmul_tf32(%ap: memref<1xf32>, %bp: memref<1xf32>, %cp: memref<1xf32>, %mi: i64, %ni: i64, %ki: i64) kernel
        attributes {known_block_size = array<i32: 32, 1, 1>} {
      %m = arith.index_cast %mi : i64 to index
      %n = arith.index_cast %ni : i64 to index
      %k = arith.index_cast %ki : i64 to index
      %a = memref.reinterpret_cast %ap to offset: [0], sizes: [%m, %k], strides: [%k, 1] : memref<1xf32> to memref<?x?xf32, #row>
      %b = memref.reinterpret_cast %bp to offset: [0], sizes: [%k, %n], strides: [%n, 1] : memref<1xf32> to memref<?x?xf32, #row>
      %c = memref.reinterpret_cast %cp to offset: [0], sizes: [%m, %n], strides: [%n, 1] : memref<1xf32> to memref<?x?xf32, #row>
      %c0 = arith.constant 0 : index
      %c2 = arith.constant 2 : index
      %c4 = arith.constant 4 : index
      %c8 = arith.constant 8 : index
      %c16 = arith.constant 16 : index
      %zero = arith.constant dense<0.0> : vector<2x2xf32>
      %bx = gpu.block_id x
      %by = gpu.block_id y
      %lane = gpu.lane_id
      %row0 = arith.muli %by, %c16 : index
      %column0 = arith.muli %bx, %c8 : index
      %group = arith.divui %lane, %c4 : index
      %member = arith.remui %lane, %c4 : index
      %upper = arith.addi %row0, %group : index
      %lower = arith.addi %upper, %c8 : index
      %bc = arith.addi %column0, %group : index
      %sum = scf.for %kk = %c0 to %k step %c8 iter_args(%acc = %zero) -> vector<2x2xf32> {
        %k0 = arith.addi %kk, %member : index
        %k1 = arith.addi %k0, %c4 : index
        %a0 = memref.load %a[%upper, %k0] : memref<?x?xf32, #row>
        %a1 = memref.load %a[%lower, %k0] : memref<?x?xf32, #row>
        %a2 = memref.load %a[%upper, %k1] : memref<?x?xf32, #row>
        %a3 = memref.load %a[%lower, %k1] : memref<?x?xf32, #row>
        %b0 = memref.load %b[%k0, %bc] : memref<?x?xf32, #row>
        %b1 = memref.load %b[%k1, %bc] : memref<?x?xf32, #row>
        %fa = vector.from_elements %a0, %a1, %a2, %a3 : vector<4x1xf32>
        %fb = vector.from_elements %b0, %b1 : vector<2x1xf32>
        %d = nvgpu.mma.sync (%fa, %fb, %acc) {mmaShape = [16, 8, 8], tf32Enabled} : (vector<4x1xf32>, vector<2x1xf32>, vector<2x2xf32>) -> vector<2x2xf32>
        scf.yield %d : vector<2x2xf32>
      }
      %pair = arith.muli %member, %c2 : index
      %column = arith.addi %column0, %pair : index
      %d0 = vector.extract %sum[0] : vector<2xf32> from vector<2x2xf32>
      %d1 = vector.extract %sum[1] : vector<2xf32> from vector<2x2xf32>
      vector.store %d0, %c[%upper, %column] : memref<?x?xf32, #row>, vector<2xf32>
      vector.store %d1, %c[%lower, %column] : memref<?x?xf32, #row>, vector<2xf32>
      gpu.return
    }
  }
}
