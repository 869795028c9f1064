// REQUIRES: cuda-toolkit
// RUN: snug-opt %s --snug-assemble-kernels="chips=sm_80,sm_90,sm_100 dump=%t output=%t.fatbin" -o /dev/null 2>&1 | FileCheck %s
// RUN: FileCheck %s --check-prefix=PTX <%t.sm_80.ptx
// RUN: FileCheck %s --check-prefix=PTX <%t.sm_90.ptx
// RUN: FileCheck %s --check-prefix=PTX <%t.sm_100.ptx

// Code for each chip, and PTX of the last one for what comes after it.
// RUN: %python %S/Inputs/list_images.py %t.fatbin | FileCheck %s --check-prefix=IMAGES
// IMAGES: elf sm_80
// IMAGES-NEXT: elf sm_90
// IMAGES-NEXT: elf sm_100
// IMAGES-NEXT: ptx sm_100
// IMAGES-NOT: {{.}}

// The same bytes again, with one thread and from another folder.
// RUN: mkdir -p %t.dir && cd %t.dir && snug-opt %s --mlir-disable-threading --snug-assemble-kernels="chips=sm_80,sm_90,sm_100 output=again" -o /dev/null 2>/dev/null
// RUN: cmp %t.fatbin %t.dir/again

// PTX of a chip with a suffix is for that chip alone.
// RUN: snug-opt %s --snug-assemble-kernels="chips=sm_90,sm_90a output=%t.suffix" -o /dev/null 2>/dev/null
// RUN: %python %S/Inputs/list_images.py %t.suffix | FileCheck %s --check-prefix=SUFFIX
// SUFFIX: elf sm_90
// SUFFIX-NEXT: ptx sm_90
// SUFFIX-NEXT: elf sm_90

// Of what runs inside a budget no register may be spilled: there is no place planned for it.
// CHECK-DAG: remark: add on sm_80: {{[12]?[0-9]}} registers, 0 B shared, 0 B stack, 0 + 0 B spilled
// CHECK-DAG: remark: add on sm_90: {{[12]?[0-9]}} registers, 0 B shared, 0 B stack, 0 + 0 B spilled
// CHECK-DAG: remark: add on sm_100: {{[12]?[0-9]}} registers, 0 B shared, 0 B stack, 0 + 0 B spilled
// CHECK-DAG: remark: transpose on sm_80: {{[12]?[0-9]}} registers, 4224 B shared, 0 B stack, 0 + 0 B spilled
// CHECK-DAG: remark: transpose on sm_90: {{[12]?[0-9]}} registers, 4224 B shared, 0 B stack, 0 + 0 B spilled
// CHECK-DAG: remark: transpose on sm_100: {{[12]?[0-9]}} registers, 4224 B shared, 0 B stack, 0 + 0 B spilled
// CHECK-DAG: remark: product on sm_80: {{[1-4]?[0-9]}} registers, 1024 B shared, 0 B stack, 0 + 0 B spilled
// CHECK-DAG: remark: product on sm_90: {{[1-4]?[0-9]}} registers, 1024 B shared, 0 B stack, 0 + 0 B spilled
// CHECK-DAG: remark: product on sm_100: {{[1-4]?[0-9]}} registers, 1024 B shared, 0 B stack, 0 + 0 B spilled

// 320 values at once are more than a thread has registers for, and the sine of a double has a table on its stack.
// CHECK-DAG: remark: crowded on sm_80: {{[0-9]+}} registers, 0 B shared, {{[1-9][0-9]*}} B stack, {{[1-9][0-9]*}} + {{[1-9][0-9]*}} B spilled
// CHECK-DAG: remark: sine on sm_80: {{[0-9]+}} registers, 0 B shared, 40 B stack, 0 + 0 B spilled

