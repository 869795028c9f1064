// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One way from a program without loops to one within a budget: loop by loop, always at the highest peak.
#ifndef SNUG_PASSES_CHUNK_DESCENT_H
#define SNUG_PASSES_CHUNK_DESCENT_H

#include "passes/chunk/SearchState.h"

namespace snug {

/// Loops nested `levels` deep at most; with `allKinds` those with halos and sums in parts, too. The plan may need more
/// than the budget; it is then the one with the least peak that was found this way. With two levels, what each iteration
/// computes anew is looked at, too.
ChunkPlan descend(SearchMemory &memory, int64_t budget, int levels, bool allKinds);

} // namespace snug

#endif
