// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "CheckTable.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace snug;
using namespace snug::test;

namespace {

struct Bandwidths {
  int64_t d1, d2;
  double first, firstRails, second, secondRails; // GB/s, 0: no links are used
};

void expectBandwidths(const char *id, const std::vector<Bandwidths> &all) {
  for (const Row &row : checkTable())
    if (std::string(row.id) == id)
      for (const Bandwidths &b : all)
        for (bool rails : {false, true})
          for (int axis : {1, 2}) {
            Topology t = topologyOf(row.levels, rails);
            double bandwidth = ringBandwidth(t, ringUse(t, {b.d1, b.d2}, axis));
            double expected = 1e9 * (axis == 1 ? rails ? b.firstRails : b.first : rails ? b.secondRails : b.second);
            EXPECT_DOUBLE_EQ(std::isinf(bandwidth) ? 0 : bandwidth, expected)
                << id << " " << b.d1 << "x" << b.d2 << " axis " << axis << (rails ? " rails" : "");
          }
}

TEST(MeshRings, ShareLinksAsTheTableSays) {
  expectBandwidths("T3",
                   {{8, 1, 24, 48, 0, 0}, {4, 2, 24, 24, 300, 300}, {2, 4, 24, 24, 24, 48}, {1, 8, 0, 0, 24, 48}});
  expectBandwidths("T4",
                   {{8, 1, 24, 24, 0, 0}, {4, 2, 12, 12, 300, 300}, {2, 4, 12, 12, 24, 24}, {1, 8, 0, 0, 24, 24}});
  expectBandwidths(
      "T5", {{8, 1, 25, 25, 0, 0}, {4, 2, 12.5, 12.5, 300, 300}, {2, 4, 6.25, 6.25, 300, 300}, {1, 8, 0, 0, 25, 25}});
  expectBandwidths("T6", {{16, 1, 25, 25, 0, 0},
                          {8, 2, 12.5, 12.5, 300, 300},
                          {4, 4, 6.25, 6.25, 300, 300},
                          {2, 8, 3.125, 3.125, 300, 300},
                          {1, 16, 0, 0, 25, 25}});
  expectBandwidths("T7", {{16, 1, 50, 400, 0, 0},
                          {8, 2, 50, 200, 450, 450},
                          {4, 4, 50, 100, 450, 450},
                          {2, 8, 50, 50, 450, 450},
                          {1, 16, 0, 0, 50, 400}});
  expectBandwidths("T8", {{16, 1, 25, 25, 0, 0},
                          {8, 2, 12.5, 12.5, 300, 300},
                          {4, 4, 6.25, 6.25, 300, 300},
                          {2, 8, 6.25, 6.25, 25, 25},
                          {1, 16, 0, 0, 25, 25}});
  expectBandwidths("T11", {{8, 1, 20, 20, 0, 0}, {4, 2, 10, 10, 24, 24}, {2, 4, 5, 5, 24, 24}, {1, 8, 0, 0, 20, 20}});
}

TEST(MeshRings, UseOfLevelsIsCounted) {
  Topology t = topologyOf({{2, 25, 25}, {4, 300, 300}}, true);
  std::vector<LevelUse> use = ringUse(t, {4, 2}, 1); // two rings, two members of each in a node
  EXPECT_EQ(use[0].rings, 2);
  EXPECT_EQ(use[0].members, 2);
  EXPECT_EQ(use[1].rings, 1);
  EXPECT_EQ(use[1].members, 1);
  use = ringUse(t, {4, 2}, 2); // within the nodes
  EXPECT_EQ(use[0].rings, 0);
  EXPECT_EQ(use[1].rings, 1);
  use = ringUse(t, {1, 8}, 1);
  EXPECT_EQ(use[0].rings + use[1].rings, 0);
}

TEST(MeshRings, AMeshThatCutsAcrossUnitsCrossesMoreOfThem) {
  Topology t = topologyOf({{2, 10, 30}, {3, 100, 100}}, false); // two units of three, rings of two
  std::vector<LevelUse> use = ringUse(t, {3, 2}, 2);            // the middle pair lies in both units
  EXPECT_EQ(use[0].rings, 1);
  EXPECT_EQ(use[0].members, 1);
  EXPECT_DOUBLE_EQ(ringBandwidth(t, use), 10e9);
  use = ringUse(t, {2, 3}, 1); // all three pairs do
  EXPECT_EQ(use[0].rings, 3);
  EXPECT_DOUBLE_EQ(ringBandwidth(t, use), 10e9);
  t.levels[0].group_bytes_per_s = 15e9;
  EXPECT_DOUBLE_EQ(ringBandwidth(t, use), 5e9);
}

TEST(MeshRings, LatencyIsThatOfTheSlowestLevelCrossed) {
  Topology t = topologyOf({{2, 25, 25}, {4, 300, 300}}, false);
  t.levels[0].latency_s = 8e-6;
  t.levels[1].latency_s = 3e-6;
  EXPECT_EQ(ringLatency(t, ringUse(t, {2, 4}, 1)), 8e-6);
  EXPECT_EQ(ringLatency(t, ringUse(t, {2, 4}, 2)), 3e-6);
  EXPECT_EQ(ringLatency(t, ringUse(t, {8, 1}, 1)), 8e-6);
  EXPECT_EQ(ringLatency(t, ringUse(t, {8, 1}, 2)), 0);
}

TEST(MeshRings, AllDevicesAreTheSameRingAlongEitherAxis) {
  for (const Row &row : checkTable())
    for (bool rails : {false, true}) {
      Topology t = topologyOf(row.levels, rails);
      EXPECT_EQ(ringBandwidth(t, ringUse(t, {t.size(), 1}, 1)), ringBandwidth(t, ringUse(t, {1, t.size()}, 2)));
    }
}

} // namespace
