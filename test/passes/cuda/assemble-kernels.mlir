// RUN: snug-opt %s --snug-assemble-kernels="chips=sm_80,sm_90,sm_100 dump=%t output=%t.fatbin" -o /dev/null 2>&1 | FileCheck %s --enable-var-scope
// RUN: FileCheck %s --check-prefix=PTX <%t.sm_90.ptx

module attributes {gpu.container_module} {
  gpu.module @kernels {
    // CHECK: remark: add on sm_80: [[#]] registers, 0 B shared, 0 B stack, 0 + 0 B spilled
    // CHECK: remark: add on sm_90: [[#]] registers, 0 B shared, 0 B stack, 0 + 0 B spilled
    // CHECK: remark: add on sm_100: [[#]] registers, 0 B shared, 0 B stack, 0 + 0 B spilled
    // PTX-LABEL: .entry add(
    // PTX: .reqntid 256
    // PTX-COUNT-2: ld.global.nc.v4
    // PTX: st.global.v4
    gpu.func @add(%a: memref<f32> {llvm.noalias, llvm.readonly, llvm.align = 256 : i64},
                  %b: memref<f32> {llvm.noalias, llvm.readonly, llvm.align = 256 : i64},
                  %c: memref<f32> {llvm.noalias, llvm.align = 256 : i64}, %n: i64) kernel
        attributes {known_block_size = array<i32: 256, 1, 1>, snug.index_bits = 32 : i32} {
      %c4 = arith.constant 4 : index
      %size = arith.index_cast %n : i64 to index
      %va = memref.reinterpret_cast %a to offset: [0], sizes: [%size], strides: [1] : memref<f32> to memref<?xf32>
      %vb = memref.reinterpret_cast %b to offset: [0], sizes: [%size], strides: [1] : memref<f32> to memref<?xf32>
      %vc = memref.reinterpret_cast %c to offset: [0], sizes: [%size], strides: [1] : memref<f32> to memref<?xf32>
      %i = gpu.global_id x
      %at = arith.muli %i, %c4 : index
      %inside = arith.cmpi ult, %at, %size : index
      scf.if %inside {
        %x = vector.load %va[%at] {alignment = 16 : i64} : memref<?xf32>, vector<4xf32>
        %y = vector.load %vb[%at] {alignment = 16 : i64} : memref<?xf32>, vector<4xf32>
        %sum = arith.addf %x, %y : vector<4xf32>
        vector.store %sum, %vc[%at] {alignment = 16 : i64} : memref<?xf32>, vector<4xf32>
      }
      gpu.return
    }
  }
}
