// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "CheckTable.h"

#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <random>

using namespace snug;
using namespace snug::test;

namespace {

const char *const kLevels = R"({"version": 1, "name": "two nodes", "rails": false, "levels": [
  {"fanout": 2, "p2p_gbps": 25, "group_gbps": 50, "latency_us": 8},
  {"fanout": 4, "p2p_gbps": 300, "group_gbps": 300.5, "latency_us": 3}]})";

const char *const kMatrix = R"({"version": 1, "name": "pair", "rails": true, "p2p_gbps": [[0, 12], [13, 0]],
  "latency_us": [[0, 5], [4, 0]]})";

std::string replaced(std::string text, const std::string &from, const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::string problemOf(const std::string &text) {
  std::string error;
  EXPECT_FALSE(parseTopology(text, error)) << text;
  return error;
}

Topology parsed(const std::string &text) {
  std::string error;
  std::optional<Topology> t = parseTopology(text, error);
  EXPECT_TRUE(t) << error;
  return t.value_or(Topology());
}

TEST(Topology, LevelsAreReadAndWrittenAsTheyWere) {
  Topology t = parsed(kLevels);
  EXPECT_EQ(t.size(), 8);
  EXPECT_EQ(t.name, "two nodes");
  EXPECT_FALSE(t.rails);
  EXPECT_DOUBLE_EQ(t.levels[0].p2p_bytes_per_s, 25e9);
  EXPECT_DOUBLE_EQ(t.levels[0].group_bytes_per_s, 50e9);
  EXPECT_DOUBLE_EQ(t.levels[0].latency_s, 8e-6);
  EXPECT_DOUBLE_EQ(t.levels[1].group_bytes_per_s, 300.5e9);
  std::string text = topologyText(t);
  EXPECT_EQ(topologyText(parsed(text)), text);
  EXPECT_NE(text.find("\"group_gbps\": 300.5"), std::string::npos) << text;
  t.devices = {1, 0, 2, 3, 4, 5, 7, 6};
  EXPECT_EQ(parsed(topologyText(t)).devices, t.devices);
  for (double value : {31.5076923, 1.0 / 3, 1e-6, 12.345678901234567, 1e6}) {
    t.levels[0].p2p_bytes_per_s = t.levels[0].group_bytes_per_s = value * 1e9;
    t.levels[0].latency_s = value * 1e-6;
    EXPECT_EQ(parsed(topologyText(t)).levels[0].p2p_bytes_per_s, value * 1e9);
    EXPECT_EQ(parsed(topologyText(t)).levels[0].latency_s, value * 1e-6);
  }
}

TEST(Topology, RefusesWhatNoFileSays) {
  EXPECT_EQ(problemOf("{"), "it is no JSON object");
  EXPECT_EQ(problemOf("[]"), "it is no JSON object");
  EXPECT_EQ(problemOf("{}"), "it has neither 'levels' nor 'p2p_gbps': one of them says what connects the devices");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"rails\"", "\"p2p_gbps\": [[0]], \"rails\"")),
            "it has both 'levels' and 'p2p_gbps': one of them says what connects the devices");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"name\"", "\"nmae\"")), "it has a key that is not known, 'nmae'");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"rails\": false,", "")), "it lacks the key 'rails'");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"version\": 1", "\"version\": 2")),
            "'version' is not 1, the one that this snugc reads");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"two nodes\"", "2")), "'name' is no text");
  EXPECT_EQ(problemOf(replaced(kLevels, "false", "0")), "'rails' is neither true nor false");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"fanout\": 4, ", "")), "it lacks the key 'levels[1].fanout'");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"fanout\": 4", "\"fanout\": 4, \"cards\": 1")),
            "it has a key that is not known, 'levels[1].cards'");
  EXPECT_EQ(problemOf(R"({"version": 1, "name": "", "rails": false, "levels": []})"),
            "'levels' is no list of 1 to 16 levels");
  EXPECT_EQ(problemOf(R"({"version": 1, "name": "", "rails": false, "levels": [3]})"), "'levels[0]' is no object");
}

