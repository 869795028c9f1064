// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention of rows to keys of which each device has a part: each attends to its own, and says how much its rows saw.
#ifndef SNUG_PASSES_SHARD_KEYSINPARTS_H
#define SNUG_PASSES_SHARD_KEYSINPARTS_H

#include "dialects/nn/NnDialect.h"

namespace snug {

/// What rows saw of keys: their largest scores, sums of weights, and what came of them, in f32.
struct RowsSeen {
  mlir::Value most, total, values;
};
RowsSeen seenBy(nn::AttentionOp part);

/// What the rows of both, parts of those of `op`, saw together.
RowsSeen seenTogether(mlir::OpBuilder &builder, mlir::Location loc, const RowsSeen &a, const RowsSeen &b, nn::AttentionOp op);

/// What comes of it, as `op` stores it. With its `zero_if_masked` rows that saw nothing give 0, else NaN.
mlir::Value resultOf(mlir::OpBuilder &builder, mlir::Location loc, const RowsSeen &seen, nn::AttentionOp op);

/// The attention on these operands, which are those of `op` or parts of them, with the statistics of its rows.
nn::AttentionOp attendToPart(mlir::OpBuilder &builder, nn::AttentionOp op, mlir::ValueRange operands);

/// Of an operand what belongs to `count` keys from `first` on.
mlir::Value keysOf(mlir::OpBuilder &builder, nn::AttentionOp op, unsigned operand, mlir::Value value, mlir::OpFoldResult first,
                   mlir::OpFoldResult count);

/// This device's summand of the attention to all keys: what it saw, by the share that its keys have of the weights of all
/// (Milakov and Gimelshein, arXiv 1805.02867). One all-gather of two numbers a row over the devices along `axes`, which are
/// `groupSize` together. With `zeroIfMasked` rows that saw nothing give 0, else NaN.
mlir::Value summandOfAll(mlir::OpBuilder &builder, nn::AttentionOp part, llvm::ArrayRef<int64_t> axes, int64_t groupSize,
                         bool zeroIfMasked);

/// What a device sends for one row, in bytes.
inline double bytesOfKeysInParts(int64_t groupSize) { return 2 * sizeof(float) * static_cast<double>(groupSize - 1); }

} // namespace snug

#endif
