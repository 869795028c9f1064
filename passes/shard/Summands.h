// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SHARD_SUMMANDS_H
#define SNUG_PASSES_SHARD_SUMMANDS_H

#include "mlir/IR/Operation.h"
#include "llvm/ADT/SmallBitVector.h"

namespace snug {

/// The sets of operands in which the op is linear together: of summands of all operands of a set, and of the others as a whole, it
/// makes summands of its result. Such an op needs no sum to be complete, so that sums which are added up are completed in one
/// collective, behind the addition. None for an op that has none, or several results.
llvm::SmallVector<llvm::SmallBitVector> linearOperands(mlir::Operation *op);

/// Whether the value is a tensor filled with zeros.
bool isZeroFill(mlir::Value tensor);

} // namespace snug

#endif
