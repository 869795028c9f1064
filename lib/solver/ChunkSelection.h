// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Selection of chunk plans: candidate chunk sizes, and the choice on the Pareto front of time and peak.
// Pure functions without state, for any thread; times in seconds, memory in bytes.
#ifndef SNUG_LIB_SOLVER_CHUNKSELECTION_H
#define SNUG_LIB_SOLVER_CHUNKSELECTION_H

#include <cstdint>
#include <optional>
#include <vector>

namespace snug {

/// What one plan costs: modelled time (s) and peak memory (bytes). `id` is the caller's.
struct PlanPoint {
  double time = 0;
  int64_t peak = 0;
  int32_t id = 0;
};

/// The points that no other beats in time and peak, by rising time (and so falling peak). Of equal points the one with
/// the lowest id stays. Points whose time is not a number are dropped.
std::vector<PlanPoint> paretoFront(std::vector<PlanPoint> points);

/// The fastest point with peak <= budget; of equally fast ones the smallest, then the lowest id. Nullopt if none fits.
std::optional<PlanPoint> selectFastestThatFits(const std::vector<PlanPoint> &points, int64_t budget);

/// Chunk sizes worth trying, largest first: multiples of `tile` below `extent`, each about half of the one before, a
/// divisor of the extent where one is near, the tile last. Empty if nothing can be chunked (extent <= tile, or an
/// argument below 1).
std::vector<int64_t> candidateChunkSizes(int64_t extent, int64_t tile);

} // namespace snug

#endif // SNUG_LIB_SOLVER_CHUNKSELECTION_H