TEST(Topology, RefusesWhatNoInterconnectCanBe) {
  EXPECT_EQ(problemOf(replaced(kLevels, "\"fanout\": 2", "\"fanout\": 0")),
            "'levels[0].fanout' is 0, not a number from 1 to 65536");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"fanout\": 2", "\"fanout\": 2.5")),
            "'levels[0].fanout' is 2.5, not a whole number");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"fanout\": 2", "\"fanout\": 65536")),
            "the product of all 'fanout' is more than 65536 devices");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"p2p_gbps\": 25", "\"p2p_gbps\": 0")),
            "'levels[0].p2p_gbps' is 0.0, not a number from 1e-06 to 1000000.0");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"p2p_gbps\": 25", "\"p2p_gbps\": -25")),
            "'levels[0].p2p_gbps' is -25.0, not a number from 1e-06 to 1000000.0");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"p2p_gbps\": 25", "\"p2p_gbps\": \"25\"")),
            "'levels[0].p2p_gbps' is \"25\", not a number");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"group_gbps\": 50", "\"group_gbps\": 1e7")),
            "'levels[0].group_gbps' is 10000000.0, not a number from 1e-06 to 1000000.0");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"group_gbps\": 50", "\"group_gbps\": 20")),
            "'levels[0].group_gbps' is 20.0, less than the 25.0 of 'p2p_gbps': all flows of a unit together are no "
            "slower than one of them");
  EXPECT_EQ(problemOf(replaced(kLevels, "\"latency_us\": 8", "\"latency_us\": -8")),
            "'levels[0].latency_us' is -8.0, not a number from 0.0 to 10000000.0");
  Topology t = parsed(kLevels);
  t.levels[0].latency_s = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(topologyProblem(t), "");
  std::string devices = replaced(kLevels, "\"levels\"", "\"devices\": [], \"levels\"");
  EXPECT_EQ(problemOf(devices),
            "'devices' is empty: leave the key out where each device is at the place of its number");
  EXPECT_EQ(problemOf(replaced(devices, "[]", "3")), "'devices' is no list of device numbers");
  EXPECT_EQ(problemOf(replaced(devices, "[]", "[-1]")), "'devices' has -1, which is no device number");
  EXPECT_EQ(problemOf(replaced(devices, "[]", "[0, 1]")), "'devices' has 2 entries, the levels have 8 places");
  EXPECT_EQ(problemOf(replaced(devices, "[]", "[0,1,2,3,4,5,6,6]")),
            "'devices' does not have each number from 0 to 7 once");
  EXPECT_EQ(problemOf(replaced(kMatrix, "[[0, 12], [13, 0]]", "[]")),
            "'p2p_gbps' is no matrix of 1 to 1024 lists, one a device, of what it sends to each device");
  EXPECT_EQ(problemOf(replaced(kMatrix, "[13, 0]", "[13]")), "'p2p_gbps' is no matrix of 2 lists of 2 numbers each");
  EXPECT_EQ(problemOf(replaced(kMatrix, "[[0, 5], [4, 0]]", "[[0]]")),
            "'latency_us' is no matrix of 2 lists of 2 numbers each");
  EXPECT_EQ(problemOf(replaced(kMatrix, "13", "0")), "'p2p_gbps[1][0]' is 0, not a number from 1e-06 to 1000000.0");
  EXPECT_EQ(problemOf(replaced(kMatrix, "[0, 5]", "[0, -5]")),
            "'latency_us[0][1]' is -5, not a number from 0.0 to 10000000.0");
  EXPECT_EQ(problemOf(replaced(kMatrix, "\"p2p_gbps\"", "\"contended_gbps\": [[0, 1]], \"p2p_gbps\"")),
            "'contended_gbps' is no matrix of 2 lists of 2 numbers each");
}

TEST(Topology, AMatrixOfOnePairIsOneLevelOfItsSlowerDirection) {
  Topology t = parsed(kMatrix);
  ASSERT_EQ(t.levels.size(), 1u);
  EXPECT_TRUE(t.rails);
  EXPECT_EQ(t.levels[0].fanout, 2);
  EXPECT_EQ(t.levels[0].p2p_bytes_per_s, 12e9);
  EXPECT_EQ(t.levels[0].group_bytes_per_s, 12e9);
  EXPECT_DOUBLE_EQ(t.levels[0].latency_s, 5e-6);
  EXPECT_EQ(parsed(R"({"version": 1, "name": "", "rails": false, "p2p_gbps": [[0]], "latency_us": [[0]]})").size(), 1);
}

