// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/TimeModel.h"

#include <algorithm>
#include <cmath>

namespace snug {

// A thread is woken for no less work than this, and gets its share in at most so many parts (runtime/cpu).
static constexpr double kGrainS = 20e-6;
static constexpr double kRangesPerThread = 4;
// What a tile takes at least, in rows: fewer than 4 are chains of sums that wait for themselves, and for 4 the loads of
// the other operand take a part.
static constexpr int64_t kLeastRows = 5;
// What of the shorter of computing and moving is not hidden behind the longer one. Kernels with tiles move a tile's
// operands and results before and after they compute it.
static constexpr double kExposed = 0.25, kExposedByTiles = 1;

double rowEfficiency(const Machine &machine, int64_t rows) {
  if (rows <= 0)
    return 1;
  // As codegen tiles them: full tiles, then one of 4 rows, one of 2, one of 1.
  int64_t full = machine.vector_bits >= 512 ? 12 : 6, rest = rows % full, cost = rows - rest;
  for (int64_t tile : {int64_t(4), int64_t(2), int64_t(1)})
    for (; rest >= tile; rest -= tile)
      cost += kLeastRows;
  return static_cast<double>(rows) / static_cast<double>(cost);
}

double columnEfficiency(const Machine &machine, int64_t columns) {
  int64_t width = 2 * std::max(machine.vector_bits / 32, 1);
  return columns <= 0 ? 1 : static_cast<double>(columns) / static_cast<double>((columns + width - 1) / width * width);
}

double speedup(double pieces, int threads) {
  double t = std::max(threads, 1);
  if (pieces <= 1)
    return 1;
  double rounds = pieces <= kRangesPerThread * t ? std::ceil(pieces / t) : pieces / t;
  return pieces / rounds;
}

double kernelTime(const Machine &m, const KernelCost &cost, int threads) {
  double alone = (cost.work.contraction / m.contraction_per_s + cost.work.attention / m.attention_per_s) /
                     (rowEfficiency(m, cost.rows) * columnEfficiency(m, cost.columns)) +
                 cost.work.transcendental / m.transcendental_per_s + cost.work.elementwise / m.elementwise_per_s +
                 cost.work.reduction / m.reduction_per_s + cost.work.strided / m.strided_per_s;
  double pieces = std::min(cost.pieces, std::ceil(std::max(alone, cost.near_s) / kGrainS));
  double faster = speedup(pieces, threads);
  double compute = alone / faster, move = cost.near_s / faster;
  size_t busy = std::min<size_t>(static_cast<size_t>(std::ceil(faster)), m.memory_bytes_per_s.size());
  move += cost.far_bytes / m.memory_bytes_per_s[busy - 1];
  double wait = cost.panel_bytes / std::min(m.panel_bytes_per_s * faster, m.memory_bytes_per_s[busy - 1]);
  return m.launch_s + (pieces > 1 && threads > 1 ? m.fork_s : 0) + wait + std::max(compute, move) +
         (cost.rows > 0 ? kExposedByTiles : kExposed) * std::min(compute, move);
}

double residentShare(double distance, double capacity) {
  double x = distance / capacity;
  if (x <= 1)
    return 1;
  // Of what is touched in turn again and again, a cache that drops any line keeps the share h = exp(-(1 - h) x).
  double h = std::exp(-x);
  for (int i = 0; i < 12; ++i)
    h = std::exp(-(1 - h) * x);
  return h;
}

void addTransfer(const Machine &machine, const Transfer &transfer, int threads, KernelCost &cost) {
  double left = transfer.bytes;
  for (const CacheLevel &level : machine.caches) {
    double capacity = static_cast<double>(level.bytes) * (level.shared ? 1 : std::max(threads, 1));
    double inside = transfer.bytes * residentShare(transfer.distance, capacity); // inner levels included
    double here = std::max(0.0, inside - (transfer.bytes - left));
    cost.near_s += here / level.bytes_per_s;
    left -= here;
  }
  (transfer.isPanel ? cost.panel_bytes : cost.far_bytes) += left * (transfer.isWrite ? 2 : 1);
}

} // namespace snug
