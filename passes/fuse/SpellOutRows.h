// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops on rows, said by simpler ones where a target does better with these.
#ifndef SNUG_PASSES_FUSE_SPELLOUTROWS_H
#define SNUG_PASSES_FUSE_SPELLOUTROWS_H

#include "dialects/nn/NnDialect.h"

namespace snug {

/// As the reductions of its rows, and what is computed of each element with them.
void spellOut(nn::SoftmaxOp op);
void spellOut(nn::NormOp op);

/// As scalar code, a point a row: one pass (scan), or a heap of what is kept (top_k).
void spellOut(nn::ScanOp op);
void spellOut(nn::TopKOp op);

} // namespace snug

#endif
