// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_INLINEFUNCTIONS_H
#define SNUG_PASSES_CANONICALIZE_INLINEFUNCTIONS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace snug {

// Puts the bodies of model-local functions in the place of the nodes that call them, with their attributes filled in.
// Nodes of a body are named CALLER/NODE from then on. Fails, with an error, where functions call each other in a circle.
mlir::LogicalResult inlineFunctions(mlir::ModuleOp module, mlir::func::FuncOp main);

} // namespace snug

#endif
