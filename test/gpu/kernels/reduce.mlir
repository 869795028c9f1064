// Sums of 256 elements a block: a tree in shared memory, and shuffles, then one value a warp.
#shared = #gpu.address_space<workgroup>
module {
  gpu.module @kernels {
    gpu.func @tree(%xp: memref<1xf32> {llvm.align = 256 : i64}, %yp: memref<1xf32> {llvm.align = 256 : i64}, %count: i64)
        workgroup(%sums: memref<256xf32, #shared>) kernel attributes {known_block_size = array<i32: 256, 1, 1>} {
      %n = arith.index_cast %count : i64 to index
      %blocks = gpu.grid_dim x
      %x = memref.reinterpret_cast %xp to offset: [0], sizes: [%n], strides: [1] : memref<1xf32> to memref<?xf32>
      %y = memref.reinterpret_cast %yp to offset: [0], sizes: [%blocks], strides: [1] : memref<1xf32> to memref<?xf32>
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c8 = arith.constant 8 : index
      %c128 = arith.constant 128 : index
      %c256 = arith.constant 256 : index
      %zero = arith.constant 0.0 : f32
      %bid = gpu.block_id x
      %tid = gpu.thread_id x
      %first = arith.muli %bid, %c256 : index
      %i = arith.addi %first, %tid : index
      %inside = arith.cmpi ult, %i, %n : index
      %mine = scf.if %inside -> f32 {
        %v = memref.load %x[%i] : memref<?xf32>
        scf.yield %v : f32
      } else {
        scf.yield %zero : f32
      }
      memref.store %mine, %sums[%tid] : memref<256xf32, #shared>
      gpu.barrier
      scf.for %step = %c0 to %c8 step %c1 {
        %half = arith.shrui %c128, %step : index
        %works = arith.cmpi ult, %tid, %half : index
        scf.if %works {
          %other = arith.addi %tid, %half : index
          %a = memref.load %sums[%tid] : memref<256xf32, #shared>
          %b = memref.load %sums[%other] : memref<256xf32, #shared>
          %s = arith.addf %a, %b : f32
          memref.store %s, %sums[%tid] : memref<256xf32, #shared>
        }
        gpu.barrier
      }
      %isFirst = arith.cmpi eq, %tid, %c0 : index
      scf.if %isFirst {
        %s = memref.load %sums[%c0] : memref<256xf32, #shared>
        memref.store %s, %y[%bid] : memref<?xf32>
      }
      gpu.return
    }

    gpu.func @shuffles(%xp: memref<1xf32>, %yp: memref<1xf32>, %count: i64)
        workgroup(%sums: memref<8xf32, #shared>) kernel attributes {known_block_size = array<i32: 256, 1, 1>} {
      %n = arith.index_cast %count : i64 to index
      %blocks = gpu.grid_dim x
      %x = memref.reinterpret_cast %xp to offset: [0], sizes: [%n], strides: [1] : memref<1xf32> to memref<?xf32>
      %y = memref.reinterpret_cast %yp to offset: [0], sizes: [%blocks], strides: [1] : memref<1xf32> to memref<?xf32>
      %c0 = arith.constant 0 : index
      %c8 = arith.constant 8 : index
      %c32 = arith.constant 32 : index
      %c256 = arith.constant 256 : index
      %zero = arith.constant 0.0 : f32
      %o16 = arith.constant 16 : i32
      %o8 = arith.constant 8 : i32
      %o4 = arith.constant 4 : i32
      %o2 = arith.constant 2 : i32
      %o1 = arith.constant 1 : i32
      %width = arith.constant 32 : i32
      %bid = gpu.block_id x
      %tid = gpu.thread_id x
      %lane = gpu.lane_id
      %warp = arith.divui %tid, %c32 : index
      %first = arith.muli %bid, %c256 : index
      %i = arith.addi %first, %tid : index
      %inside = arith.cmpi ult, %i, %n : index
      %mine = scf.if %inside -> f32 {
        %v = memref.load %x[%i] : memref<?xf32>
        scf.yield %v : f32
      } else {
        scf.yield %zero : f32
      }
      %a0, %v0 = gpu.shuffle down %mine, %o16, %width : f32
      %s0 = arith.addf %mine, %a0 : f32
      %a1, %v1 = gpu.shuffle down %s0, %o8, %width : f32
      %s1 = arith.addf %s0, %a1 : f32
      %a2, %v2 = gpu.shuffle down %s1, %o4, %width : f32
      %s2 = arith.addf %s1, %a2 : f32
      %a3, %v3 = gpu.shuffle down %s2, %o2, %width : f32
      %s3 = arith.addf %s2, %a3 : f32
      %a4, %v4 = gpu.shuffle down %s3, %o1, %width : f32
      %s4 = arith.addf %s3, %a4 : f32
      %isLane0 = arith.cmpi eq, %lane, %c0 : index
      scf.if %isLane0 {
        memref.store %s4, %sums[%warp] : memref<8xf32, #shared>
      }
      gpu.barrier
      %isWarp0 = arith.cmpi ult, %tid, %c32 : index
      scf.if %isWarp0 {
        %reads = arith.cmpi ult, %lane, %c8 : index
        %part = scf.if %reads -> f32 {
          %v = memref.load %sums[%lane] : memref<8xf32, #shared>
          scf.yield %v : f32
        } else {
          scf.yield %zero : f32
        }
        %all = gpu.subgroup_reduce add %part : (f32) -> f32
        scf.if %isLane0 {
          memref.store %all, %y[%bid] : memref<?xf32>
        }
      }
      gpu.return
    }
  }
}
