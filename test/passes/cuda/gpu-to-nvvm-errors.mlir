// RUN: snug-opt %s --split-input-file --verify-diagnostics --snug-gpu-to-nvvm

gpu.module @kernels {
  // expected-error@+1 {{argument 1 of kernel 'dynamic' is 'memref<?xf32>', but kernels take bare pointers: memrefs of static shape, of which the body makes views}}
  gpu.func @dynamic(%n: i64, %a: memref<?xf32>) kernel {
    gpu.return
  }
}

// -----

gpu.module @kernels {
  // expected-error@+1 {{argument 0 of kernel 'strided' is 'memref<4xf32, strided<[2]>>', but kernels take bare pointers}}
  gpu.func @strided(%a: memref<4xf32, strided<[2]>>) kernel {
    gpu.return
  }
}

// -----

gpu.module @kernels {
  // expected-error@+1 {{an index has 32 or 64 bits on a GPU, not 16}}
  gpu.func @narrow() kernel attributes {snug.index_bits = 16 : i32} {
    gpu.return
  }
}
