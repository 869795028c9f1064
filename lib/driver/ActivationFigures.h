// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the planning of activations found out, as plain data for reports. Memory in bytes, times in milliseconds.
#ifndef SNUG_LIB_DRIVER_ACTIVATIONFIGURES_H
#define SNUG_LIB_DRIVER_ACTIVATIONFIGURES_H

#include <cstdint>
#include <string>
#include <vector>

namespace snug {

/// What the chunk search says of itself and of its plan (attributes of the module that it leaves).
struct ChunkFigures {
  double unchunkedMs = 0, chunkedMs = 0;
  int64_t ops = 0, blocks = 0, distinctBlocks = 0, candidates = 0;
  double searchMs = 0;        ///< of all searches made, on the clock
  int64_t lb1 = -1, lb2 = -1; ///< no order of whole ops, no plan that computes only cheap ops anew needs an arena below this
};

/// One point of the curve: a budget for the arena, and what keeping it costs.
struct FitPoint {
  int64_t budget = 0;           ///< with which the plan is found
  int64_t arena = 0;            ///< what the plan needs, no more than that
  double ms = 0;                ///< as modelled
  double slowdown = 1;          ///< modelled time over that of the unchunked program
  double measuredMs = -1;       ///< median of runs on this machine; -1: not measured
  double measuredSlowdown = -1; ///< measured beside the unchunked program
};

struct WhatFits {
  std::vector<FitPoint>
      points;            ///< of falling budgets, from the arena without chunk loops to the least that can be reached
  std::string peakNode;  ///< the ONNX node where the unchunked program needs most
  std::string leastNode; ///< the one that keeps it from getting smaller
};

} // namespace snug

#endif
