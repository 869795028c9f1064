// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/ChunkSelection.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace snug;

namespace {

std::vector<int32_t> idsOf(const std::vector<PlanPoint> &points) {
  std::vector<int32_t> ids;
  for (const PlanPoint &point : points)
    ids.push_back(point.id);
  return ids;
}

TEST(ChunkSelection, ParetoFrontDropsDominatedAndEqualPoints) {
  std::vector<PlanPoint> points{{3, 10, 0}, {1, 30, 1}, {2, 30, 2}, {2, 20, 4}, {2, 20, 3}, {3, 25, 5}, {NAN, 1, 6}};
  EXPECT_EQ(idsOf(paretoFront(points)), (std::vector<int32_t>{1, 3, 0}));
  EXPECT_TRUE(paretoFront({}).empty());
}

TEST(ChunkSelection, SelectsTheFastestThatFits) {
  std::vector<PlanPoint> points{{3, 10, 0}, {1, 30, 1}, {2, 20, 2}};
  EXPECT_EQ(selectFastestThatFits(points, 30)->id, 1);
  EXPECT_EQ(selectFastestThatFits(points, 29)->id, 2);
  EXPECT_EQ(selectFastestThatFits(points, 10)->id, 0);
  EXPECT_FALSE(selectFastestThatFits(points, 9));
}

TEST(ChunkSelection, CandidateChunksHalveAndPreferDivisors) {
  EXPECT_EQ(candidateChunkSizes(4096, 64), (std::vector<int64_t>{2048, 1024, 512, 256, 128, 64}));
  // 768 = 12 * 64: halves 6, 3 and the tile.
  EXPECT_EQ(candidateChunkSizes(768, 64), (std::vector<int64_t>{384, 192, 64}));
  // 90 * 8: half is 45, then 22 gives way to 18 and 4 to 3, which divide 90.
  EXPECT_EQ(candidateChunkSizes(720, 8), (std::vector<int64_t>{360, 144, 72, 24, 8}));
  EXPECT_EQ(candidateChunkSizes(100, 64), (std::vector<int64_t>{64}));
  EXPECT_TRUE(candidateChunkSizes(64, 64).empty());
  EXPECT_TRUE(candidateChunkSizes(10, 0).empty());
  EXPECT_TRUE(candidateChunkSizes(-5, 4).empty());
}

TEST(ChunkSelection, CandidateChunksAreMultiplesInFallingOrderForAnyExtent) {
  for (int64_t extent : {int64_t(65), int64_t(1000), int64_t(12347), std::numeric_limits<int64_t>::max()}) {
    std::vector<int64_t> sizes = candidateChunkSizes(extent, 64);
    ASSERT_FALSE(sizes.empty());
    EXPECT_LE(sizes.size(), 63u);
    EXPECT_EQ(sizes.back(), 64);
    int64_t previous = extent;
    for (int64_t size : sizes) {
      EXPECT_EQ(size % 64, 0);
      EXPECT_LT(size, previous);
      previous = size;
    }
  }
}

} // namespace
