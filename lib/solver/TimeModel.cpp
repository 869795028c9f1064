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
// What of the shorter of computing and moving is not hidden behind the longer one. On a CPU kernels with tiles move a tile's
// operands and results before and after they compute it; a GPU has other blocks to go on with.
static constexpr double kExposed = 0.25, kExposedByTiles = 1;

// Rows and columns of the smaller ones of a GPU's tiles.
static constexpr int64_t kSmallTile = 64;

// Threads or multiprocessors that share the work.
static int workers(const Machine &machine, int threads) { return machine.isGpu() ? machine.processors : std::max(threads, 1); }

// The share of a GPU's tiles that is used. Those of 16 rows or columns are a kernel of their own, and blocks are of 64 or 128.
static double tileEfficiency(int64_t extent) {
  int64_t tile = extent <= 16 ? 16 : extent <= kSmallTile ? kSmallTile : 128;
  return static_cast<double>(extent) / static_cast<double>((extent + tile - 1) / tile * tile);
}

double rowEfficiency(const Machine &machine, int64_t rows) {
  if (rows <= 0)
    return 1;
  if (machine.isGpu())
    return tileEfficiency(rows);
  // As codegen tiles them: full tiles, then one of 4 rows, one of 2, one of 1.
  int64_t full = machine.vector_bits >= 512 ? 12 : 6, rest = rows % full, cost = rows - rest;
  for (int64_t tile : {int64_t(4), int64_t(2), int64_t(1)})
    for (; rest >= tile; rest -= tile)
      cost += kLeastRows;
  return static_cast<double>(rows) / static_cast<double>(cost);
}

double columnEfficiency(const Machine &machine, int64_t columns) {
  if (columns <= 0)
    return 1;
  if (machine.isGpu())
    return tileEfficiency(columns);
  int64_t width = 2 * std::max(machine.vector_bits / 32, 1);
  return static_cast<double>(columns) / static_cast<double>((columns + width - 1) / width * width);
}

double speedup(double pieces, int threads) {
  double t = std::max(threads, 1);
  if (pieces <= 1)
    return 1;
  double rounds = pieces <= kRangesPerThread * t ? std::ceil(pieces / t) : pieces / t;
  return pieces / rounds;
}

double piecesOf(const Machine &machine, double outer, int64_t rows, int64_t columns) {
  auto tiles = [&](int64_t down, int64_t across) {
    return outer * std::ceil(static_cast<double>(rows) / static_cast<double>(down)) *
           std::ceil(static_cast<double>(columns) / static_cast<double>(across));
  };
  double pieces = tiles(machine.tileRows(), machine.tileColumns());
  if (machine.isGpu() && pieces < machine.processors)
    pieces = std::min<double>(machine.processors, tiles(kSmallTile, kSmallTile));
  return pieces;
}

double packing(const Machine &machine, double packed, int64_t rows) {
  if (machine.isGpu() || packed <= 0)
    return 0;
  return packed * std::ceil(static_cast<double>(rows) / static_cast<double>(machine.tileRows()));
}

double kernelTime(const Machine &m, const KernelCost &cost, int threads) {
  double products = cost.isNarrow ? m.narrow_contraction_per_s : m.contraction_per_s;
  double attention = cost.isNarrow ? m.narrow_attention_per_s : m.attention_per_s;
  double alone = (cost.work.contraction / products + cost.work.attention / attention) /
                     (rowEfficiency(m, cost.rows) * columnEfficiency(m, cost.columns)) +
                 cost.work.transcendental / m.transcendental_per_s + cost.work.elementwise / m.elementwise_per_s +
                 cost.work.reduction / m.reduction_per_s + cost.work.strided / m.strided_per_s;
  int parts = workers(m, threads);
  double pieces = m.isGpu() ? cost.pieces : std::min(cost.pieces, std::ceil(std::max(alone, cost.near_s) / kGrainS));
  double faster = speedup(pieces, parts);
  double compute = alone / faster, move = cost.near_s / faster;
  size_t busy = std::min<size_t>(static_cast<size_t>(std::ceil(faster)), m.memory_bytes_per_s.size());
  move += cost.far_bytes / m.memory_bytes_per_s[busy - 1];
  double wait = cost.panel_bytes / std::min(m.panel_bytes_per_s * faster, m.memory_bytes_per_s[busy - 1]);
  return m.launch_s + (pieces > 1 && parts > 1 ? m.fork_s : 0) + wait + std::max(compute, move) +
         (cost.rows > 0 && !m.isGpu() ? kExposedByTiles : kExposed) * std::min(compute, move);
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
    double capacity = static_cast<double>(level.bytes) * (level.shared ? 1 : workers(machine, threads));
    double inside = transfer.bytes * residentShare(transfer.distance, capacity); // inner levels included
    double here = std::max(0.0, inside - (transfer.bytes - left));
    cost.near_s += here / level.bytes_per_s;
    left -= here;
  }
  (transfer.isPanel ? cost.panel_bytes : cost.far_bytes) += left * (transfer.isWrite && !machine.isGpu() ? 2 : 1);
}

} // namespace snug