// The matrix of a topology, its devices at the given places, each link by up to 4 % off.
LinkMatrix matrixOf(const Topology &t, const std::vector<int64_t> &places, std::mt19937 &random) {
  size_t n = places.size();
  LinkMatrix m;
  m.p2p_bytes_per_s = m.latency_s = std::vector<std::vector<double>>(n, std::vector<double>(n));
  for (size_t a = 0; a < n; ++a)
    for (size_t b = 0; b < n; ++b) {
      int64_t span = static_cast<int64_t>(n);
      for (const LinkLevel &level : t.levels) {
        span /= level.fanout;
        if (places[a] / span == places[b] / span)
          continue;
        m.p2p_bytes_per_s[a][b] = level.p2p_bytes_per_s * (1 + .04 * (static_cast<double>(random() % 1000) / 1000));
        m.latency_s[a][b] = level.latency_s;
        break;
      }
    }
  return m;
}

TEST(Topology, AMatrixIsClusteredIntoTheLevelsThatItWasMadeOf) {
  std::mt19937 random(1);
  std::vector<std::vector<std::array<double, 3>>> all{{{8, 300, 300}},
                                                      {{4, 24, 24}, {2, 300, 300}},
                                                      {{2, 20, 20}, {2, 24, 24}, {2, 300, 300}},
                                                      {{3, 1, 1}, {4, 10, 10}, {5, 100, 100}}};
  for (const auto &levels : all) {
    Topology t = topologyOf(levels, false);
    for (size_t i = 0; i < t.levels.size(); ++i)
      t.levels[i].latency_s = 1e-6 * static_cast<double>(10 - i);
    std::vector<int64_t> places(t.size());
    std::iota(places.begin(), places.end(), 0);
    for (int permuted = 0; permuted < 20; ++permuted) {
      Topology found = clusterLinks(matrixOf(t, places, random));
      ASSERT_EQ(found.levels.size(), t.levels.size());
      for (size_t i = 0; i < t.levels.size(); ++i) {
        EXPECT_EQ(found.levels[i].fanout, t.levels[i].fanout);
        EXPECT_NEAR(found.levels[i].p2p_bytes_per_s, t.levels[i].p2p_bytes_per_s, .04 * t.levels[i].p2p_bytes_per_s);
        EXPECT_EQ(found.levels[i].group_bytes_per_s, found.levels[i].p2p_bytes_per_s) << "not measured";
        EXPECT_EQ(found.levels[i].latency_s, t.levels[i].latency_s);
      }
      EXPECT_EQ(topologyProblem(found), "");
      // Each unit of the innermost level holds devices of one unit that the matrix was made of.
      for (int64_t p = 0; p < t.size(); ++p) {
        int64_t fanout = t.levels.back().fanout, first = p / fanout * fanout;
        auto place = [&](int64_t at) { return places[found.devices.empty() ? at : found.devices[at]]; };
        EXPECT_EQ(place(p) / fanout, place(first) / fanout);
      }
      std::shuffle(places.begin(), places.end(), random);
    }
  }
}

TEST(Topology, AChainOfFastLinksIsNoUnit) {
  LinkMatrix m;
  m.latency_s = std::vector<std::vector<double>>(4, std::vector<double>(4));
  m.p2p_bytes_per_s = {{0, 50, 10, 10}, {50, 0, 50, 10}, {10, 50, 0, 50}, {10, 10, 50, 0}};
  Topology t = clusterLinks(m);
  ASSERT_EQ(t.levels.size(), 1u);
  EXPECT_EQ(t.levels[0].fanout, 4);
  EXPECT_EQ(t.levels[0].p2p_bytes_per_s, 10);
  LinkMatrix two; // chains 0-1-2 and 3-4-5, their ends no nearer to each other than to other devices
  two.latency_s = std::vector<std::vector<double>>(6, std::vector<double>(6));
  two.p2p_bytes_per_s = std::vector<std::vector<double>>(6, std::vector<double>(6, 10));
  for (auto [a, b] : {std::pair<int, int>{0, 1}, {1, 2}, {3, 4}, {4, 5}})
    two.p2p_bytes_per_s[a][b] = two.p2p_bytes_per_s[b][a] = 50;
  ASSERT_EQ(clusterLinks(two).levels.size(), 1u);
  EXPECT_EQ(clusterLinks(two).levels[0].fanout, 6);
  m.p2p_bytes_per_s = {{0, 50, 10, 10}, {50, 0, 10, 10}, {10, 10, 0, 20}, {10, 10, 20, 0}};
  t = clusterLinks(m);
  ASSERT_EQ(t.levels.size(), 2u) << "a slower pair is a unit beside a faster one";
  EXPECT_EQ(t.levels[1].p2p_bytes_per_s, 20);
  m.p2p_bytes_per_s = {{0, 50, 10, 10}, {50, 0, 10, 10}, {10, 10, 0, 10}, {10, 10, 10, 0}};
  EXPECT_EQ(clusterLinks(m).levels.size(), 1u) << "units of different sizes are none";
}

