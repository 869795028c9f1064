// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Time model and choice of chunk plans.
#include "lib/solver/ChunkSelection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace snug {

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<PlanPoint> paretoFront(std::vector<PlanPoint> points) {
  points.erase(
      std::remove_if(points.begin(), points.end(), [](const PlanPoint &point) { return std::isnan(point.time); }),
      points.end());
  std::sort(points.begin(), points.end(), [](const PlanPoint &a, const PlanPoint &b) {
    return std::tie(a.time, a.peak, a.id) < std::tie(b.time, b.peak, b.id);
  });
  std::vector<PlanPoint> front;
  for (const PlanPoint &point : points)
    if (front.empty() || point.peak < front.back().peak)
      front.push_back(point);
  return front;
}

std::optional<PlanPoint> selectFastestThatFits(const std::vector<PlanPoint> &points, int64_t budget) {
  for (const PlanPoint &point : paretoFront(points))
    if (point.peak <= budget)
      return point;
  return std::nullopt;
}

// Time of the part `share` of the kernel's extent.
static double shareTime(const Machine &machine, const KernelCost &cost, double share, int threads) {
  threads = std::max(threads, 1);
  if (machine.bytes_per_s.empty() || machine.flops_per_s <= 0)
    return kInfinity;
  double bandwidth = machine.bytes_per_s[std::min<size_t>(threads, machine.bytes_per_s.size()) - 1];
  if (bandwidth <= 0)
    return kInfinity;
  double compute = cost.flops * share / (machine.flops_per_s * threads);
  double memory = (cost.bytes_streamed * share + cost.bytes_weights) / bandwidth;
  return machine.launch_s + std::max(compute, memory);
}

double kernelTime(const Machine &machine, const KernelCost &cost, int threads) {
  return shareTime(machine, cost, 1.0, threads);
}

double chunkedTime(const Machine &machine, const std::vector<KernelCost> &kernels, int64_t extent, int64_t chunk,
                   int threads) {
  if (extent < 1 || chunk < 1)
    return kInfinity;
  chunk = std::min(chunk, extent);
  int64_t tail = extent % chunk;
  double time = 0;
  for (const KernelCost &cost : kernels) {
    double whole = static_cast<double>(chunk) / static_cast<double>(extent);
    time += static_cast<double>(extent / chunk) * shareTime(machine, cost, whole, threads);
    if (tail != 0)
      time += shareTime(machine, cost, static_cast<double>(tail) / static_cast<double>(extent), threads);
  }
  return time;
}

std::vector<int64_t> candidateChunkSizes(int64_t extent, int64_t tile) {
  std::vector<int64_t> sizes;
  if (tile < 1 || extent <= tile)
    return sizes;
  int64_t previous = extent;
  while (previous > tile) {
    int64_t multiples = std::max<int64_t>(1, previous / 2 / tile);
    // A divisor leaves no smaller last iteration; one that is a quarter smaller is still a fair half. The scan is
    // bounded, so that the cost stays logarithmic for huge extents.
    int64_t lowest = std::max(multiples - multiples / 4, multiples - 4096);
    int64_t chosen = multiples;
    for (int64_t m = multiples; m >= lowest; --m)
      if (extent % (m * tile) == 0) {
        chosen = m;
        break;
      }
    previous = chosen * tile;
    sizes.push_back(previous);
  }
  return sizes;
}

} // namespace snug
