// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// --stats: what was planned and what was measured.
#ifndef SNUG_TOOLS_SNUG_RUN_STATS_H
#define SNUG_TOOLS_SNUG_RUN_STATS_H

#include "tools/snug-run/Inputs.h"

#include <string>
#include <vector>

namespace snug {

struct Measurement {
  uint64_t arenaHighWater = 0, allocations = 0, rssGrowth = 0, libraryGrowth = 0;
  uint32_t threads = 0;
  bool isOnGpu = false;
  snug_device_memory device{}; // after the runs
  snug_tuning tuning{};        // after the runs; strings are the context's
  std::vector<double> milliseconds; // of the timed runs
};

double median(std::vector<double> values);

// What the ranks of a mesh tell each other.
struct RankStats {
  uint64_t plannedWeights, plannedArena, plannedTotal;
  uint64_t arenaHighWater, allocations, rssGrowth, libraryGrowth;
  double minMs, medianMs;
  uint64_t isOnGpu;
  snug_device_memory device;
};
RankStats rankStats(const snug_model *model, const Measurement &measured);

// `ranks`: of all, in order; empty for a model of one device.
void writeStats(const std::string &path, const snug_model *model, const RunTensors &tensors, const Measurement &measured,
                const std::vector<RankStats> &ranks);

} // namespace snug

#endif
