// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CUDA_EMITPTX_H
#define SNUG_CODEGEN_CUDA_EMITPTX_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include <string>

namespace snug::codegen {
struct CudaToolkit;

// PTX of a gpu.module of llvm and nvvm for one chip, by LLVM's NVPTX target: what it calls of libdevice is linked in,
// and all is optimized at O3. CudaToolkit::find must have come before. Safe to call from several threads on one module.
// If `dumpPath` is set, the optimized LLVM IR is written there. On failure: a diagnostic.
mlir::FailureOr<std::string> emitPtx(mlir::gpu::GPUModuleOp module, const CudaToolkit &toolkit, const std::string &chip,
                                     const std::string &dumpPath);

} // namespace snug::codegen
#endif
