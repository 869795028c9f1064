// Counts of bytes, by atomic additions; and the largest element, by a loop that compares and exchanges.
module {
  gpu.module @kernels {
    gpu.func @histogram(%xp: memref<1xi8>, %counts: memref<256xi32>, %count: i64) kernel
        attributes {known_block_size = array<i32: 64, 1, 1>} {
      %n = arith.index_cast %count : i64 to index
      %x = memref.reinterpret_cast %xp to offset: [0], sizes: [%n], strides: [1] : memref<1xi8> to memref<?xi8>
      %i = gpu.global_id x
      %one = arith.constant 1 : i32
      %inside = arith.cmpi ult, %i, %n : index
      scf.if %inside {
        %v = memref.load %x[%i] : memref<?xi8>
        %place = arith.index_castui %v : i8 to index
        %old = memref.atomic_rmw addi %one, %counts[%place] : (i32, memref<256xi32>) -> i32
      }
      gpu.return
    }

    gpu.func @largest(%xp: memref<1xi32>, %most: memref<1xi32>, %float: memref<1xf32>, %count: i64) kernel
        attributes {known_block_size = array<i32: 64, 1, 1>} {
      %n = arith.index_cast %count : i64 to index
      %x = memref.reinterpret_cast %xp to offset: [0], sizes: [%n], strides: [1] : memref<1xi32> to memref<?xi32>
      %i = gpu.global_id x
      %c0 = arith.constant 0 : index
      %inside = arith.cmpi ult, %i, %n : index
      scf.if %inside {
        %v = memref.load %x[%i] : memref<?xi32>
        %old = memref.generic_atomic_rmw %most[%c0] : memref<1xi32> {
        ^bb0(%before: i32):
          %after = arith.maxsi %before, %v : i32
          memref.atomic_yield %after : i32
        }
        %f = arith.sitofp %v : i32 to f32
        %was = memref.atomic_rmw maximumf %f, %float[%c0] : (f32, memref<1xf32>) -> f32
      }
      gpu.return
    }
  }
}
