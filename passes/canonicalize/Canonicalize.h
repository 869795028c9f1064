// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The stage `canonicalize` as a whole: from the imported module to named structured ops on tensors.
#ifndef SNUG_PASSES_CANONICALIZE_CANONICALIZE_H
#define SNUG_PASSES_CANONICALIZE_CANONICALIZE_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include <string>

namespace snug {

// Checks that inputs are tensors of known rank, and tensors of what is computed with: numbers. Emits an error for each
// value that is not. To be asked before inferDims() and the passes.
mlir::LogicalResult checkTypes(mlir::ModuleOp module);

// The passes of the stage; `dims` are definitions of all dims, as inferDims() completes them.
void addCanonicalizePasses(mlir::OpPassManager &pm, llvm::ArrayRef<std::string> dims);

} // namespace snug

#endif
