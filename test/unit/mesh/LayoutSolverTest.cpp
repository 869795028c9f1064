// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The layout solver against every choice of small graphs, and what it says where it cannot be exact.
#include "lib/solver/LayoutSolver.h"

#include <cmath>
#include <ctime>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace snug;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
using Random = std::mt19937_64; // the same numbers everywhere, unlike distributions

unsigned below(Random &random, size_t n) { return static_cast<unsigned>(random() % n); }

// Small whole numbers, so that many choices are equal, or any; of both signs.
struct Costs {
  bool whole = false;
  unsigned infinitePercent = 0;
  double operator()(Random &random) const {
    if (below(random, 100) < infinitePercent)
      return kInf;
    return whole ? double(below(random, 7)) - 2 : double(below(random, 1u << 20)) / (1u << 16) - 4;
  }
};

void addNode(LayoutProblem &p, Random &random, size_t states, const Costs &costs) {
  p.nodes.emplace_back();
  for (size_t s = 0; s < states; ++s)
    p.nodes.back().cost.push_back(costs(random));
}

void addEdge(LayoutProblem &p, Random &random, unsigned from, unsigned to, const Costs &costs) {
  LayoutProblem::Edge edge{from, to, {}};
  for (size_t i = 0; i < p.nodes[from].cost.size() * p.nodes[to].cost.size(); ++i)
    edge.cost.push_back(costs(random));
  p.edges.push_back(std::move(edge));
}

double costOf(const LayoutProblem &p, const std::vector<unsigned> &states) {
  double cost = 0;
  for (size_t n = 0; n < p.nodes.size(); ++n)
    cost += p.nodes[n].cost[states[n]];
  for (const LayoutProblem::Edge &e : p.edges)
    cost += e.cost[states[e.from] * p.nodes[e.to].cost.size() + states[e.to]];
  return cost;
}

// Infinite if nothing is allowed.
double leastCost(const LayoutProblem &p) {
  std::vector<unsigned> states(p.nodes.size(), 0);
  double least = kInf;
  while (true) {
    least = std::min(least, costOf(p, states));
    size_t n = 0;
    while (n < states.size() && ++states[n] == p.nodes[n].cost.size())
      states[n++] = 0;
    if (n == states.size())
      return least;
  }
}

// One node after the other, as those before it suggest.
double greedyCost(const LayoutProblem &p) {
  std::vector<unsigned> states(p.nodes.size(), 0);
  for (unsigned n = 0; n < p.nodes.size(); ++n) {
    double least = kInf;
    unsigned best = 0;
    for (unsigned s = 0; s < p.nodes[n].cost.size(); ++s) {
      states[n] = s;
      double cost = p.nodes[n].cost[s];
      for (const LayoutProblem::Edge &e : p.edges)
        if (std::max(e.from, e.to) == n)
          cost += e.cost[states[e.from] * p.nodes[e.to].cost.size() + states[e.to]];
      if (cost < least) {
        least = cost;
        best = s;
      }
    }
    states[n] = best;
  }
  return costOf(p, states);
}

enum Shape { kTree, kSeriesParallel, kClique, kSparse, kShapes };

LayoutProblem randomProblem(Random &random, Shape shape) {
  Costs costs{below(random, 2) == 0, std::vector<unsigned>{0, 0, 10, 30, 60}[below(random, 5)]};
  LayoutProblem p;
  unsigned count = 1 + below(random, 7);
  for (unsigned n = 0; n < count; ++n)
    addNode(p, random, 1 + below(random, 4), costs);
  auto join = [&](unsigned a, unsigned b) {
    bool turned = below(random, 2) == 0;
    addEdge(p, random, turned ? b : a, turned ? a : b, costs);
  };
  for (unsigned n = 1; n < count; ++n)
    switch (shape) {
    case kTree:
      join(n, below(random, n));
      break;
    case kSeriesParallel: // onto the ends of an edge, or of none
      if (p.edges.empty() || below(random, 4) == 0) {
        join(n, below(random, n));
      } else {
        LayoutProblem::Edge to = p.edges[below(random, p.edges.size())];
        join(n, to.from);
        join(n, to.to);
      }
      break;
    case kClique:
      for (unsigned m = 0; m < n; ++m)
        join(n, m);
      break;
    default:
      for (unsigned m = 0; m < n; ++m)
        if (below(random, 3) == 0)
          join(n, m);
    }
  for (unsigned more = below(random, 3); more > 0 && below(random, 2) == 0; --more)
    join(below(random, count), below(random, count)); // beside another one, or a node with itself
  return p;
}

void expectConsistent(const LayoutProblem &p, const LayoutSolution &s, const std::string &id) {
  if (!s.problem.empty()) {
    EXPECT_TRUE(s.states.empty() && !s.isOptimal) << id;
    return;
  }
  ASSERT_EQ(s.states.size(), p.nodes.size()) << id;
  for (size_t n = 0; n < s.states.size(); ++n)
    ASSERT_LT(s.states[n], p.nodes[n].cost.size()) << id;
  EXPECT_TRUE(std::isfinite(s.cost)) << id;
  EXPECT_DOUBLE_EQ(s.cost, costOf(p, s.states)) << id;
  EXPECT_LE(s.bound, s.cost) << id;
}

