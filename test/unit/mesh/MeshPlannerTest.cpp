// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Properties of the mesh planner, and what the check tables do not have: phases, latency, computing, flips, refusals.
#include "CheckTable.h"
#include "lib/solver/MeshFlips.h"
#include "lib/solver/MeshPlanText.h"

#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

using namespace snug;
using namespace snug::test;

namespace {

Transformer modelFor(int64_t devices, int64_t headDim = 64) {
  Transformer m;
  m.heads = m.kvHeads = devices;
  m.headDim = headDim;
  m.hidden = m.heads * headDim;
  m.ffn = 4 * m.hidden;
  return m;
}

MeshProblem problemOf(const Topology &t, const Transformer &m, const std::vector<TransformerPhase> &phases) {
  MeshProblem p;
  p.topology = t;
  for (size_t i = 0; i < phases.size(); ++i)
    p.phases.push_back({i == 0 ? "prefill" : "decode", 1});
  p.terms = [=](int64_t outputs, int64_t inputs) { return transformerTerms(m, phases, outputs, inputs); };
  return p;
}

MeshPlan planOf(const Topology &t, int64_t tokens = 64) {
  return planMesh(problemOf(t, modelFor(t.size()), {{tokens, tokens}}));
}

const MeshCandidate *find(const MeshPlan &plan, int64_t d1, int64_t d2, MeshFamily family) {
  for (const MeshCandidate &c : plan.candidates)
    if (c.mesh.d1 == d1 && c.mesh.d2 == d2 && c.family == family)
      return &c;
  return nullptr;
}

bool isSameChoice(const MeshPlan &a, const MeshPlan &b) {
  const MeshCandidate &x = a.candidates[0], &y = b.candidates[0];
  return x.mesh.d1 == y.mesh.d1 && x.mesh.d2 == y.mesh.d2 && x.family == y.family;
}

TEST(MeshPlanner, FasterLinksOfAllKindsChangeTimesAndNoChoice) {
  for (const Row &row : checkTable()) {
    Topology t = topologyOf(row.levels, true), faster = t;
    for (LinkLevel &level : faster.levels) {
      level.p2p_bytes_per_s *= 8;
      level.group_bytes_per_s *= 8;
    }
    MeshPlan plan = planOf(t), fast = planOf(faster);
    EXPECT_TRUE(isSameChoice(plan, fast)) << row.id;
    EXPECT_DOUBLE_EQ(fast.candidates[0].time_s * 8, plan.candidates[0].time_s) << row.id;
  }
}

TEST(MeshPlanner, OneDeviceSendsNothing) {
  MeshPlan plan = planOf(topologyOf({{1, 1, 1}}, false));
  ASSERT_EQ(plan.candidates.size(), 1u);
  EXPECT_EQ(plan.candidates[0].mesh.d1 * plan.candidates[0].mesh.d2, 1);
  EXPECT_EQ(plan.candidates[0].time_s, 0);
  for (const AxisTraffic &traffic : plan.candidates[0].phases[0].price().traffic)
    EXPECT_EQ(traffic.collectives, 0);
  EXPECT_TRUE(plan.flips.empty());
}

TEST(MeshPlanner, TheSearchSpaceIsEveryMeshOnce) {
  // 2 tau(N) - 2 of column and row, and tau(N) - 2 hierarchical ones.
  for (auto [devices, divisors] : std::vector<std::pair<int64_t, size_t>>{{2, 2}, {7, 2}, {12, 6}, {64, 7}}) {
    MeshPlan plan = planOf(topologyOf({{static_cast<double>(devices), 10, 10}}, false));
    EXPECT_EQ(plan.candidates.size(), 2 * divisors - 2 + divisors - 2) << devices;
    for (const MeshCandidate &a : plan.candidates)
      EXPECT_EQ(find(plan, a.mesh.d1, a.mesh.d2, a.family), &a) << "twice";
  }
  MeshPlan prime = planOf(topologyOf({{13, 10, 10}}, false));
  for (const MeshCandidate &c : prime.candidates)
    EXPECT_TRUE(c.mesh.d1 == 1 || c.mesh.d2 == 1);
}

TEST(MeshPlanner, UniformLinksChooseByTheFormula) {
  for (auto [devices, d1] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {6, 6}, {12, 6}}) {
    MeshPlan plan = planOf(topologyOf({{static_cast<double>(devices), 10, 10}}, false));
    EXPECT_EQ(plan.candidates[0].mesh.d1, d1) << devices;
  }
}

