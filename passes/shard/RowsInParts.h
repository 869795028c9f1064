// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SHARD_ROWSINPARTS_H
#define SNUG_PASSES_SHARD_ROWSINPARTS_H

#include "mlir/IR/Builders.h"

namespace snug {

/// Whether the op computes rows along its last dim of which devices may have parts each: a norm or softmax.
bool takesRowsInParts(mlir::Operation *op);

/// What the devices of a group send each other for one row in parts, in bytes that each of them sends.
double bytesOfRowInParts(mlir::Operation *op, int64_t groupSize);

/// The op on equal parts of its rows, one on each device along `axes`, which are `groupSize` together; `operands` are what
/// this device has of the op's. Moments are made of each part, and combined as those of samples are (Chan, Golub, LeVeque,
/// The American Statistician 37, 1983), in one all-gather; a softmax takes a maximum and a sum over the group.
mlir::Value computeRowsInParts(mlir::OpBuilder &builder, mlir::Operation *op, mlir::ValueRange operands,
                               llvm::ArrayRef<int64_t> axes, int64_t groupSize);

} // namespace snug

#endif
