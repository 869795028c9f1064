// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Growth of a chunk region: from one node and one of its dims to all nodes of a window that the dim flows through.
#ifndef SNUG_PASSES_CHUNK_GROWREGION_H
#define SNUG_PASSES_CHUNK_GROWREGION_H

#include "passes/chunk/ChunkProblem.h"

#include <functional>
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
  /// If given, asked of a region before what takes longest is checked: of one that is not wanted there is no loop.
  std::function<bool(const ChunkLoop &)> isWanted = nullptr;
};

struct GrownRegion {
  std::optional<ChunkLoop> loop; ///< none where the dim leads to no legal loop that is wanted
  bool overlaps = false;         ///< it leads to one with a halo
  /// The multiple of the unit with which more nodes would have joined, as heads of 16 columns do in pairs where columns
  /// come in panels of 32; else 1.
  int64_t coarser = 1;
  /// Nodes before or behind the window are in touch with the region. Where not, a larger window to that side grows the
  /// same.
  bool opensBefore = false, opensBehind = false;
};

/// Grows from dim `dim` of node `seed` inside of the nodes [first, last]. What the region needs whole is left before
/// the loop, what needs its results whole is left behind it.
GrownRegion growRegion(const ChunkProblem &problem, int seed, int dim, int first, int last,
                       const GrowOptions &options = {});

} // namespace snug

#endif