TEST(MeshPlanner, AFasterLinkNeverMakesTheBestSlower) {
  for (const Row &row : checkTable())
    for (size_t level = 0; level < row.levels.size(); ++level)
      for (double factor : {1.01, 1.5, 4.0}) {
        Topology t = topologyOf(row.levels, true), faster = t;
        faster.levels[level].p2p_bytes_per_s *= factor;
        faster.levels[level].group_bytes_per_s *= factor;
        EXPECT_LE(planOf(faster).candidates[0].time_s, planOf(t).candidates[0].time_s * (1 + 1e-12)) << row.id;
      }
}

TEST(MeshPlanner, RowFirstIsColumnFirstWithTheAxesExchanged) {
  for (const Row &row : checkTable()) {
    MeshPlan plan = planOf(topologyOf(row.levels, true));
    int64_t n = topologyOf(row.levels, true).size();
    for (const MeshCandidate &c : plan.candidates) {
      if (c.family != kRow)
        continue;
      auto d1 = static_cast<double>(c.mesh.d1), d2 = static_cast<double>(c.mesh.d2);
      double perElement =
          2.0 / static_cast<double>(n) *
          (12 * (d1 - 1) / c.rings[0].bandwidth + 4 * (d2 - 1) / c.rings[1].bandwidth); // column-first has 4 and 12
      EXPECT_NEAR(c.time_s, perElement * 64 * static_cast<double>(modelFor(n).hidden), 1e-9 * c.time_s) << row.id;
    }
  }
}

TEST(MeshPlanner, HierarchicalCollectivesMoveWhatOneRingDoes) {
  // Equal links: every step of the hierarchy sends its share, 2 (N-1)/N of the tensor in all.
  MeshPlan plan = planOf(topologyOf({{8, 10, 10}}, false));
  const MeshCandidate *ring = find(plan, 8, 1, kOneD), *steps = find(plan, 2, 4, kHierarchical);
  ASSERT_TRUE(ring && steps);
  EXPECT_NEAR(steps->time_s, ring->time_s, 1e-12 * ring->time_s);
  EXPECT_EQ(ring->phases[0].price().traffic[0].collectives, 2);
  EXPECT_EQ(steps->phases[0].price().traffic[0].collectives, 2);
  EXPECT_EQ(steps->phases[0].price().traffic[1].collectives, 4);
}

TEST(MeshPlanner, EveryCollectiveMovesItsFormula) {
  constexpr double kBytes = 1200;
  struct Case {
    Collective kind;
    double two, hierarchical; // bytes that a device sends over an axis of 4, and over 8 devices as 2 x 4
  };
  for (const Case &c : std::vector<Case>{{Collective::AllReduce, 2 * .75, 2 * .875},
                                         {Collective::ReduceScatter, .75, .875},
                                         {Collective::AllGather, .75, .875},
                                         {Collective::AllToAll, .75, .75 + .5}}) {
    MeshProblem p;
    p.topology = topologyOf({{8, 10, 10}}, false, 1e-3);
    p.phases = {{"run", 3}};
    p.terms = [&](int64_t outputs, int64_t) {
      MeshTerms terms;
      terms.phases = {{{"only", "", {{"x", c.kind, outputs == 8 ? Cut::Outputs : Cut::Inputs, kBytes, 5}}, {}}}};
      return terms;
    };
    MeshPlan plan = planMesh(p);
    const AxisTraffic &flat = find(plan, 2, 4, kColumn)->phases[0].price().traffic[1];
    EXPECT_DOUBLE_EQ(flat.bytes, 5 * kBytes * c.two) << nameOf(c.kind);
    EXPECT_DOUBLE_EQ(flat.latency_s, 5e-3) << nameOf(c.kind);
    EXPECT_DOUBLE_EQ(flat.transfer_s, 5 * kBytes * c.two / 10e9) << nameOf(c.kind);
    EXPECT_DOUBLE_EQ(find(plan, 2, 4, kColumn)->time_s, 3 * (flat.latency_s + flat.transfer_s)) << nameOf(c.kind);
    EXPECT_DOUBLE_EQ(find(plan, 4, 2, kRow)->phases[0].price().traffic[0].bytes, flat.bytes) << nameOf(c.kind);
    const auto &steps = find(plan, 2, 4, kHierarchical)->phases[0].price().traffic;
    EXPECT_DOUBLE_EQ(steps[0].bytes + steps[1].bytes, 5 * kBytes * c.hierarchical) << nameOf(c.kind);
  }
}