TEST(LayoutSolver, IsExactOnSmallGraphs) {
  Random random(1);
  int feasible = 0, infeasible = 0;
  for (int i = 0; i < 8000; ++i) {
    LayoutProblem p = randomProblem(random, Shape(i % kShapes));
    std::string id = std::to_string(i);
    LayoutSolution s = solveLayouts(p);
    expectConsistent(p, s, id);
    double least = leastCost(p);
    ASSERT_EQ(s.problem.empty(), least < kInf) << id << ": " << s.problem;
    (s.problem.empty() ? feasible : infeasible) += 1;
    if (s.problem.empty()) {
      EXPECT_TRUE(s.isOptimal) << id;
      ASSERT_NEAR(s.cost, least, 1e-9) << id;
    }
  }
  EXPECT_GT(feasible, 4000);
  EXPECT_GT(infeasible, 500);
}

// With tables too small for exact elimination, what is proven is true, and what is not is still a choice.
TEST(LayoutSolver, IsHonestWhereTablesMustStaySmall) {
  Random random(2);
  int unproven = 0, missed = 0, proven = 0;
  for (int i = 0; i < 8000; ++i) {
    LayoutProblem p = randomProblem(random, Shape(i % kShapes));
    std::string id = std::to_string(i);
    LayoutLimits limits;
    limits.tableEntries = 1 + below(random, 6);
    if (below(random, 2) == 0)
      limits.searchSteps = 10 + below(random, 2000);
    if (below(random, 4) == 0)
      limits.steps = 10 + below(random, 2000);
    limits.gap = below(random, 3) * .2;
    limits.restarts = below(random, 3);
    LayoutSolution s = solveLayouts(p, limits);
    expectConsistent(p, s, id);
    double least = leastCost(p);
    if (!s.problem.empty()) {
      missed += least < kInf;
      EXPECT_EQ(greedyCost(p), kInf) << id << ": " << s.problem;
      if (s.problem.find("were found") == std::string::npos)
        ASSERT_EQ(least, kInf) << id << ": " << s.problem;
      continue;
    }
    EXPECT_LE(s.cost, greedyCost(p) + 1e-9) << id;
    ASSERT_GE(s.cost, least - 1e-9) << id;
    ASSERT_LE(s.bound, least + 1e-9) << id;
    (s.isOptimal ? proven : unproven) += 1;
    if (s.isOptimal)
      ASSERT_NEAR(s.cost, least, 1e-9) << id;
  }
  EXPECT_GT(proven, 2000);
  EXPECT_GT(unproven, 200);
  EXPECT_LT(missed, 100);
}

TEST(LayoutSolver, DenseGraphsHaveAnAnswerNoWorseThanAGreedyOne) {
  for (unsigned count : {12u, 40u, 90u}) {
    Random random(count);
    LayoutProblem p;
    for (unsigned n = 0; n < count; ++n)
      addNode(p, random, 9, {});
    for (unsigned n = 0; n < count; ++n)
      for (unsigned m = 0; m < n; ++m)
        addEdge(p, random, n, m, {});
    LayoutLimits limits;
    limits.searchSteps = 2e7;
    LayoutSolution s = solveLayouts(p, limits);
    expectConsistent(p, s, std::to_string(count));
    EXPECT_LE(s.cost, greedyCost(p));
    EXPECT_FALSE(s.isOptimal);
    EXPECT_EQ(s.states, solveLayouts(p, limits).states);
  }
}

TEST(LayoutSolver, WhatCannotBeIsSaid) {
  LayoutProblem p;
  EXPECT_EQ(solveLayouts(p).problem, "");
  EXPECT_TRUE(solveLayouts(p).isOptimal);
  p.nodes = {{{1, 2}}, {{kInf, kInf}}};
  EXPECT_EQ(solveLayouts(p).problem, "node 1 has no allowed state");
  p.nodes[1].cost.clear();
  EXPECT_EQ(solveLayouts(p).problem, "node 1 has no allowed state");
  p.nodes[1].cost = {0, kInf};
  p.edges = {{0, 1, {kInf, 0, kInf, 0}}};
  EXPECT_EQ(solveLayouts(p).problem, "node 1 has no allowed state beside those of its neighbours");
  p.edges = {{0, 1, {0, 0}}};
  EXPECT_EQ(solveLayouts(p).problem, "edge 0 has 2 costs, not 4");
  p.edges = {{0, 2, {0, 0}}};
  EXPECT_EQ(solveLayouts(p).problem, "edge 0 is of node 2 of 2");
  p.edges = {{0, 1, {0, 0, -kInf, 0}}};
  EXPECT_EQ(solveLayouts(p).problem, "edge 0 has a cost that is no number, or too large a one");
  p.edges.clear();
  p.nodes[0].cost = {std::nan(""), 1};
  EXPECT_EQ(solveLayouts(p).problem, "node 0 has a cost that is no number, or too large a one");
  // Three nodes of two states, no two of them in the same one.
  p.nodes = {{{0, 0}}, {{0, 0}}, {{0, 0}}};
  for (auto [a, b] : std::vector<std::pair<unsigned, unsigned>>{{0, 1}, {1, 2}, {0, 2}})
    p.edges.push_back({a, b, {kInf, 0, 0, kInf}});
  EXPECT_EQ(solveLayouts(p).problem, "no states of node 0 and of those it is joined with are allowed together");
}

