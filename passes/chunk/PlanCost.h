// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What chunk loops cost, in memory and time: the peak of a program with loops in it, and the time that they add. The
// peak counts live bytes per step, where a loop's steps are its members, each once; the arena packs the same live
// ranges.
#ifndef SNUG_PASSES_CHUNK_PLANCOST_H
#define SNUG_PASSES_CHUNK_PLANCOST_H

#include "passes/chunk/PlanTime.h"

namespace snug {

struct Peak {
  int64_t bytes = 0;
  int node = -1;
};

/// Bytes of the part of a buffer that exists where only a loop touches it; its first member there, the maker, says
/// along which dim. 0 for what is not in the arena.
int64_t sliceBytes(const ChunkProblem &problem, int buffer, const ChunkMember &maker, int64_t size);

/// Answers about the problem as it is at the last measure(). Bytes of the arena, workspaces included; seconds.
class PlanCost {
public:
  PlanCost(const ChunkProblem &problem, const Machine &machine, int threads)
      : problem(problem), time(problem, machine, threads) {
    measure();
  }

  /// Again, after the problem's nodes have changed their order.
  void measure();

  /// Live at the node without any loop.
  int64_t unchunked(int node) const { return profile[node]; }
  /// Live on both sides of the point just before the node, which may be the end of the program.
  int64_t crossing(int node) const { return crossingBytes[node]; }
  /// Inside of [loop.first, loop.last] with the loop applied. Outside of it nothing changes.
  Peak peakOf(const ChunkLoop &loop) const;

  double unchunkedTime() const { return time.unchunked(); }
  /// Time of the loop beyond that of its members on their own.
  double timeOf(const ChunkLoop &loop) const { return time.timeOf(loop); }

private:
  const ChunkProblem &problem;
  PlanTime time;
  std::vector<int64_t> profile, crossingBytes; // by node
};

} // namespace snug

#endif
