// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The check tables: choice, bandwidths and time of each row.
#include "CheckTable.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace snug;
using namespace snug::test;

namespace {

const std::vector<MeshFamily> kWithoutHierarchical{kOneD, kColumn, kRow};
constexpr int64_t kTokens = 64;

MeshPlan planOf(const Topology &topology, const Transformer &model, bool hierarchical) {
  MeshProblem problem;
  problem.topology = topology;
  problem.phases = {{"prefill", 1}};
  problem.terms = [&](int64_t outputs, int64_t inputs) {
    return transformerTerms(model, {{kTokens, kTokens}}, outputs, inputs);
  };
  if (!hierarchical)
    problem.families = kWithoutHierarchical;
  return planMesh(problem);
}

// Heads of attention, all with keys and values of their own, and an FFN of 4 times the hidden dim, that any mesh cuts.
Transformer multiHead(int64_t devices) {
  Transformer m;
  m.heads = m.kvHeads = devices;
  m.headDim = 64;
  m.hidden = m.heads * m.headDim;
  m.ffn = 4 * m.hidden;
  return m;
}

// The widths of Llama 2 70B; heads are finer, so that none needs a copy on 64 devices.
Transformer llamaWidths() {
  Transformer m;
  m.hidden = 8192;
  m.headDim = 16;
  m.heads = 512;
  m.kvHeads = 64;
  m.ffn = 28672;
  m.ups = 2;
  return m;
}

double nanoseconds(double seconds, const Transformer &m) {
  return seconds * 1e9 / static_cast<double>(kTokens * m.hidden);
}

void expectChoice(const MeshPlan &plan, const Choice &expected, double time, const Transformer &m,
                  const std::string &id) {
  ASSERT_GT(plan.admissible, 0u) << id;
  const MeshCandidate &best = plan.candidates[0];
  EXPECT_EQ(text({best.mesh.d1, best.mesh.d2, best.family}), text(expected)) << id;
  EXPECT_NEAR(nanoseconds(best.time_s, m), time, 5e-5 * time) << id;
}

void expectRow(const Row &row, const Expected &expected, bool rails) {
  std::string id = row.id + std::string(rails ? " rails" : " ring");
  Topology t = topologyOf(row.levels, rails);
  Transformer m = multiHead(t.size());
  MeshPlan plan = planOf(t, m, false);
  expectChoice(plan, expected.best, expected.time, m, id);
  auto gigabytes = [&](size_t ring) {
    double bandwidth = plan.candidates[0].rings[ring].bandwidth / 1e9;
    return std::isinf(bandwidth) ? 0 : bandwidth;
  };
  EXPECT_DOUBLE_EQ(gigabytes(0), expected.b1) << id;
  EXPECT_DOUBLE_EQ(gigabytes(1), expected.b2) << id;
  for (const MeshCandidate &c : plan.candidates)
    if (c.family == kOneD && (expected.oneD > 0 || t.size() == 1)) {
      EXPECT_NEAR(nanoseconds(c.time_s, m), expected.oneD, 5e-5 * expected.oneD) << id;
    }
}

TEST(MeshTable, OneRingAGroup) {
  for (const Row &row : checkTable())
    expectRow(row, row.ring, false);
}

TEST(MeshTable, RailsOfAllMembers) {
  for (const Row &row : checkTable())
    expectRow(row, row.rails, true);
}

TEST(MeshTable, HierarchicalCollectivesToo) {
  for (const Row &row : checkTable()) {
    Transformer m = multiHead(topologyOf(row.levels, true).size());
    expectChoice(planOf(topologyOf(row.levels, true), m, true), row.hierarchical, row.hierarchicalTime, m, row.id);
  }
}

TEST(MeshTable, UniformLinksAndTheirGainOverOneDimension) {
  struct Uniform {
    int64_t devices, d1;
    double gain;
  };
  for (const Uniform &u : std::vector<Uniform>{{2, 2, 1},
                                               {4, 4, 1},
                                               {8, 4, 1.1667},
                                               {16, 8, 1.5},
                                               {32, 8, 1.9375},
                                               {64, 16, 2.625},
                                               {128, 16, 3.5278},
                                               {256, 32, 4.9038}}) {
    Transformer m = multiHead(u.devices);
    MeshPlan plan = planOf(topologyOf({{static_cast<double>(u.devices), 100, 100}}, false), m, false);
    EXPECT_EQ(plan.candidates[0].mesh.d1, u.d1) << u.devices;
    for (const MeshCandidate &c : plan.candidates)
      if (c.family == kOneD) {
        EXPECT_NEAR(c.time_s / plan.candidates[0].time_s, u.gain, 1e-4 * u.gain) << u.devices;
      }
  }
}

TEST(MeshTable, LlamaIsCutAsAGptIs) {
  Transformer m = llamaWidths();
  for (const Row &row : checkTable()) {
    if (row.id[0] != 'T')
      continue;
    Topology t = topologyOf(row.levels, true);
    MeshPlan plan = planOf(t, m, false);
    const MeshCandidate &best = plan.candidates[0];
    EXPECT_EQ(text({best.mesh.d1, best.mesh.d2, best.family}), text(row.rails.best)) << row.id;
    if (std::string(row.id) == "T1") {
      EXPECT_NEAR(nanoseconds(best.time_s, m), .020625, 5e-5 * .020625);
    } else if (std::string(row.id) == "T13") {
      EXPECT_NEAR(nanoseconds(best.time_s, m), .017656, 5e-5 * .017656);
    }
    MeshPlan ofAll = planOf(t, m, true);
    const MeshCandidate &bestOfAll = ofAll.candidates[0];
    EXPECT_EQ(text({bestOfAll.mesh.d1, bestOfAll.mesh.d2, bestOfAll.family}), text(row.hierarchical)) << row.id;
  }
}

// Of a gated FFN an all-reduce moves 4 f where scatter and gather move 3 f: enough for other choices.
TEST(MeshTable, AnFfnThatIsAllReducedIsCutOtherwise) {
  Transformer m = llamaWidths();
  m.reduceUps = true;
  for (const Row &row : checkTable()) {
    std::string id = row.id;
    if (id != "T1" && id != "T2" && id != "T13")
      continue;
    Topology t = topologyOf(row.levels, true);
    MeshPlan plan = planOf(t, m, false);
    const MeshCandidate &best = plan.candidates[0];
    EXPECT_EQ(text({best.mesh.d1, best.mesh.d2, best.family}), text({t.size(), 1, kOneD})) << id;
  }
}

} // namespace
