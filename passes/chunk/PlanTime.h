// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What chunk loops cost in time: of each kernel how full its tiles and threads are, and of each tensor that it reads or
// writes how much was moved since it was last touched, hence which cache still holds it.
#ifndef SNUG_PASSES_CHUNK_PLANTIME_H
#define SNUG_PASSES_CHUNK_PLANTIME_H

#include "passes/chunk/ChunkProblem.h"

namespace snug {

/// Answers about the problem as it is at the last measure(), in seconds.
class PlanTime {
public:
  PlanTime(const ChunkProblem &problem, const Machine &machine, int threads)
      : problem(problem), machine(machine), threads(threads) {}

  /// Again, after the problem's nodes have changed their order. `live`: bytes of the arena at each node.
  void measure(const std::vector<int64_t> &live);

  double unchunked() const;
  /// Time of the loop beyond that of its members on their own.
  double timeOf(const ChunkLoop &loop) const;

private:
  /// A tensor that a node touches, or a part of it.
  struct Touch {
    int key = 0;         ///< of its memory
    double bytes = 0;    ///< of the whole
    double distance = 0; ///< bytes moved since it was last touched, without any loop
    bool isWrite = false, isPanel = false;
    const ChunkUse *use = nullptr;
  };
  struct LastTouch;

  bool isFree(const ChunkNode &node) const;
  int keyOf(int value) const;
  KernelCost costOf(const ChunkNode &node, int dim, int64_t length) const;
  double turnTime(const ChunkLoop &loop, int64_t size, bool isFirst) const;

  const ChunkProblem &problem;
  const Machine &machine;
  int threads;
  std::vector<std::vector<Touch>> touches; // by node
  std::vector<double> times;               // by node, without loops
};

} // namespace snug

#endif