module attributes {gpu.container_module} {
  gpu.module @kernels {
    // Read-only arguments that nobody else writes are read around the coherent cache, 16 bytes at a time; sizes are i64.
    // PTX-LABEL: .entry add(
    // PTX: .reqntid 256
    // PTX-COUNT-2: ld.global.nc.v{{4.b32|2.b64}}
    // PTX-NOT: ld.global
    // PTX: st.global.v{{4.b32|2.b64}}
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

    // What may be another argument's memory is not; eight f16 are 16 bytes, too, and an i64 is read at once.
    // PTX-LABEL: .entry widen(
    // PTX-NOT: ld.global.nc
    // PTX: ld.global.b64
    // PTX: ld.global.v{{4.b32|2.b64}}
    // PTX: cvt.rn.bf16x2.f32
    // PTX: st.global.v4.b32
    gpu.func @widen(%a: memref<1024xf16> {llvm.align = 256 : i64}, %from: memref<i64>,
                    %b: memref<1024xbf16> {llvm.align = 256 : i64}) kernel {
      %first = memref.load %from[] : memref<i64>
      %c8 = arith.constant 8 : index
      %t = gpu.thread_id x
      %at = arith.muli %t, %c8 : index
      %x = vector.load %a[%at] {alignment = 16 : i64} : memref<1024xf16>, vector<8xf16>
      %wide = arith.extf %x : vector<8xf16> to vector<8xf32>
      %start = arith.sitofp %first : i64 to f32
      %starts = vector.broadcast %start : f32 to vector<8xf32>
      %sum = arith.addf %wide, %starts : vector<8xf32>
      %y = arith.truncf %sum : vector<8xf32> to vector<8xbf16>
      vector.store %y, %b[%at] {alignment = 16 : i64} : memref<1024xbf16>, vector<8xbf16>
      gpu.return
    }

    // Products and sums are rounded one by one, unless the program says fma.
    // PTX-LABEL: .entry rounding(
    // PTX-NOT: fma
    // PTX: mul.rn.f32
    // PTX-NOT: fma
    // PTX: add.rn.f32
    // PTX: fma.rn.f32
    // PTX: div.rn.f32
    // PTX: ex2.approx.f32
    gpu.func @rounding(%a: memref<4xf32>) kernel {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %x = memref.load %a[%c0] : memref<4xf32>
      %y = memref.load %a[%c1] : memref<4xf32>
      %xy = arith.mulf %x, %y : f32
      %s = arith.addf %xy, %x : f32
      %f = math.fma %s, %y, %x : f32
      %d = arith.divf %f, %y : f32
      %e = math.exp2 %d fastmath<afn> : f32
      memref.store %e, %a[%c0] : memref<4xf32>
      gpu.return
    }

    // PTX-LABEL: .entry transpose(
    // PTX: .shared .align 16 .b8 {{.*}}[4224];
    // PTX: st.shared
    // PTX: bar.sync 0
    // PTX: ld.shared
    // PTX: shfl.sync.bfly.b32
    gpu.func @transpose(%a: memref<32x32xf32> {llvm.noalias, llvm.readonly}, %b: memref<32x32xf32> {llvm.noalias})
        workgroup(%tile: memref<32x33xf32, #gpu.address_space<workgroup>> {llvm.align = 16 : i64}) kernel
        attributes {known_block_size = array<i32: 32, 1, 1>, snug.index_bits = 32 : i32} {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c32 = arith.constant 32 : index
      %t = gpu.thread_id x
      scf.for %i = %c0 to %c32 step %c1 {
        %x = memref.load %a[%i, %t] : memref<32x32xf32>
        memref.store %x, %tile[%i, %t] : memref<32x33xf32, #gpu.address_space<workgroup>>
      }
      gpu.barrier
      %one = arith.constant 1 : i32
      %all = arith.constant 32 : i32
      scf.for %i = %c0 to %c32 step %c1 {
        %x = memref.load %tile[%t, %i] : memref<32x33xf32, #gpu.address_space<workgroup>>
        %y, %valid = gpu.shuffle xor %x, %one, %all : f32
        memref.store %y, %b[%i, %t] : memref<32x32xf32>
      }
      gpu.return
    }

    // Dynamic shared memory stands behind the static one, which ptxas counts without it.
    // PTX-LABEL: .entry product(
    // PTX: cp.async.cg.shared.global {{.*}}, 16
    // PTX: cp.async.commit_group
    // PTX: cp.async.wait_group 0
    // PTX: ldmatrix.sync.aligned.m8n8.x4.shared
    // PTX: ldmatrix.sync.aligned.m8n8.x2.trans.shared
    // PTX: mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32
    // PTX: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
    gpu.func @product(%a: memref<16x16xf16>, %b: memref<16x16xf16>, %c: memref<64xf32> {llvm.align = 256 : i64})
        workgroup(%sa: memref<16x16xf16, #gpu.address_space<workgroup>> {llvm.align = 16 : i64},
                  %sb: memref<16x16xf16, #gpu.address_space<workgroup>> {llvm.align = 16 : i64}) kernel
        attributes {known_block_size = array<i32: 32, 1, 1>, snug.index_bits = 32 : i32} {
      %c0 = arith.constant 0 : index
      %c2 = arith.constant 2 : index
      %c8 = arith.constant 8 : index
      %c16 = arith.constant 16 : index
      %lane = gpu.thread_id x
      %row = arith.divui %lane, %c2 : index
      %side = arith.remui %lane, %c2 : index
      %column = arith.muli %side, %c8 : index
      %ca = nvgpu.device_async_copy %a[%row, %column], %sa[%row, %column], 8 {bypassL1} : memref<16x16xf16> to memref<16x16xf16, #gpu.address_space<workgroup>>
      %cb = nvgpu.device_async_copy %b[%row, %column], %sb[%row, %column], 8 {bypassL1} : memref<16x16xf16> to memref<16x16xf16, #gpu.address_space<workgroup>>
      %group = nvgpu.device_async_create_group %ca, %cb
      nvgpu.device_async_wait %group {numGroups = 0 : i32}
      gpu.barrier
      %l = arith.remui %lane, %c16 : index
      %fa = nvgpu.ldmatrix %sa[%l, %column] {numTiles = 4 : i32, transpose = false} : memref<16x16xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
      %fb = nvgpu.ldmatrix %sb[%l, %c0] {numTiles = 2 : i32, transpose = true} : memref<16x16xf16, #gpu.address_space<workgroup>> -> vector<2x2xf16>
      %zero = arith.constant dense<0.0> : vector<2x2xf32>
      %p = nvgpu.mma.sync (%fa, %fb, %zero) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
      %ba = vector.bitcast %fa : vector<4x2xf16> to vector<4x2xbf16>
      %bb = vector.bitcast %fb : vector<2x2xf16> to vector<2x2xbf16>
      %q = nvgpu.mma.sync (%ba, %bb, %p) {mmaShape = [16, 8, 16]} : (vector<4x2xbf16>, vector<2x2xbf16>, vector<2x2xf32>) -> vector<2x2xf32>
      %flat = vector.shape_cast %q : vector<2x2xf32> to vector<4xf32>
      %bytes = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
      %more = memref.view %bytes[%c0][] : memref<?xi8, #gpu.address_space<workgroup>> to memref<128xf32, #gpu.address_space<workgroup>>
      %at = arith.muli %lane, %c2 : index
      vector.store %flat, %more[%at] : memref<128xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %back = memref.load %more[%lane] : memref<128xf32, #gpu.address_space<workgroup>>
      memref.store %back, %c[%lane] : memref<64xf32>
      gpu.return
    }

    gpu.func @crowded(%a: memref<327680xf32>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
      %t = gpu.thread_id x
      %c320 = arith.constant 320 : index
      %at = arith.muli %t, %c320 : index
      %x = vector.load %a[%at] : memref<327680xf32>, vector<320xf32>
      gpu.barrier
      %sum = vector.reduction <add>, %x : vector<320xf32> into f32
      %sums = vector.broadcast %sum : f32 to vector<320xf32>
      %y = arith.mulf %x, %sums : vector<320xf32>
      vector.store %y, %a[%at] : memref<327680xf32>, vector<320xf32>
      gpu.return
    }

    gpu.func @sine(%a: memref<f64>) kernel {
      %x = memref.load %a[] : memref<f64>
      %y = math.sin %x : f64
      memref.store %y, %a[] : memref<f64>
      gpu.return
    }
  }
}
