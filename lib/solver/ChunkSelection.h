// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Selection of chunk plans: the time model, candidate chunk sizes, and the choice on the Pareto front of time and peak.
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

/// A machine as the roofline model sees it.
struct Machine {
  double flops_per_s = 0;          ///< of one thread, in operations/s (a multiply-add counts two)
  std::vector<double> bytes_per_s; ///< [t-1]: memory bandwidth of t threads together; more threads get the last entry
  double launch_s = 0;             ///< fixed cost of starting one kernel
};

/// What one kernel does over the whole extent.
struct KernelCost {
  double flops = 0;          ///< operations; scale with the chunk
  double bytes_streamed = 0; ///< activations read and written; scale with the chunk
  double bytes_weights = 0;  ///< read in full by every iteration, whatever the chunk
};

/// Roofline (Williams, Waterman, Patterson, CACM 2009): launch + max(flops / peak, bytes / bandwidth), in seconds.
/// `threads` below 1 counts as 1. A machine without bandwidth entries or flops_per_s gives infinity.
double kernelTime(const Machine &machine, const KernelCost &cost, int threads);

/// Time of a chunk loop of chunk size `chunk` over `extent`: T(c) = ceil(N/c) * (sum over kernels of roofline(c) +
/// launch), where the last iteration counts with its true size and every iteration reads the weights again. This is
/// what makes small chunks of weight-heavy kernels slow. chunk >= extent is the unchunked time. Infinity if extent or
/// chunk is below 1.
double chunkedTime(const Machine &machine, const std::vector<KernelCost> &kernels, int64_t extent, int64_t chunk,
                   int threads);

/// Chunk sizes worth trying, largest first: multiples of `tile` below `extent`, each about half of the one before, a
/// divisor of the extent where one is near, the tile last. Empty if nothing can be chunked (extent <= tile, or an
/// argument below 1).
std::vector<int64_t> candidateChunkSizes(int64_t extent, int64_t tile);

} // namespace snug

#endif // SNUG_LIB_SOLVER_CHUNKSELECTION_H
