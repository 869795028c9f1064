// REQUIRES: cuda-toolkit
// RUN: snug-opt %s --split-input-file --verify-diagnostics --snug-assemble-kernels=chips=sm_80
// RUN: not snug-opt %s --split-input-file --snug-assemble-kernels=chips=sm_70 2>&1 | FileCheck %s --check-prefix=OLD
// RUN: not snug-opt %s --split-input-file --snug-assemble-kernels=chips=sm_80,90 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not snug-opt %s --split-input-file --snug-assemble-kernels=chips=sm_80,sm_90,sm_80 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not snug-opt %s --split-input-file --snug-assemble-kernels 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not snug-opt %s --split-input-file --snug-assemble-kernels=chips=sm_75 2>&1 | FileCheck %s --check-prefix=TURING

// OLD: error: no code can be made for a chip 'sm_70'; with this CUDA toolkit ({{.*}}ptxas) it can for sm_75, {{.*}}sm_80, {{.*}}sm_90, sm_90a, sm_100,
// UNKNOWN: error: no code can be made for a chip '90';
// TWICE: error: the chip sm_80 is named twice
// NONE: error: no chips are given: chips=sm_80,sm_90
// TURING: error: kernel 'copies' is made with nvvm.cp.async.commit.group, which sm_75 does not have; leave this chip out

// A toolkit that is not where it is said to be, that lacks a part, and that does not run.
// RUN: not snug-opt %s --split-input-file --snug-assemble-kernels="chips=sm_80 toolkit=%t.nothing" 2>&1 | FileCheck %s --check-prefix=NOWHERE
// RUN: rm -rf %t.dir && mkdir -p %t.dir/bin %t.dir/nvvm/libdevice && touch %t.dir/nvvm/libdevice/libdevice.10.bc && echo "exit 3" >%t.dir/bin/ptxas
// RUN: env CUDA_HOME=%t.dir SNUG_CUDA_TOOLKIT= not snug-opt %s --split-input-file --snug-assemble-kernels=chips=sm_80 2>&1 | FileCheck %s --check-prefix=PART
// RUN: touch %t.dir/bin/fatbinary
// RUN: env SNUG_CUDA_TOOLKIT=%t.dir not snug-opt %s --split-input-file --snug-assemble-kernels=chips=sm_80 2>&1 | FileCheck %s --check-prefix=DENIED
// RUN: chmod +x %t.dir/bin/ptxas
// RUN: sed -i "1i#!/bin/sh" %t.dir/bin/ptxas
// RUN: env SNUG_CUDA_TOOLKIT=%t.dir not snug-opt %s --split-input-file --snug-assemble-kernels=chips=sm_80 2>&1 | FileCheck %s --check-prefix=BROKEN

// NOWHERE: error: no CUDA toolkit in '{{.*}}.nothing': it lacks bin/ptxas, bin/fatbinary, nvvm/libdevice/libdevice.10.bc; install the CUDA toolkit, version 13: with pip, nvidia-cuda-nvcc and nvidia-nvvm; from NVIDIA's Debian packages, cuda-nvcc-13-0; or say where it is by --cuda-toolkit DIR or SNUG_CUDA_TOOLKIT
// PART: error: no CUDA toolkit in '{{.*}}.dir' (the value of CUDA_HOME): it lacks bin/fatbinary; install
// DENIED: error: cannot run {{.*}}.dir/bin/ptxas: {{.*}}; install
// BROKEN: error: {{.*}}.dir/bin/ptxas does not work, or knows none of the chips from sm_75 on; install

gpu.module @kernels {
  // expected-remark@+1 {{copies on sm_80}}
  gpu.func @copies() kernel {
    %none = nvgpu.device_async_create_group
    nvgpu.device_async_wait %none {numGroups = 0 : i32}
    gpu.return
  }
}

// -----

// What ptxas cannot read is reported at the kernel that has it.
gpu.module @kernels {
  gpu.func @before() kernel {
    gpu.return
  }
  // expected-error@+1 {{ptxas refuses kernel 'rubbish' for sm_80: }}
  gpu.func @rubbish() kernel {
    llvm.inline_asm has_side_effects "rubbish;", "" : () -> ()
    gpu.return
  }
  gpu.func @behind() kernel {
    gpu.return
  }
}

// -----

gpu.module @kernels {
  // expected-error@+1 {{ptxas refuses kernel 'large' for sm_80: Entry function 'large' uses too much shared data (0x10000 bytes, 0xc000 max)}}
  gpu.func @large(%out: memref<16384xf32>) workgroup(%s: memref<16384xf32, #gpu.address_space<workgroup>>) kernel {
    %i = gpu.thread_id x
    %x = memref.load %out[%i] : memref<16384xf32>
    memref.store %x, %s[%i] : memref<16384xf32, #gpu.address_space<workgroup>>
    gpu.barrier
    %c0 = arith.constant 0 : index
    %y = memref.load %s[%c0] : memref<16384xf32, #gpu.address_space<workgroup>>
    memref.store %y, %out[%i] : memref<16384xf32>
    gpu.return
  }
}

// -----

gpu.module @kernels {
  llvm.func @__nv_of_another_age(f32) -> f32
  // expected-error@+1 {{kernel 'caller' calls '__nv_of_another_age', which libdevice does not have}}
  gpu.func @caller(%f: memref<f32>) kernel {
    %x = memref.load %f[] : memref<f32>
    %y = llvm.call @__nv_of_another_age(%x) : (f32) -> f32
    memref.store %y, %f[] : memref<f32>
    gpu.return
  }
}

// -----

// What ptxas leaves undone is not passed over: no chip runs 16 blocks of 1024 threads on a multiprocessor.
// expected-warning@+1 {{ptxas for sm_80: Value of threads per SM for entry demanding is out of range. .minnctapersm will be ignored}}
gpu.module @kernels {
  // expected-remark@+1 {{demanding on sm_80}}
  gpu.func @demanding(%a: memref<64xf32>) kernel
      attributes {known_block_size = array<i32: 1024, 1, 1>, nvvm.minctasm = 16 : i32} {
    %i = gpu.thread_id x
    %x = memref.load %a[%i] : memref<64xf32>
    memref.store %x, %a[%i] : memref<64xf32>
    gpu.return
  }
}
