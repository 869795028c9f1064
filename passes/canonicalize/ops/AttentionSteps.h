// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_OPS_ATTENTIONSTEPS_H
#define SNUG_PASSES_CANONICALIZE_OPS_ATTENTIONSTEPS_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

struct AttentionInputs {
  LoweredValue q, k, v;             // [batch, heads, length, size]
  const LoweredValue *mask, *keyCount; // null where absent
  mlir::AffineExpr past;            // keys before the first row's own
  int64_t left, right;              // keys seen before and after a row's own; -1: all
  bool rowsOutside;                 // the result is [batch, length, heads * size]
};

// Defines outputs 0 and 3 of the attention node at hand.
llvm::LogicalResult attentionBySteps(Lowering &l, const AttentionInputs &in);

} // namespace snug

#endif
