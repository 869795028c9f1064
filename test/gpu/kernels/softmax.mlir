// A block a row, each thread four columns at a time; columns a multiple of four.
#shared = #gpu.address_space<workgroup>
#row = strided<[?, 1]>
module {
  gpu.module @kernels {
    gpu.func @softmax(%xp: memref<1xf32> {llvm.noalias, llvm.readonly, llvm.align = 256 : i64},
                      %yp: memref<1xf32> {llvm.noalias, llvm.align = 256 : i64}, %rows: i64, %columns: i64)
        workgroup(%most: memref<8xf32, #shared>, %sums: memref<8xf32, #shared>) kernel
        attributes {known_block_size = array<i32: 256, 1, 1>} {
      %m = arith.index_cast %rows : i64 to index
      %n = arith.index_cast %columns : i64 to index
      %x = memref.reinterpret_cast %xp to offset: [0], sizes: [%m, %n], strides: [%n, 1] : memref<1xf32> to memref<?x?xf32, #row>
      %y = memref.reinterpret_cast %yp to offset: [0], sizes: [%m, %n], strides: [%n, 1] : memref<1xf32> to memref<?x?xf32, #row>
      %c0 = arith.constant 0 : index
      %c4 = arith.constant 4 : index
      %c8 = arith.constant 8 : index
      %c32 = arith.constant 32 : index
      %c1024 = arith.constant 1024 : index
      %least4 = arith.constant dense<0xFF800000> : vector<4xf32>
      %zero4 = arith.constant dense<0.0> : vector<4xf32>
      %least = arith.constant 0xFF800000 : f32
      %zero = arith.constant 0.0 : f32
      %row = gpu.block_id x
      %tid = gpu.thread_id x
      %lane = gpu.lane_id
      %warp = arith.divui %tid, %c32 : index
      %start = arith.muli %tid, %c4 : index
      %most4 = scf.for %j = %start to %n step %c1024 iter_args(%a = %least4) -> vector<4xf32> {
        %v = vector.load %x[%row, %j] {alignment = 16 : i64} : memref<?x?xf32, #row>, vector<4xf32>
        %b = arith.maximumf %a, %v : vector<4xf32>
        scf.yield %b : vector<4xf32>
      }
      %most1 = vector.reduction <maximumf>, %most4 : vector<4xf32> into f32
      %mostOfWarp = gpu.subgroup_reduce maximumf %most1 : (f32) -> f32
      %isLane0 = arith.cmpi eq, %lane, %c0 : index
      scf.if %isLane0 {
        memref.store %mostOfWarp, %most[%warp] : memref<8xf32, #shared>
      }
      gpu.barrier
      %reads = arith.cmpi ult, %lane, %c8 : index
      %p = scf.if %reads -> f32 {
        %v = memref.load %most[%lane] : memref<8xf32, #shared>
        scf.yield %v : f32
      } else {
        scf.yield %least : f32
      }
      %mostOfRow = gpu.subgroup_reduce maximumf %p : (f32) -> f32
      %mostOfRow4 = vector.broadcast %mostOfRow : f32 to vector<4xf32>
      %sum4 = scf.for %j = %start to %n step %c1024 iter_args(%a = %zero4) -> vector<4xf32> {
        %v = vector.load %x[%row, %j] {alignment = 16 : i64} : memref<?x?xf32, #row>, vector<4xf32>
        %d = arith.subf %v, %mostOfRow4 : vector<4xf32>
        %e = math.exp %d : vector<4xf32>
        %b = arith.addf %a, %e : vector<4xf32>
        scf.yield %b : vector<4xf32>
      }
      %sum1 = vector.reduction <add>, %sum4 : vector<4xf32> into f32
      %sumOfWarp = gpu.subgroup_reduce add %sum1 : (f32) -> f32
      scf.if %isLane0 {
        memref.store %sumOfWarp, %sums[%warp] : memref<8xf32, #shared>
      }
      gpu.barrier
      %q = scf.if %reads -> f32 {
        %v = memref.load %sums[%lane] : memref<8xf32, #shared>
        scf.yield %v : f32
      } else {
        scf.yield %zero : f32
      }
      %sumOfRow = gpu.subgroup_reduce add %q : (f32) -> f32
      %sumOfRow4 = vector.broadcast %sumOfRow : f32 to vector<4xf32>
      scf.for %j = %start to %n step %c1024 {
        %v = vector.load %x[%row, %j] {alignment = 16 : i64} : memref<?x?xf32, #row>, vector<4xf32>
        %d = arith.subf %v, %mostOfRow4 : vector<4xf32>
        %e = math.exp %d : vector<4xf32>
        %o = arith.divf %e, %sumOfRow4 : vector<4xf32>
        vector.store %o, %y[%row, %j] {alignment = 16 : i64} : memref<?x?xf32, #row>, vector<4xf32>
      }
      gpu.return
    }
  }
}
