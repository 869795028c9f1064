// y = x * sigmoid(x) + b, 4 elements a thread, the last ones one by one.
module {
  gpu.module @kernels {
    gpu.func @elementwise(%xp: memref<1xf32> {llvm.noalias, llvm.readonly, llvm.align = 256 : i64},
                          %bp: memref<1xf32> {llvm.noalias, llvm.readonly, llvm.align = 256 : i64},
                          %yp: memref<1xf32> {llvm.noalias, llvm.align = 256 : i64}, %count: i64) kernel
        attributes {known_block_size = array<i32: 256, 1, 1>, snug.index_bits = 32 : i32} {
      %n = arith.index_cast %count : i64 to index
      %x = memref.reinterpret_cast %xp to offset: [0], sizes: [%n], strides: [1] : memref<1xf32> to memref<?xf32>
      %b = memref.reinterpret_cast %bp to offset: [0], sizes: [%n], strides: [1] : memref<1xf32> to memref<?xf32>
      %y = memref.reinterpret_cast %yp to offset: [0], sizes: [%n], strides: [1] : memref<1xf32> to memref<?xf32>
      %c1 = arith.constant 1 : index
      %c4 = arith.constant 4 : index
      %c256 = arith.constant 256 : index
      %one = arith.constant dense<1.0> : vector<4xf32>
      %one1 = arith.constant 1.0 : f32
      %bid = gpu.block_id x
      %tid = gpu.thread_id x
      %0 = arith.muli %bid, %c256 : index
      %1 = arith.addi %0, %tid : index
      %i = arith.muli %1, %c4 : index
      %end = arith.addi %i, %c4 : index
      %whole = arith.cmpi ule, %end, %n : index
      scf.if %whole {
        %v = vector.load %x[%i] {alignment = 16 : i64} : memref<?xf32>, vector<4xf32>
        %w = vector.load %b[%i] {alignment = 16 : i64} : memref<?xf32>, vector<4xf32>
        %m = arith.negf %v : vector<4xf32>
        %e = math.exp %m : vector<4xf32>
        %d = arith.addf %e, %one : vector<4xf32>
        %q = arith.divf %v, %d : vector<4xf32>
        %s = arith.addf %q, %w : vector<4xf32>
        vector.store %s, %y[%i] {alignment = 16 : i64} : memref<?xf32>, vector<4xf32>
      } else {
        scf.for %j = %i to %n step %c1 {
          %v = memref.load %x[%j] : memref<?xf32>
          %w = memref.load %b[%j] : memref<?xf32>
          %m = arith.negf %v : f32
          %e = math.exp %m : f32
          %d = arith.addf %e, %one1 : f32
          %q = arith.divf %v, %d : f32
          %s = arith.addf %q, %w : f32
          memref.store %s, %y[%j] : memref<?xf32>
        }
      }
      gpu.return
    }
  }
}
