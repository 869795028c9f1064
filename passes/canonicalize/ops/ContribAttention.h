// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What ONNX Runtime's ops of attention have in common.
#ifndef SNUG_PASSES_CANONICALIZE_OPS_CONTRIBATTENTION_H
#define SNUG_PASSES_CANONICALIZE_OPS_CONTRIBATTENTION_H

#include "passes/canonicalize/ops/Attention.h"
#include "passes/canonicalize/ops/Composer.h"

namespace snug {

inline constexpr llvm::StringLiteral kContribDomain = "com.microsoft";

// The node's scale, where it states one: 0 is none.
std::optional<double> scaleAttr(Lowering &l);
// [batch, rows, heads * size] with heads apart; emits an error where their number does not divide the last dim.
Heads splitHeads(Composer &c, LoweredValue value, int64_t count);
AttentionInputs inputsOf(const Heads &q, const Heads &k, const Heads &v);
// `count` elements of the last dim, from `from` on.
LoweredValue columns(Composer &c, LoweredValue value, mlir::AffineExpr from, mlir::AffineExpr count);
// Defines output 0, [batch, rows, heads * size], and the scores after softmax where output `scores` is asked for.
mlir::LogicalResult finishAttention(Composer &c, AttentionInputs in, int scores = -1);
// Entries put into caches of [batch, heads, most, size] from a place on that is data; `first` has one for each sequence.
LoweredValue filled(Composer &c, LoweredValue cache, const Heads &fresh, LoweredValue first);

} // namespace snug

#endif