TEST(MeshPlanner, ACollectiveOfAllDevicesIsOneRingBesideTheTwoAxes) {
  MeshProblem p;
  p.topology = topologyOf({{2, 25, 25}, {4, 300, 300}}, false);
  p.phases = {{"run", 1}};
  p.terms = [](int64_t, int64_t) {
    MeshTerms terms;
    terms.phases = {{{"only", "", {{"logits", Collective::AllGather, Cut::Both, 800, 1}}, {}}}};
    return terms;
  };
  MeshPlan plan = planMesh(p);
  EXPECT_DOUBLE_EQ(find(plan, 2, 4, kColumn)->phases[0].price().traffic[2].bytes, 700);
  EXPECT_DOUBLE_EQ(find(plan, 2, 4, kColumn)->rings[2].bandwidth, 25e9);
  EXPECT_DOUBLE_EQ(find(plan, 8, 1, kOneD)->phases[0].price().traffic[0].bytes, 700);
  EXPECT_DOUBLE_EQ(find(plan, 1, 8, kColumn)->phases[0].price().traffic[1].bytes, 700);
}

// 8 collectives a layer against 2: two dimensions pay from 6 latencies / what an element gains on.
TEST(MeshPlanner, LatencyDecidesForShortInputs) {
  struct Case {
    const char *id;
    double least; // elements of the residual
  };
  for (const Case &c : std::vector<Case>{{"T1", 1.8e7}, {"T3", 3.83e5}})
    for (const Row &row : checkTable()) {
      if (std::string(row.id) != c.id)
        continue;
      Transformer m = modelFor(8, 16); // 128 elements a token
      auto families = [&](double elements) {
        auto tokens = static_cast<int64_t>(elements / static_cast<double>(m.hidden));
        MeshProblem p = problemOf(topologyOf(row.levels, false, 10e-6), m, {{tokens, tokens}});
        p.families = {kOneD, kColumn, kRow};
        return planMesh(p).candidates[0];
      };
      EXPECT_EQ(families(c.least * .97).family, kOneD) << c.id;
      EXPECT_EQ(families(c.least * 1.03).family, kColumn) << c.id;
      EXPECT_EQ(families(c.least * 1.03).phases[0].price().layout, kReplicated) << "fewer collectives";
    }
}

TEST(MeshPlanner, PrefillAndDecodeArePricedApartAndJoinedByTheirRuns) {
  Topology t = topologyOf({{8, 300, 300}}, false, 10e-6);
  MeshProblem p = problemOf(t, modelFor(8, 1024), {{8192, 8192}, {2, 8192}});
  auto choice = [&](double prefill, double decode) {
    p.phases[0].runs = prefill;
    p.phases[1].runs = decode;
    return planMesh(p).candidates[0];
  };
  EXPECT_EQ(choice(1, 0).family, kColumn);
  EXPECT_EQ(choice(0, 1).family, kOneD);
  EXPECT_EQ(choice(1, 1).family, kColumn);
  MeshCandidate mixed = choice(1, 1000);
  EXPECT_EQ(mixed.family, kOneD) << "latency of many short runs";
  EXPECT_DOUBLE_EQ(mixed.time_s, mixed.phases[0].price().time() + 1000 * mixed.phases[1].price().time());
}

