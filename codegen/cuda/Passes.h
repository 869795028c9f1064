// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CUDA_PASSES_H
#define SNUG_CODEGEN_CUDA_PASSES_H

#include "mlir/Pass/Pass.h"

namespace snug {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "codegen/cuda/Passes.h.inc"
} // namespace snug

#endif
