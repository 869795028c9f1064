// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CUDA_GPUTONVVM_H
#define SNUG_CODEGEN_CUDA_GPUTONVVM_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/StringRef.h"

namespace mlir {
class OpPassManager;
}

namespace snug::codegen {

// As LLVM calls what PTX is made for.
inline constexpr llvm::StringLiteral kGpuTriple = "nvptx64-nvidia-cuda";

// Attribute of a kernel (gpu.func): 32 or 64, the bits of its indices. 32 only where every offset in elements is below
// 2^31.
inline constexpr llvm::StringLiteral kIndexBits = "snug.index_bits";

// What every lowering of a gpu.module starts with, whatever it is lowered to: views become arithmetic, loops become
// branches. `kernels` runs on gpu.module.
void addFlattenKernelsPasses(mlir::OpPassManager &kernels);

// From a gpu.module as builders make it to one of llvm and nvvm alone.
void addGpuToNvvmPasses(mlir::OpPassManager &kernels);

} // namespace snug::codegen
#endif