TEST(MeshPlanner, LayoutsAreChosenForEachPhaseWhereTokensAllow) {
  Machine machine = builtinMachine(512);
  Transformer m = modelFor(8, 128);
  MeshProblem p = problemOf(topologyOf({{8, 300, 300}}, false, 1e-6), m, {{8192, 8192}, {2, 8192}});
  p.machine = machine;
  MeshPlan plan = planMesh(p);
  const MeshCandidate *c = find(plan, 4, 2, kColumn);
  ASSERT_TRUE(c);
  ASSERT_EQ(c->phases[0].layouts.size(), 2u);
  EXPECT_EQ(c->phases[0].price().layout, kSequence) << "norms and residuals of a quarter of the tokens";
  EXPECT_LT(c->phases[0].layouts[1].compute_s, c->phases[0].layouts[0].compute_s);
  EXPECT_EQ(c->phases[1].price().layout, kReplicated);
  EXPECT_EQ(c->phases[1].layouts[1].refused, "2 tokens do not divide by 4");
}

TEST(MeshPlanner, ComputingIsThatOfTheTimeModel) {
  MeshProblem p;
  p.topology = topologyOf({{2, 10, 10}}, false);
  p.phases = {{"run", 1}};
  p.machine = builtinMachine(256);
  p.threads = 2;
  KernelCost cost;
  cost.work.contraction = 1e9;
  cost.rows = 96;
  cost.pieces = 100;
  p.terms = [&](int64_t outputs, int64_t) {
    MeshTerms terms;
    terms.phases = {{{"only", "", {}, {{"gemm", cost, outputs == 2 ? 3.0 : 4.0}}}}};
    return terms;
  };
  MeshPlan plan = planMesh(p);
  EXPECT_DOUBLE_EQ(find(plan, 2, 1, kOneD)->time_s, 3 * kernelTime(*p.machine, cost, 2));
  EXPECT_EQ(plan.candidates[0].family, kOneD);
  p.machine.reset();
  EXPECT_EQ(planMesh(p).candidates[0].time_s, 0);
}

TEST(MeshPlanner, EquallyFastOnesAreTakenByTheirOrder) {
  MeshProblem p;
  p.topology = topologyOf({{6, 10, 10}}, false);
  p.phases = {{"run", 1}};
  int64_t calls = 0;
  p.terms = [&](int64_t, int64_t) {
    ++calls;
    MeshTerms terms;
    terms.phases = {{{"first", "", {}, {}}, {"second", "", {}, {}}}};
    return terms;
  };
  MeshPlan plan = planMesh(p);
  EXPECT_EQ(calls, 4) << "once for each pair of cuts";
  std::string order;
  for (const MeshCandidate &c : plan.candidates)
    order += text({c.mesh.d1, c.mesh.d2, c.family}) + "; ";
  EXPECT_EQ(order, "6x1 1D; 3x2 column-first; 3x2 hierarchical 1D; 3x2 row-first; 2x3 column-first; "
                   "2x3 hierarchical 1D; 2x3 row-first; 1x6 column-first; ");
  EXPECT_EQ(plan.candidates[0].phases[0].price().layout, "first");
}

