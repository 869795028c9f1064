// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TEST_GPU_LOWER_KERNELTABLE_H
#define SNUG_TEST_GPU_LOWER_KERNELTABLE_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/IR/Module.h"

namespace snug::sim {

// Adds `snug_sim_kernels` (KernelTable) to the translated module, of what snug-gpu-to-host left at the kernels of `from`.
void addKernelTable(mlir::ModuleOp from, llvm::Module &to);

} // namespace snug::sim
#endif
