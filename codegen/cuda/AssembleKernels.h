// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CUDA_ASSEMBLEKERNELS_H
#define SNUG_CODEGEN_CUDA_ASSEMBLEKERNELS_H

#include "codegen/Codegen.h"
#include "codegen/cuda/Toolkit.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace snug::codegen {

// Kernels for several chips. What cuModuleLoadData and cuLibraryLoadData take; the driver picks the chip's code.
struct GpuImage {
  llvm::SmallVector<char, 0> bytes;
  std::vector<KernelResources> resources; // of each kernel in the module's order, of each chip in the order given
  // The newest chip that stands for its successors (no suffix `a` or `f`), whose PTX is in the image for chips later
  // than all of them; empty if there is none.
  std::string ptxChip;
};

struct AssembleOptions {
  std::vector<std::string> chips; // sm_80, sm_90a...: at least one; CudaToolkit::check has passed them
  std::string dumpPrefix;         // if set: <prefix>.<chip>.ll (optimized LLVM IR), .ptx and .ptxas.txt are written
  bool verify = true;             // run MLIR's verifier between passes
};

// Lowers the kernels of `module` (which it changes) through NVVM, LLVM IR and PTX to machine code for each chip. Chips
// are compiled side by side where the context's multithreading is enabled; the bytes depend on the module, the chips
// and the toolkit alone. No file is left behind, however it ends. On failure: diagnostics at the kernel in question,
// and the exit code (3: a kernel is made with what a chip does not have; 5: a program of the toolkit cannot be run; 70:
// a kernel does not compile).
mlir::FailureOr<GpuImage> assembleKernels(mlir::gpu::GPUModuleOp module, const CudaToolkit &toolkit,
                                          const AssembleOptions &options, int &exitCode);

// Registers what kernels may be made of, and what assembleKernels needs besides: dialects, and their translation to
// LLVM IR.
void registerCudaDialects(mlir::DialectRegistry &registry);

} // namespace snug::codegen
#endif
