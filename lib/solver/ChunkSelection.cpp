// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Choice of chunk plans.
#include "lib/solver/ChunkSelection.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace snug {

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
