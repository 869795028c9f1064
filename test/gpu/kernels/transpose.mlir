// Tiles of 32 x 32 through shared memory, whose pitch of 33 keeps columns in different banks. 32 x 8 threads a block.
#shared = #gpu.address_space<workgroup>
module {
  gpu.module @kernels {
    gpu.func @transpose(%xp: memref<1xf32> {llvm.align = 256 : i64}, %yp: memref<1xf32> {llvm.align = 256 : i64},
                        %rows: i64, %columns: i64)
        workgroup(%tile: memref<32x33xf32, #shared>) kernel
        attributes {known_block_size = array<i32: 32, 8, 1>, snug.index_bits = 32 : i32} {
      %m = arith.index_cast %rows : i64 to index
      %n = arith.index_cast %columns : i64 to index
      %x = memref.reinterpret_cast %xp to offset: [0], sizes: [%m, %n], strides: [%n, 1] : memref<1xf32> to memref<?x?xf32, strided<[?, 1]>>
      %y = memref.reinterpret_cast %yp to offset: [0], sizes: [%n, %m], strides: [%m, 1] : memref<1xf32> to memref<?x?xf32, strided<[?, 1]>>
      %c0 = arith.constant 0 : index
      %c8 = arith.constant 8 : index
      %c32 = arith.constant 32 : index
      %bx = gpu.block_id x
      %by = gpu.block_id y
      %tx = gpu.thread_id x
      %ty = gpu.thread_id y
      %r0 = arith.muli %by, %c32 : index
      %q0 = arith.muli %bx, %c32 : index
      %column = arith.addi %q0, %tx : index
      scf.for %j = %c0 to %c32 step %c8 {
        %i = arith.addi %j, %ty : index
        %r = arith.addi %r0, %i : index
        %a = arith.cmpi ult, %r, %m : index
        %b = arith.cmpi ult, %column, %n : index
        %inside = arith.andi %a, %b : i1
        scf.if %inside {
          %v = memref.load %x[%r, %column] : memref<?x?xf32, strided<[?, 1]>>
          memref.store %v, %tile[%i, %tx] : memref<32x33xf32, #shared>
        }
      }
      gpu.barrier
      %outColumn = arith.addi %r0, %tx : index
      scf.for %j = %c0 to %c32 step %c8 {
        %i = arith.addi %j, %ty : index
        %outRow = arith.addi %q0, %i : index
        %a = arith.cmpi ult, %outRow, %n : index
        %b = arith.cmpi ult, %outColumn, %m : index
        %inside = arith.andi %a, %b : i1
        scf.if %inside {
          %v = memref.load %tile[%tx, %i] : memref<32x33xf32, #shared>
          memref.store %v, %y[%outRow, %outColumn] : memref<?x?xf32, strided<[?, 1]>>
        }
      }
      gpu.return
    }

    // The same, with as much dynamic shared memory as a tile needs, of bytes.
    gpu.func @transpose_bytes(%xp: memref<1xi8>, %yp: memref<1xi8>, %rows: i64, %columns: i64) kernel
        attributes {known_block_size = array<i32: 32, 32, 1>} {
      %m = arith.index_cast %rows : i64 to index
      %n = arith.index_cast %columns : i64 to index
      %x = memref.reinterpret_cast %xp to offset: [0], sizes: [%m, %n], strides: [%n, 1] : memref<1xi8> to memref<?x?xi8, strided<[?, 1]>>
      %y = memref.reinterpret_cast %yp to offset: [0], sizes: [%n, %m], strides: [%m, 1] : memref<1xi8> to memref<?x?xi8, strided<[?, 1]>>
      %c0 = arith.constant 0 : index
      %c32 = arith.constant 32 : index
      %memory = gpu.dynamic_shared_memory : memref<?xi8, #shared>
      %tile = memref.view %memory[%c0][] : memref<?xi8, #shared> to memref<32x33xi8, #shared>
      %bx = gpu.block_id x
      %by = gpu.block_id y
      %tx = gpu.thread_id x
      %ty = gpu.thread_id y
      %r0 = arith.muli %by, %c32 : index
      %q0 = arith.muli %bx, %c32 : index
      %column = arith.addi %q0, %tx : index
      %r = arith.addi %r0, %ty : index
      %a = arith.cmpi ult, %r, %m : index
      %b = arith.cmpi ult, %column, %n : index
      %inside = arith.andi %a, %b : i1
      scf.if %inside {
        %v = memref.load %x[%r, %column] : memref<?x?xi8, strided<[?, 1]>>
        memref.store %v, %tile[%ty, %tx] : memref<32x33xi8, #shared>
      }
      gpu.barrier
      %outColumn = arith.addi %r0, %tx : index
      %outRow = arith.addi %q0, %ty : index
      %c = arith.cmpi ult, %outRow, %n : index
      %d = arith.cmpi ult, %outColumn, %m : index
      %outInside = arith.andi %c, %d : i1
      scf.if %outInside {
        %v = memref.load %tile[%tx, %ty] : memref<32x33xi8, #shared>
        memref.store %v, %y[%outRow, %outColumn] : memref<?x?xi8, strided<[?, 1]>>
      }
      gpu.return
    }
  }
}
