// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What no plan of a kind can go below, to tell how far a plan is from the limit. Kernel workspaces are left out, so that
// these stay bounds.
#ifndef SNUG_PASSES_CHUNK_LOWERBOUNDS_H
#define SNUG_PASSES_CHUNK_LOWERBOUNDS_H

#include "passes/chunk/ChunkProblem.h"

namespace snug {

/// Bytes of the arena.
struct LowerBounds {
  int64_t wholeOps = 0; ///< LB1: any order of whole ops, without recomputation
  int64_t chunked = 0;  ///< LB2: any plan of chunk loops that computes only cheap ops, and what slices share, anew
};

LowerBounds lowerBounds(const ChunkProblem &problem);

} // namespace snug

#endif
