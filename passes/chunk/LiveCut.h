// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Bytes that are live at some moment of any plan, whatever it cuts, and in whatever order.
#ifndef SNUG_PASSES_CHUNK_LIVECUT_H
#define SNUG_PASSES_CHUNK_LIVECUT_H

#include "passes/chunk/ChunkProblem.h"

namespace snug {

/// Of any plan that computes each element of the arena's tensors once, but for those of cheap nodes and where the
/// slices of a loop overlap; sums that may be made in parts may be. docs/budget.md says why.
int64_t leastLive(const ChunkProblem &problem);

} // namespace snug

#endif
