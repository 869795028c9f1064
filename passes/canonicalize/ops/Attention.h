// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention, whatever op it is written as.
#ifndef SNUG_PASSES_CANONICALIZE_OPS_ATTENTION_H
#define SNUG_PASSES_CANONICALIZE_OPS_ATTENTION_H

#include "passes/canonicalize/Lowering.h"
#include <functional>

namespace snug {

// [batch, heads, length, size], or with rows outside of heads [batch, length, heads, size].
struct Heads {
  LoweredValue value;
  bool rowsOutside = false;
  mlir::AffineExpr length() const { return value.shape[rowsOutside ? 1 : 2]; }
  mlir::AffineExpr count() const { return value.shape[rowsOutside ? 2 : 1]; }
  mlir::AffineExpr size() const { return value.shape[3]; }
};

// softmax(masked(cap(scale * q k^T))) v, where a row without any key gives 0.
struct AttentionInputs {
  Heads q, k, v; // each head of k and v serves several of q, if there are fewer
  std::optional<double> scale; // 1 / sqrt(size)
  double softcap = 0;
  // Bools say what is seen, floats are added; each broadcasts to [batch, heads, rows, keys]. A last dim that is shorter hides
  // the keys behind it.
  LoweredValues masks;
  std::optional<LoweredValue> keyCount; // of each batch
  // Keys that a row sees before and after the one that it stands at; -1: all. Row s stands at key s + `past`, or `before`
  // of its batch; where neither is given and keys are counted, the last row stands at the last of those.
  int64_t left = -1, right = -1;
  std::optional<LoweredValue> before;
  mlir::AffineExpr past;
  // Which of the scores are asked for: 0 as scaled, 1 capped, 2 masked, 3 after softmax.
  std::optional<int64_t> scores;
  // What else is made of the scores before and after softmax.
  using Change = std::function<mlir::FailureOr<LoweredValue>(LoweredValue)>;
  Change changeScores, changeShares;
};

struct AttentionOutputs {
  LoweredValue y;      // as q is
  LoweredValue scores; // [batch, heads, rows, keys], where asked for
};

// A cache of [batch, heads, past, size] (null: none) and what is new, one after the other.
mlir::FailureOr<Heads> withPast(Lowering &l, LoweredValue *past, const Heads &fresh);

// Whether a mask of that length lacks the last of the keys. Where keys are counted they are a cache with room behind what is
// in use, which the mask may leave out; else an open length is taken to be that of the keys. Fails for a longer one.
mlir::FailureOr<bool> isShorterMask(Lowering &l, const AttentionInputs &in, mlir::AffineExpr length, mlir::AffineExpr keys);

// One snug_nn.attention, unless the scores are asked for or it has no form for the extents or the element type.
mlir::FailureOr<AttentionOutputs> attend(Lowering &l, AttentionInputs in);

// The same as products and a softmax; heads are all outside of rows.
mlir::FailureOr<AttentionOutputs> attentionBySteps(Lowering &l, const AttentionInputs &in);

} // namespace snug

#endif
