// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CUDA_PTXASOUTPUT_H
#define SNUG_CODEGEN_CUDA_PTXASOUTPUT_H

#include "codegen/cuda/AssembleKernels.h"

namespace snug::codegen {

// What `ptxas -v` says of each kernel of `module`, in the module's order. Its warnings become warnings at the module. A
// diagnostic and failure where it says nothing of one.
mlir::LogicalResult readResources(mlir::gpu::GPUModuleOp module, const std::string &chip, llvm::StringRef output,
                                  std::vector<KernelResources> &resources);

// PTX in which these kernels ask for one block on a processor at a time, and so may have all of its registers.
std::string withoutOccupancy(llvm::StringRef ptx, llvm::ArrayRef<llvm::StringRef> kernels);

// Emits an error at the kernel that ptxas names, or whose line of `ptx` it names; at the module if it does neither.
// Always failure.
mlir::LogicalResult reportRefusal(mlir::gpu::GPUModuleOp module, const std::string &chip, llvm::StringRef ptx,
                                  llvm::StringRef output);

} // namespace snug::codegen
#endif
