// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The order of what is in a chunk loop's body.
#ifndef SNUG_PASSES_CHUNK_ORDERMEMBERS_H
#define SNUG_PASSES_CHUNK_ORDERMEMBERS_H

#include "passes/chunk/PlanCost.h"

namespace snug {

/// Puts the members in another order where the loop then has a lower peak: what is best for whole tensors need not be
/// best for slices, of which those with a halo or without the cut dim are larger than others; and a program that comes
/// from elsewhere may be in any order. Who reads what and who writes over what is kept.
void orderMembers(const ChunkProblem &problem, const PlanCost &cost, ChunkLoop &loop);

} // namespace snug

#endif