TEST(LayoutSolver, OfEqualStatesTheLowestIsTaken) {
  LayoutProblem p;
  p.nodes = {{{3, 1, 1, 1}}, {{2, 2, 2}}, {{5, 5}}};
  p.edges = {{0, 1, std::vector<double>(12, 1)}, {2, 1, std::vector<double>(6, 0)}};
  LayoutSolution s = solveLayouts(p);
  EXPECT_EQ(s.states, (std::vector<unsigned>{1, 0, 0}));
  EXPECT_EQ(s.cost, 9);
  p.nodes = {{{0, 0}}, {{0, 0}}};
  p.edges = {{0, 1, {0, 1, 1, 0}}};
  EXPECT_EQ(solveLayouts(p).states, (std::vector<unsigned>{0, 0}));
}

// Layers of a residual network, as an MLIR module has them: chains of ops that leave the residual and come back.
// States are cuts that cost what resharding moves; hubs, such as a mask, are read by all layers.
LayoutProblem residualNetwork(unsigned layers, unsigned hubs, unsigned states, bool areHubsHard) {
  Random random(7);
  LayoutProblem p;
  auto node = [&](double scale) {
    p.nodes.emplace_back();
    for (unsigned s = 0; s < states; ++s)
      p.nodes.back().cost.push_back(scale * (1 + below(random, 1000) / 100.0) / (1 + s % 5));
    return unsigned(p.nodes.size() - 1);
  };
  auto join = [&](unsigned from, unsigned to, double bytes) {
    LayoutProblem::Edge edge{from, to, {}};
    // To be whole is free of nothing: state 0 is whole, and cutting it moves nothing.
    for (unsigned i = 0; i < states; ++i)
      for (unsigned j = 0; j < states; ++j)
        edge.cost.push_back(i == j || i == 0 ? 0 : bytes * (1 + below(random, 100) / 200.0));
    p.edges.push_back(std::move(edge));
  };
  std::vector<unsigned> shared;
  for (unsigned h = 0; h < hubs; ++h)
    shared.push_back(node(areHubsHard ? 1 : .01));
  unsigned residual = node(1);
  auto chain = [&](unsigned from, unsigned length) {
    for (unsigned i = 0; i < length; ++i) {
      unsigned next = node(i % 4 == 0 ? 4 : .1);
      join(from, next, 2 + below(random, 8));
      from = next;
    }
    return from;
  };
  for (unsigned layer = 0; layer < layers; ++layer) {
    unsigned norm = chain(residual, 4);
    unsigned q = chain(norm, 7), k = chain(norm, 7), v = chain(norm, 5);
    unsigned scores = node(1);
    join(q, scores, 5);
    join(k, scores, 5);
    scores = chain(scores, 3);
    unsigned hub = 0;
    for (unsigned h : shared) {
      join(h, hub++ % 2 ? scores : norm, areHubsHard ? 4 : .05);
    }
    unsigned mixed = node(1);
    join(scores, mixed, 5);
    join(v, mixed, 5);
    unsigned projected = chain(mixed, 6), sum = node(.5);
    join(projected, sum, 4);
    join(residual, sum, 4);
    unsigned gate = chain(chain(sum, 4), 7), up = chain(sum, 6), product = node(.1);
    join(gate, product, 8);
    join(up, product, 8);
    residual = node(.5);
    join(chain(product, 5), residual, 4);
    join(sum, residual, 4);
  }
  return p;
}

TEST(LayoutSolver, ResidualNetworksAreExact) {
  for (auto [layers, hubs, states, hard] : std::vector<std::tuple<unsigned, unsigned, unsigned, bool>>{
           {48, 0, 25, false}, {48, 3, 25, false}, {48, 1, 25, true}, {48, 3, 25, true}, {24, 3, 40, false}}) {
    LayoutProblem p = residualNetwork(layers, hubs, states, hard);
    std::clock_t start = std::clock();
    LayoutSolution s = solveLayouts(p);
    double seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
    std::string id = std::to_string(p.nodes.size()) + " nodes of " + std::to_string(states) + " states, " +
                     std::to_string(hubs) + (hard ? " hard" : "") + " hubs";
    std::cout << id << ": " << seconds << " s, " << (s.isOptimal ? "optimal" : "not proven") << ", " << s.cost
              << " >= " << s.bound << "\n";
    expectConsistent(p, s, id);
    if (hubs < 2)
      EXPECT_TRUE(s.isOptimal) << id;
    if (!hard)
      EXPECT_LE(s.cost - s.bound, 1e-3 * s.cost) << id;
    EXPECT_LE(s.cost, greedyCost(p)) << id;
  }
}

} // namespace