TEST(MeshPlanner, WhatCannotBeCutIsDroppedWithTheReason) {
  Transformer m = modelFor(8);
  m.heads = 12;
  m.kvHeads = 4;
  MeshPlan plan = planMesh(problemOf(topologyOf({{8, 10, 10}}, false), m, {{64, 64}}));
  EXPECT_EQ(plan.admissible, 0u);
  EXPECT_TRUE(plan.flips.empty());
  for (const MeshCandidate &c : plan.candidates)
    EXPECT_EQ(c.refused, "12 heads do not divide by 8");

  m = modelFor(8);
  m.hidden = 12; // divides by 1, 2 and 4
  MeshPlan some = planMesh(problemOf(topologyOf({{8, 10, 10}}, false), m, {{64, 64}}));
  EXPECT_EQ(some.admissible + 1, some.candidates.size());
  EXPECT_EQ(some.candidates.back().refused, "12 elements of the residual do not divide by 8");
  EXPECT_EQ(some.candidates.back().mesh.d2, 8);

  MeshProblem p = problemOf(topologyOf({{8, 10, 10}}, false), modelFor(8), {{64, 64}});
  p.phases.push_back({"decode", 1});
  EXPECT_EQ(planMesh(p).candidates[0].refused, "the model states 1 phases of 2");
  p.terms = [](int64_t, int64_t) {
    MeshTerms terms;
    terms.phases = {{{"only", "", {}, {}}}, {{"a", "too long", {}, {}}, {"b", "too short", {}, {}}}};
    return terms;
  };
  EXPECT_EQ(planMesh(p).candidates[0].refused, "decode: too short");
  p.topology.levels[0].p2p_bytes_per_s = 0;
  EXPECT_EQ(planMesh(p).problem, "'levels[0].p2p_gbps' is 0.0, not a number from 1e-06 to 1000000.0");
  EXPECT_EQ(meshPlanText(p, planMesh(p)),
            "no plan: 'levels[0].p2p_gbps' is 0.0, not a number from 1e-06 to 1000000.0\n");
}

// At a stated flip another mesh is chosen beyond, and none short of it.
TEST(MeshPlanner, ChoicesFlipWhereThePlanSaysAndNowhereBefore) {
  size_t seen = 0;
  for (const Row &row : checkTable())
    for (bool rails : {false, true}) {
      Topology t = topologyOf(row.levels, rails, 2e-6);
      MeshProblem p = problemOf(t, modelFor(t.size()), {{4096, 4096}, {8, 4096}});
      p.phases[1].runs = 50;
      MeshPlan plan = planMesh(p);
      for (const BandwidthFlip &flip : plan.flips) {
        if (!std::isfinite(flip.at))
          continue;
        ++seen;
        auto planAt = [&](double bandwidth) {
          MeshProblem varied = p;
          LinkLevel &level = varied.topology.levels[flip.level];
          (flip.isGroup ? level.group_bytes_per_s : level.p2p_bytes_per_s) = bandwidth;
          level.group_bytes_per_s = std::max(level.group_bytes_per_s, level.p2p_bytes_per_s);
          return planMesh(varied);
        };
        if (!flip.isGroup && flip.at > t.levels[flip.level].group_bytes_per_s)
          continue; // beyond what the unit has
        if (flip.isGroup && flip.at < t.levels[flip.level].p2p_bytes_per_s)
          continue;
        double side = flip.at < flip.now ? -1 : 1;
        for (double share : {.1, .5, .9, .999})
          EXPECT_TRUE(isSameChoice(planAt(flip.now + share * (flip.at - flip.now)), plan)) << row.id << share;
        MeshPlan beyond = planAt(flip.at * (1 + side * 1e-4));
        EXPECT_FALSE(isSameChoice(beyond, plan)) << row.id;
        const MeshCandidate &to = plan.candidates[flip.candidate];
        EXPECT_EQ(text({beyond.candidates[0].mesh.d1, beyond.candidates[0].mesh.d2, beyond.candidates[0].family}),
                  text({to.mesh.d1, to.mesh.d2, to.family}))
            << row.id;
      }
    }
  EXPECT_GT(seen, 50u);
}

// Two nodes of four devices, one card of 25 GB/s each, x within a node, in 2/8 bytes a device and element:
// 2 x 4 takes 4/(25/4) + 36/x, 4 x 2 takes 12/(25/2) + 12/x, 8 x 1 takes 28/25. All three meet at x = 75.
TEST(MeshPlanner, AFlipIsWhereItIsByHand) {
  MeshProblem p = problemOf(topologyOf({{2, 25, 25}, {4, 300, 300}}, false), modelFor(8), {{64, 64}});
  p.families = {kOneD, kColumn};
  MeshPlan plan = planMesh(p);
  EXPECT_EQ(plan.candidates[0].mesh.d1, 2);
  ASSERT_EQ(plan.flips.size(), 2u) << "no bandwidth between nodes makes another one better";
  for (const BandwidthFlip &flip : plan.flips) {
    EXPECT_EQ(flip.level, 1u);
    EXPECT_EQ(flip.now, 300e9);
    EXPECT_NEAR(flip.at, 75e9, 75e3);
    EXPECT_EQ(plan.candidates[flip.candidate].mesh.d1, 8) << "the one that no longer depends on x";
  }
  EXPECT_NE(meshPlanText(p, plan).find("  levels[1].p2p_gbps (300) is below 75: 8x1 1D\n"), std::string::npos);
}

