// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Growth of a chunk region: from one node and one of its dims to all nodes of a window that the dim flows through.
#ifndef SNUG_PASSES_CHUNK_GROWREGION_H
#define SNUG_PASSES_CHUNK_GROWREGION_H

#include "passes/chunk/ChunkProblem.h"

#include <optional>

namespace snug {

struct GrowOptions {
  /// What the region needs whole and is cheap is computed by each iteration, not before the loop: that takes time, and
  /// room in the body only.
  bool recomputes = false;
  /// Not only slices side by side: what the region needs with a halo is computed by each iteration as far as it reaches,
  /// not before the loop, and sums are made in parts.
  bool allKinds = false;
  /// With all kinds: halos are carried from one iteration to the next where that can be.
  bool carries = false;
  int64_t unit = 1; ///< iterations of the seed's dim for one of the loop
};

/// Grows from dim `dim` of node `seed` inside of the nodes [first, last]. What the region needs whole is left before
/// the loop, what needs its results whole is left behind it. Nullopt where the dim leads to no legal loop. `coarser`,
/// if given, is set to the multiple of the unit with which more nodes would have joined, as heads of 16 columns do in
/// pairs where columns come in panels of 32; else to 1.
std::optional<ChunkLoop> growRegion(const ChunkProblem &problem, int seed, int dim, int first, int last,
                                    const GrowOptions &options = {}, int64_t *coarser = nullptr);

/// Whether the loop may have chunks of this size: its last iteration, too, must have something new to compute.
bool mayHaveSize(const ChunkProblem &problem, const ChunkLoop &loop, int64_t size);

} // namespace snug

#endif
