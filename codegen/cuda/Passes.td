// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CUDA_PASSES
#define SNUG_CODEGEN_CUDA_PASSES

include "mlir/Pass/PassBase.td"

def GpuToNvvm : Pass<"snug-gpu-to-nvvm", "::mlir::gpu::GPUModuleOp"> {
  let summary = "Lower the kernels of a gpu.module to NVVM, in one conversion";
  let description = [{
    gpu, nvgpu, memref, vector, math, arith and cf to the dialects llvm and nvvm. Kernels take bare pointers and numbers, and
    what is said of arguments (`llvm.noalias`, `llvm.readonly`, `llvm.align`) holds below. Upstream has a conversion each for gpu
    and nvgpu, of which only the first has indices of 32 bits; together they share one type converter. Besides:
    `known_block_size` is exact (`nvvm.reqntid`), what a GPU has an instruction for does not call libdevice,
    nvgpu.mma.sync takes bf16, and dynamic shared memory stands behind static shared memory, not over it.
    The attribute `snug.index_bits` of a kernel says how many bits its indices have; without it, the option does. scf and
    affine are lowered before.
  }];
  let options = [
    Option<"indexBits", "index-bits", "unsigned", "64",
           "Bits of an index: 32, where all offsets in elements are below 2^31, takes fewer registers than 64">
  ];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::vector::VectorDialect"];
}

def AssembleKernels : Pass<"snug-assemble-kernels", "::mlir::gpu::GPUModuleOp"> {
  let summary = "Lower the kernels of a gpu.module to machine code, and say what they take";
  let description = [{
    All the way to a fat binary, by `assembleKernels`, with ptxas of the CUDA toolkit: for checks of kernels without a GPU and
    without the rest of a model. A remark at each kernel and chip has its registers, bytes of static shared memory and of stack,
    and bytes spilled. The module is left lowered.
  }];
  let options = [
    ListOption<"chips", "chips", "std::string", "As ptxas names them: sm_80,sm_90">,
    Option<"toolkit", "toolkit", "std::string", "\"\"", "Folder of the CUDA toolkit; else it is searched for">,
    Option<"dump", "dump", "std::string", "\"\"", "Write LLVM IR and PTX to files whose names begin so">,
    Option<"output", "output", "std::string", "\"\"", "Write the fat binary to this file">
  ];
}
#endif