// Two devices, 1 s of latency, x GB/s. 1D takes 1 + 8/x in one layout and 5 + 2/x in the other, which is faster below
// x = 1.5; inputs cut take 4 + 1/x, and are faster than the first layout below 7/3.
TEST(MeshPlanner, AFlipKnowsWhichLayoutIsTakenThere) {
  MeshProblem p;
  p.topology = topologyOf({{2, 8, 8}}, false, 1);
  p.phases = {{"run", 1}};
  p.terms = [](int64_t outputs, int64_t) {
    auto layout = [&](const char *name, double count, double sent) {
      return LayoutTerms{
          name,
          "",
          {{"x", Collective::AllGather, outputs == 2 ? Cut::Outputs : Cut::Inputs, 2 * sent * 1e9 / count, count}},
          {}};
    };
    MeshTerms terms;
    if (outputs == 2)
      terms.phases = {{layout("few", 1, 8), layout("many", 5, 2)}};
    else
      terms.phases = {{layout("only", 4, 1)}};
    return terms;
  };
  MeshPlan plan = planMesh(p);
  EXPECT_DOUBLE_EQ(plan.candidates[0].time_s, 2);
  ASSERT_EQ(plan.flips.size(), 2u);
  EXPECT_NEAR(plan.flips[0].at, 7e9 / 3, 100);
  EXPECT_EQ(plan.candidates[plan.flips[0].candidate].mesh.d2, 2);
}

TEST(MeshPlanner, ManyDistinctLayersAreSummedUp) {
  // What a graph without repeats states: 48 layers, each event on its own.
  Topology t = topologyOf({{8, 50, 400}, {8, 450, 450}}, true, 5e-6);
  Transformer m = modelFor(64);
  MeshProblem p = problemOf(t, m, {{64, 64}});
  auto one = p.terms;
  p.terms = [&](int64_t outputs, int64_t inputs) {
    MeshTerms terms = one(outputs, inputs), all = terms;
    for (int layer = 1; layer < 48; ++layer)
      for (size_t l = 0; l < terms.phases[0].size(); ++l) {
        const LayoutTerms &from = terms.phases[0][l];
        LayoutTerms &to = all.phases[0][l];
        to.collectives.insert(to.collectives.end(), from.collectives.begin(), from.collectives.end());
      }
    return all;
  };
  MeshPlan written = planMesh(p);
  m.layers = 48;
  MeshPlan counted = planMesh(problemOf(t, m, {{64, 64}}));
  ASSERT_EQ(written.admissible, counted.admissible);
  EXPECT_TRUE(isSameChoice(written, counted));
  EXPECT_NEAR(written.candidates[0].time_s, counted.candidates[0].time_s, 1e-12);
}

