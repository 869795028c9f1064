// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_FUSE_FUSEATTENTION_H
#define SNUG_PASSES_FUSE_FUSEATTENTION_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace snug {

/// Turns each attention into one snug_nn.attention that reads its operands where they lie; what is left without a use
/// is not erased. Works best before elementwise ops are fused with each other.
void fuseAttention(mlir::func::FuncOp function);

} // namespace snug

#endif
