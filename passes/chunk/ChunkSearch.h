// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The chunk search: the chunk loops that bring a program's peak below a budget at the least cost of time. Deterministic.
// Memory in bytes, time in seconds.
#ifndef SNUG_PASSES_CHUNK_CHUNKSEARCH_H
#define SNUG_PASSES_CHUNK_CHUNKSEARCH_H

#include "passes/chunk/ChunkProblem.h"

#include <memory>

namespace snug {

struct ChunkPlan {
  std::vector<int> order;       ///< of the problem's nodes; indices here are places in it
  std::vector<ChunkLoop> loops; ///< by position
  int64_t unchunkedPeak = 0, peak = 0;
  int peakNode = -1; ///< where the peak is
  double unchunkedTime = 0, time = 0;
  int64_t ops = 0;            ///< that compute
  int64_t blocks = 0;         ///< stretches of the program that got a loop
  int64_t distinctBlocks = 0; ///< of them, those unlike all before: equal ones are searched once
  int64_t candidates = 0;     ///< loops of a size that were looked at on the way
};

/// Plans for one problem. What does not depend on the budget is found out once, so that the second plan costs little;
/// a plan does not depend on those asked for before it. Not for several threads at once.
class ChunkSearch {
public:
  /// The machine must outlive the search.
  ChunkSearch(ChunkProblem problem, const Machine &machine, int threads);
  ~ChunkSearch();

  /// The fastest plan found whose peak is within the budget, else the one with the least peak found. A budget that is no
  /// less than the peak of `plan(0, levels)` is always met. Loops are nested `levels` deep at most, and with more than
  /// one level may compute cheap values anew in each iteration. Loops inside of a loop are not in the plan, but found
  /// again by searching its body within its bodyPeak.
  const ChunkPlan &plan(int64_t budget, int levels = 2);

  class Impl;

private:
  std::unique_ptr<Impl> impl;
};

} // namespace snug

#endif