TEST(MeshPlanner, TextHasCandidatesDroppedOnesAndFlips) {
  Transformer m = modelFor(8);
  m.hidden = 8 * 64 + 4;
  MeshProblem p = problemOf(topologyOf({{2, 25, 25}, {4, 300, 300}}, false), m, {{64, 64}});
  MeshPlan plan = planMesh(p);
  std::string text = meshPlanText(p, plan);
  for (const char *part :
       {"mesh of 8 devices (table): 2x4 hierarchical 1D, ", "; second best: ", "GB/s axis 1", "prefill", "dropped:\n",
        "do not divide by 8", "the choice flips, all else the same, where\n", "levels[1].p2p_gbps (300) is below "})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(MeshPlanner, JsonHasAllTermsOfAllCandidates) {
  Transformer m = modelFor(8);
  MeshProblem p = problemOf(topologyOf({{2, 25, 25}, {4, 300, 300}}, false, 1e-6), m, {{64, 64}, {2, 64}});
  MeshPlan plan = planMesh(p);
  nlohmann::json json = nlohmann::json::parse(meshPlanJson(p, plan));
  EXPECT_EQ(json["devices"], 8);
  EXPECT_EQ(json["phases"][1]["name"], "decode");
  ASSERT_EQ(json["candidates"].size(), plan.admissible);
  ASSERT_EQ(json["flips"].size(), plan.flips.size());
  for (size_t c = 0; c < plan.admissible; ++c) {
    const nlohmann::json &one = json["candidates"][c];
    EXPECT_EQ(one["family"], nameOf(plan.candidates[c].family));
    EXPECT_EQ(one["mesh"][0], plan.candidates[c].mesh.d1);
    double sum = 0;
    for (const nlohmann::json &phase : one["phases"])
      for (const nlohmann::json &layout : phase["layouts"])
        if (layout["layout"] == phase["layout"]) {
          EXPECT_FALSE(layout.contains("refused"));
          double time = layout["compute_ms"].get<double>();
          for (const nlohmann::json &traffic : layout["traffic"])
            time += traffic["latency_ms"].get<double>() + traffic["transfer_ms"].get<double>();
          EXPECT_DOUBLE_EQ(layout["time_ms"].get<double>(), time);
          sum += time;
        }
    EXPECT_DOUBLE_EQ(one["time_ms"].get<double>(), sum);
  }
  EXPECT_TRUE(json["candidates"][0]["rings"][0]["gbps"].is_number());
}

// What closed forms say of traffic, stated: the same times in the same order, and the same flips.
TEST(MeshPlanner, StatedProgramsAreLikeClosedForms) {
  for (const Topology &t : {topologyOf({{2, 25, 25}, {4, 300, 300}}, false, 5e-6), topologyOf({{4, 24, 48}, {2, 300, 300}}, true, 0)}) {
    MeshProblem p = problemOf(t, modelFor(8), {{4096, 4096}, {8, 4096}});
    p.phases = {{"prefill", 1}, {"decode", 100}};
    MeshPlan plan = planMesh(p);
    std::vector<StatedProgram> programs{{MeshFamily::Free, {8, 1}, "for a reason", {}}};
    for (const MeshCandidate &c : plan.candidates) {
      ASSERT_TRUE(c.refused.empty());
      StatedProgram program{c.family, c.mesh, "", {}};
      for (const PhasePrice &phase : c.phases) {
        ASSERT_TRUE(phase.price().overlaps.empty());
        StatedTraffic traffic{phase.price().compute_s, {}, {}};
        for (size_t r = 0; r < kRings; ++r) {
          traffic.collectives[r] = phase.price().traffic[r].collectives;
          traffic.bytes[r] = phase.price().traffic[r].bytes;
        }
        program.phases.push_back(traffic);
      }
      programs.insert(programs.begin(), program); // in another order
    }
    MeshPlan stated = planStated(p, programs);
    ASSERT_EQ(stated.admissible, plan.admissible);
    ASSERT_EQ(stated.candidates.size(), plan.candidates.size() + 1);
    EXPECT_EQ(stated.candidates.back().refused, "for a reason");
    for (size_t c = 0; c < plan.admissible; ++c) {
      EXPECT_EQ(stated.candidates[c].family, plan.candidates[c].family);
      EXPECT_EQ(stated.candidates[c].mesh.d1, plan.candidates[c].mesh.d1);
      EXPECT_NEAR(stated.candidates[c].time_s, plan.candidates[c].time_s, 1e-12 * plan.candidates[c].time_s);
    }
    ASSERT_EQ(stated.flips.size(), plan.flips.size());
    EXPECT_FALSE(plan.flips.empty());
    for (size_t f = 0; f < plan.flips.size(); ++f) {
      EXPECT_NEAR(stated.flips[f].at, plan.flips[f].at, 1e-9 * plan.flips[f].at);
      EXPECT_EQ(stated.flips[f].candidate, plan.flips[f].candidate);
    }
  }
}

} // namespace