TEST(Topology, WhatAllPairsReachTogetherIsTheGroupBandwidth) {
  // Two pairs; a flow out of a pair reaches 24, all four flows together 40 one way and 44 the other.
  LinkMatrix m;
  m.latency_s = std::vector<std::vector<double>>(4, std::vector<double>(4));
  m.p2p_bytes_per_s = {{0, 300, 24, 24}, {300, 0, 24, 24}, {24, 24, 0, 300}, {24, 24, 300, 0}};
  m.contended_bytes_per_s = {{0, 280, 10, 10}, {280, 0, 10, 10}, {11, 11, 0, 280}, {11, 11, 280, 0}};
  Topology t = clusterLinks(m);
  ASSERT_EQ(t.levels.size(), 2u);
  EXPECT_DOUBLE_EQ(t.levels[0].group_bytes_per_s, 40);
  EXPECT_DOUBLE_EQ(t.levels[1].group_bytes_per_s, 300) << "no less than one flow alone";
  // Three devices, of which the first gets less than any sends.
  m.latency_s = std::vector<std::vector<double>>(3, std::vector<double>(3));
  m.p2p_bytes_per_s = std::vector<std::vector<double>>(3, std::vector<double>(3, 1));
  m.contended_bytes_per_s = {{0, 10, 10}, {2, 0, 10}, {2, 10, 0}};
  EXPECT_DOUBLE_EQ(clusterLinks(m).levels[0].group_bytes_per_s, 4);
}

TEST(Topology, PresetsAreValidAndStateTheirSource) {
  ASSERT_FALSE(topologyPresets().empty());
  for (const TopologyPreset &preset : topologyPresets()) {
    EXPECT_EQ(topologyProblem(preset.topology), "") << preset.topology.name;
    EXPECT_FALSE(preset.source.empty());
    EXPECT_EQ(topologyText(parsed(topologyText(preset.topology))), topologyText(preset.topology));
  }
}

TEST(Topology, FirstDevicesAreWholeUnits) {
  Topology boxes;
  boxes.levels = {{2, 25e9, 25e9, 9e-6}, {4, 300e9, 300e9, 8e-6}};
  auto fanouts = [&](int64_t count) {
    std::vector<int64_t> list;
    if (auto part = firstDevices(boxes, count)) {
      EXPECT_EQ(part->size(), count);
      EXPECT_EQ(topologyProblem(*part), "");
      for (const LinkLevel &level : part->levels)
        list.push_back(level.fanout);
      EXPECT_EQ(part->levels.back().p2p_bytes_per_s, 300e9);
    }
    return list;
  };
  using List = std::vector<int64_t>;
  EXPECT_EQ(fanouts(8), (List{2, 4}));
  EXPECT_EQ(fanouts(4), List{4});
  EXPECT_EQ(fanouts(3), List{3});
  EXPECT_EQ(fanouts(1), List{1});
  for (int64_t count : {0, 5, 6, 7, 9, 16}) // a unit in part, or more than there are
    EXPECT_EQ(fanouts(count), List{});
  boxes.devices = {7, 6, 5, 4, 3, 2, 1, 0}; // which of them would be first?
  EXPECT_EQ(fanouts(4), List{});
  EXPECT_EQ(fanouts(8), (List{2, 4}));
}
} // namespace
