// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SHARD_OPENEXTENTS_H
#define SNUG_PASSES_SHARD_OPENEXTENTS_H

#include "mlir/IR/Block.h"
#include "mlir/IR/OpDefinition.h"

namespace snug {

/// Has a value for the extent of each open dim of the block's arguments, one for all that are named alike (`snug.dims`): to be
/// done before others are asked for.
void sayExtents(mlir::Block &block);

/// The extent of a tensor's dim: a number, or the value that says it, which is the same one for all tensors that follow it.
/// Null where no value says it.
mlir::OpFoldResult extentOf(mlir::Value tensor, int64_t dim);

/// Whether `size` is the extent of this dim.
bool isExtent(mlir::OpFoldResult size, mlir::Value tensor, int64_t dim);

} // namespace snug

#endif
