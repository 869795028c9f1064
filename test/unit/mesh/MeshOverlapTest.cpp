// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Collectives that run under kernels, in pieces: against times by hand, and against schedules that are walked step by
// step.
#include "CheckTable.h"
#include "lib/solver/MeshFlips.h"
#include "lib/solver/MeshPlanText.h"

#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

using namespace snug;
using namespace snug::test;

namespace {

// An element takes a second; nothing else takes any time.
Machine plainMachine() {
  Machine m;
  m.vector_bits = 256;
  m.contraction_per_s = m.attention_per_s = m.transcendental_per_s = m.elementwise_per_s = m.reduction_per_s =
      m.strided_per_s = 1;
  m.memory_bytes_per_s = {1};
  m.panel_bytes_per_s = 1;
  return m;
}

KernelCost elementwise(double seconds, int64_t rows = 0) {
  KernelCost cost;
  cost.work.elementwise = seconds;
  cost.rows = rows;
  return cost;
}

// Two devices, 1 byte/s: a reduce-scatter of 2 V bytes takes V s and the latency.
MeshProblem problemOf(std::vector<ComputeTerm> compute, std::vector<CollectiveEvent> collectives, double latency) {
  MeshProblem p;
  p.topology = topologyOf({{2, 1, 1}}, false, latency);
  p.topology.levels[0].p2p_bytes_per_s = p.topology.levels[0].group_bytes_per_s = 1e6;
  for (CollectiveEvent &event : collectives)
    event.bytes *= 1e6;
  p.phases = {{"run", 1}};
  p.families = {kOneD};
  p.machine = plainMachine();
  p.terms = [=](int64_t, int64_t) {
    MeshTerms terms;
    terms.phases = {{{"only", "", collectives, compute}}};
    return terms;
  };
  return p;
}

CollectiveEvent scatter(double seconds, std::optional<size_t> under, double count = 1) {
  return {"scatter", Collective::ReduceScatter, Cut::Outputs, 2 * seconds, count, under};
}

LayoutPrice priceOf(const MeshProblem &p) {
  MeshPlan plan = planMesh(p);
  EXPECT_EQ(plan.admissible, 1u) << plan.problem;
  return plan.admissible ? plan.candidates[0].phases[0].price() : LayoutPrice();
}

TEST(MeshOverlap, TakesWhatItTakesByHand) {
  MeshProblem p = problemOf({{"gemm", elementwise(4e-3), 3}}, {scatter(2e-3, 0, 3)}, 2e-5);
  int count = 0;
  for (auto [pieces, ms] : std::vector<std::pair<int, double>>{{1, 6.02}, {2, 5.02}, {4, 4.52}, {8, 4.27}}) {
    p.pieces.assign({1, 2, 4, 8});
    p.pieces.resize(static_cast<size_t>(++count));
    LayoutPrice price = priceOf(p);
    ASSERT_EQ(price.overlaps.size(), 1u);
    EXPECT_EQ(price.overlaps[0].pieces, pieces);
    EXPECT_NEAR(price.time(), 3 * ms * 1e-3, 1e-12);
    // Bytes are sent once, and each piece starts a collective.
    EXPECT_NEAR(price.compute_s, 3 * 4e-3, 1e-12);
    EXPECT_EQ(price.traffic[0].collectives, 3 * pieces);
    EXPECT_NEAR(price.traffic[0].latency_s, 3 * pieces * 2e-5, 1e-12);
    EXPECT_NEAR(price.traffic[0].transfer_s, 3 * 2e-3, 1e-12);
    EXPECT_NEAR(price.traffic[0].bytes, 3 * 2e-3 * 1e6, 1e-6);
    EXPECT_NEAR(price.hidden_s, 3 * (4e-3 + 2e-3 + pieces * 2e-5 - ms * 1e-3), 1e-12);
  }
}

TEST(MeshOverlap, NothingRunsUnderWhatItIsNotStatedFor) {
  std::vector<ComputeTerm> two{{"first", elementwise(1), 1}, {"second", elementwise(8), 1}};
  EXPECT_DOUBLE_EQ(priceOf(problemOf(two, {scatter(4, std::nullopt)}, 0)).time(), 13);
  EXPECT_DOUBLE_EQ(priceOf(problemOf(two, {scatter(4, 0)}, 0)).time(), 1 + 4 + 8 - 7 / 8.);
  EXPECT_DOUBLE_EQ(priceOf(problemOf(two, {scatter(4, 1)}, 0)).time(), 1 + 8 + 4 - 7 / 8. * 4);
  // Both under one kernel share the links.
  EXPECT_DOUBLE_EQ(priceOf(problemOf(two, {scatter(3, 1), scatter(2, 1)}, 0)).time(), 1 + 8 + 5 - 7 / 8. * 5);
}

TEST(MeshOverlap, LatencyAndShortInputsEndIt) {
  auto pieces = [](int64_t rows, double latency) {
    return priceOf(problemOf({{"gemm", elementwise(4, rows), 1}}, {scatter(2, 0)}, latency)).overlaps[0].pieces;
  };
  EXPECT_EQ(pieces(0, 0), 8);
  EXPECT_EQ(pieces(7, 0), 4) << "a piece has a row at least";
  EXPECT_EQ(pieces(2, 0), 2);
  EXPECT_EQ(pieces(1, 0), 1);
  // By hand, with latency a: 6 + a, 5 + a, 4.5 + a and 4.25 + a, until the links take longer than the kernel:
  // T(8) = .5 + 8 (.25 + a), T(4) = 1 + 4 (.5 + a), T(2) = 5 + a while a < 1, T(1) = 6 + a.
  EXPECT_EQ(pieces(0, .2), 8);
  EXPECT_EQ(pieces(0, .6), 4);
  EXPECT_EQ(pieces(0, .9), 2);
  EXPECT_EQ(pieces(0, 4), 1);
}

TEST(MeshOverlap, APieceReadsAllWeights) {
  KernelCost cost = elementwise(4, 10);
  cost.pieces = 6;
  cost.near_s = 2;
  cost.far_bytes = 8;
  cost.panel_bytes = 16;
  KernelCost piece = pieceOf(cost, 4);
  EXPECT_EQ(piece.work.elementwise, 1);
  EXPECT_EQ(piece.rows, 3);
  EXPECT_EQ(piece.pieces, 1.5);
  EXPECT_EQ(piece.near_s, .5);
  EXPECT_EQ(piece.far_bytes, 2);
  EXPECT_EQ(piece.panel_bytes, 16);
  EXPECT_EQ(pieceOf(elementwise(4), 2).rows, 0);
  EXPECT_EQ(pieceOf(elementwise(4), 2).pieces, 1);
  // 4 s in pieces, 3 s of links, and 2 s of weights for each: 9, 10.5 and so on.
  KernelCost heavy = elementwise(4);
  heavy.panel_bytes = 2;
  LayoutPrice price = priceOf(problemOf({{"gemm", heavy, 1}}, {scatter(3, 0)}, 0));
  EXPECT_EQ(price.overlaps[0].pieces, 1);
  EXPECT_DOUBLE_EQ(price.time(), 9);
  heavy.panel_bytes = .5; // 7.5; 2.5 + 1.5 + 2.5 = 6.5; 1.5 + .75 + 4.5 = 6.75
  price = priceOf(problemOf({{"gemm", heavy, 1}}, {scatter(3, 0)}, 0));
  EXPECT_EQ(price.overlaps[0].pieces, 2);
  EXPECT_DOUBLE_EQ(price.time(), 6.5);
}

// Walks a schedule: each of two resources does one step at a time, of those that are ready the one of the earliest
// piece.
double walk(int pieces, const std::vector<std::pair<int, double>> &stages) {
  std::vector<size_t> done(static_cast<size_t>(pieces), 0);
  std::vector<double> ready(static_cast<size_t>(pieces), 0);
  double free[2] = {0, 0}, end = 0;
  for (size_t left = stages.size() * static_cast<size_t>(pieces); left > 0; --left) {
    size_t next = 0;
    double start = INFINITY;
    for (size_t p = 0; p < ready.size(); ++p)
      if (done[p] < stages.size()) {
        double at = std::max(ready[p], free[stages[done[p]].first]);
        if (at < start) {
          start = at;
          next = p;
        }
      }
    auto [resource, time] = stages[done[next]];
    ready[next] = free[resource] = start + time;
    end = std::max(end, start + time);
    ++done[next];
  }
  return end;
}

TEST(MeshOverlap, IsTheScheduleStepByStep) {
  std::mt19937_64 random(3);
  auto some = [&](unsigned n) { return static_cast<double>(random() % n) / 16; };
  std::set<int> chosen;
  for (int i = 0; i < 3000; ++i) {
    double kernel = some(64), before = some(32), after = some(64);
    // One of the two directions is a schedule of two steps, which is exact; of three it is a bound.
    for (int pieces : {1, 2, 3, 4, 8}) {
      EXPECT_NEAR(pipelinedTime(pieces, kernel, after), walk(pieces, {{0, kernel}, {1, after}}), 1e-9);
      EXPECT_NEAR(pipelinedTime(pieces, kernel, after), walk(pieces, {{1, after}, {0, kernel}}), 1e-9);
      EXPECT_GE(pipelinedTime(pieces, kernel, before + after) + 1e-9,
                walk(pieces, {{1, before}, {0, kernel}, {1, after}}));
    }
    double latency = some(8);
    int64_t rows = 1 + static_cast<int64_t>(random() % 16);
    LayoutPrice price =
        priceOf(problemOf({{"gemm", elementwise(kernel, rows), 1}}, {scatter(before, 0), scatter(after, 0)}, latency));
    double least = INFINITY;
    for (int pieces : {1, 2, 4, 8})
      if (pieces <= rows)
        least = std::min(least, walk(pieces, {{0, kernel / pieces}, {1, 2 * latency + (before + after) / pieces}}));
    ASSERT_NEAR(price.time(), least, 1e-9) << i;
    chosen.insert(price.overlaps[0].pieces);
  }
  EXPECT_EQ(chosen, (std::set<int>{1, 2, 4, 8}));
}

TEST(MeshOverlap, RefusesWhatIsUnderNoKernelOrNotAsOften) {
  auto refusal = [](size_t under, double count) {
    return planMesh(problemOf({{"gemm", elementwise(1), 2}}, {scatter(1, under, count)}, 0)).candidates[0].refused;
  };
  EXPECT_EQ(refusal(0, 2), "");
  EXPECT_EQ(refusal(1, 2), "run: the model states that 'scatter' runs under a kernel that it does not have");
  EXPECT_EQ(refusal(0, 3), "run: the model states that 'scatter' runs under 'gemm', but not as often");
}

MeshProblem transformerProblem(const Topology &t, bool overlaps) {
  Transformer m;
  m.layers = 2;
  m.heads = m.kvHeads = t.size();
  m.headDim = 64;
  m.hidden = m.heads * m.headDim;
  m.ffn = 4 * m.hidden;
  m.overlaps = overlaps;
  MeshProblem p;
  p.topology = t;
  p.phases = {{"prefill", 1}, {"decode", 30}};
  p.threads = 4;
  p.machine = builtinMachine(512);
  p.terms = [m](int64_t outputs, int64_t inputs) {
    return transformerTerms(m, {{4096, 4096}, {8, 4096}}, outputs, inputs);
  };
  return p;
}

TEST(MeshOverlap, NoMeshIsSlowerForIt) {
  size_t faster = 0;
  for (const Row &row : checkTable()) {
    Topology t = topologyOf(row.levels, true, 2e-6);
    MeshPlan alone = planMesh(transformerProblem(t, false)), under = planMesh(transformerProblem(t, true));
    ASSERT_EQ(alone.admissible, under.admissible);
    for (const MeshCandidate &a : alone.candidates)
      for (const MeshCandidate &u : under.candidates)
        if (a.family == u.family && a.mesh.d1 == u.mesh.d1 && a.mesh.d2 == u.mesh.d2) {
          EXPECT_LE(u.time_s, a.time_s * (1 + 1e-9)) << row.id;
          faster += u.time_s < a.time_s * .99;
        }
  }
  EXPECT_GT(faster, 20u);
}

// At a stated flip another mesh is chosen beyond, and none short of it: also where pieces change on the way.
TEST(MeshOverlap, ChoicesFlipWhereThePlanSaysAndNowhereBefore) {
  size_t seen = 0;
  for (const Row &row : checkTable()) {
    Topology t = topologyOf(row.levels, true, 2e-6);
    if (t.size() > 16) // takes long, and shows nothing else
      continue;
    MeshProblem p = transformerProblem(t, true);
    MeshPlan plan = planMesh(p);
    auto choice = [](const MeshPlan &of) {
      return text({of.candidates[0].mesh.d1, of.candidates[0].mesh.d2, of.candidates[0].family});
    };
    for (size_t level = 0; level < t.levels.size(); ++level)
      for (bool isGroup : {false, true})
        for (double side : {-1., 1.}) {
          const LinkLevel &link = t.levels[level];
          double now = isGroup ? link.group_bytes_per_s : link.p2p_bytes_per_s, at = now * (side < 0 ? 1e-3 : 1e3);
          const BandwidthFlip *flip = nullptr;
          for (const BandwidthFlip &f : plan.flips)
            if (f.level == level && f.isGroup == isGroup && (f.at > f.now) == (side > 0) && std::isfinite(f.at))
              flip = &f;
          if (flip)
            at = flip->at;
          auto planAt = [&](double bandwidth) {
            MeshProblem varied = p;
            LinkLevel &level_ = varied.topology.levels[level];
            (isGroup ? level_.group_bytes_per_s : level_.p2p_bytes_per_s) = bandwidth;
            return planMesh(varied);
          };
          auto isPossible = [&](double bandwidth) {
            return isGroup ? bandwidth >= link.p2p_bytes_per_s : bandwidth <= link.group_bytes_per_s;
          };
          for (double share : {.1, .5, .9, .999}) {
            double bandwidth = now * std::pow(at / now, share);
            if (isPossible(bandwidth))
              EXPECT_EQ(choice(planAt(bandwidth)), choice(plan)) << row.id << " " << level << isGroup << share;
          }
          double beyond = at * (1 + side * 1e-4);
          if (flip && isPossible(beyond)) {
            ++seen;
            const MeshCandidate &to = plan.candidates[flip->candidate];
            EXPECT_EQ(choice(planAt(beyond)), text({to.mesh.d1, to.mesh.d2, to.family})) << row.id;
          }
        }
  }
  EXPECT_GT(seen, 15u);
}

// Cut by outputs, `kernels` and links of `links` s each at the bandwidth that there is; by inputs, `other` s.
void expectFlip(const std::vector<KernelCost> &kernels, double links, double other, double time, double linksThere) {
  MeshProblem p = problemOf({}, {}, 0);
  p.families = {kOneD, kColumn};
  p.terms = [=](int64_t outputs, int64_t) {
    MeshTerms terms;
    terms.phases = {{{"only", "", {}, {}}}};
    LayoutTerms &only = terms.phases[0][0];
    if (outputs == 1)
      only.compute.push_back({"gemm", elementwise(other), 1});
    else
      for (const KernelCost &kernel : kernels) {
        only.collectives.push_back(
            {"sum", Collective::ReduceScatter, Cut::Outputs, 2e6 * links, 1, only.compute.size()});
        only.compute.push_back({"gemm", kernel, 1});
      }
    return terms;
  };
  MeshPlan plan = planMesh(p);
  EXPECT_DOUBLE_EQ(plan.candidates[0].time_s, time);
  ASSERT_EQ(plan.flips.size(), 2u) << "one of each bandwidth";
  for (const BandwidthFlip &flip : plan.flips)
    EXPECT_NEAR(flip.at, 1e6 * links / linksThere, 1);
}

TEST(MeshOverlap, AFlipIsWhereItIsByHand) {
  // With links of x s, 8 pieces take 4 + x / 8 where x < 4, and x + .5 beyond.
  expectFlip({elementwise(4)}, 2, 4.3, 4.25, 2.4);
  expectFlip({elementwise(4)}, 2, 5, 4.25, 4.5);
  expectFlip({elementwise(4), elementwise(4)}, 2, 8.6, 8.5, 2.4);
  // With a second of weights in each piece: one takes 5 + x, two 6 + x / 2 where x < 6.
  KernelCost heavy = elementwise(4);
  heavy.panel_bytes = 1;
  expectFlip({heavy}, 1, 6.5, 6, 1.5);
}

TEST(MeshOverlap, IsReported) {
  MeshProblem p = problemOf({{"gemm", elementwise(4e-3), 3}}, {scatter(2e-3, 0, 3)}, 2e-5);
  MeshPlan plan = planMesh(p);
  nlohmann::json layout = nlohmann::json::parse(meshPlanJson(p, plan))["candidates"][0]["phases"][0]["layouts"][0];
  EXPECT_EQ(layout["overlaps"], nlohmann::json::parse(R"([{"kernel": "gemm", "runs": 3.0, "pieces": 8}])"));
  EXPECT_NEAR(layout["hidden_ms"].get<double>(), 3 * (6.16 - 4.27), 1e-9);
  EXPECT_NEAR(layout["time_ms"].get<double>(), 3 * 4.27, 1e-9);
  EXPECT_NE(meshPlanText(p, plan).find("hidden"), std::string::npos);
  EXPECT_NE(meshPlanText(p, plan).find(" 5.67 "), std::string::npos) << meshPlanText(p, plan);
}

} // namespace
