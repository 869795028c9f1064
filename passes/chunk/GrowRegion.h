// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Growth of a chunk region: from one node and one of its dims to all nodes of a window that the dim flows through.
#ifndef SNUG_PASSES_CHUNK_GROWREGION_H
#define SNUG_PASSES_CHUNK_GROWREGION_H

#include "passes/chunk/ChunkSearch.h"

#include <optional>

namespace snug {

/// Grows from dim `dim` of node `seed` inside of the nodes [first, last]. What the region needs whole is left before the
/// loop, what needs its results whole is left behind it. Nullopt where the dim leads to no legal loop.
std::optional<ChunkLoop> growRegion(const ChunkProblem &problem, int seed, int dim, int first, int last);

} // namespace snug

#endif
