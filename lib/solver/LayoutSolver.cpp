// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/LayoutSolver.h"
#include "lib/solver/LayoutPruning.h"
#include "lib/solver/LayoutComponent.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace snug {
namespace {
using namespace layout;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLargest = 1e150; // sums of so many as there are in memory stay finite

bool isCost(double cost) { return cost == kInfinity || std::abs(cost) <= kLargest; }

// Why this is no problem at all; empty if it is one.
std::string mistakeOf(const LayoutProblem &problem) {
  auto isOdd = [](const std::vector<double> &costs) { return !std::all_of(costs.begin(), costs.end(), isCost); };
  for (size_t n = 0; n < problem.nodes.size(); ++n)
    if (isOdd(problem.nodes[n].cost))
      return "node " + std::to_string(n) + " has a cost that is no number, or too large a one";
  for (size_t e = 0; e < problem.edges.size(); ++e) {
    const LayoutProblem::Edge &edge = problem.edges[e];
    std::string name = "edge " + std::to_string(e);
    for (unsigned end : {edge.from, edge.to})
      if (end >= problem.nodes.size())
        return name + " is of node " + std::to_string(end) + " of " + std::to_string(problem.nodes.size());
    size_t entries = problem.nodes[edge.from].cost.size() * problem.nodes[edge.to].cost.size();
    if (edge.cost.size() != entries)
      return name + " has " + std::to_string(edge.cost.size()) + " costs, not " + std::to_string(entries);
    if (isOdd(edge.cost))
      return name + " has a cost that is no number, or too large a one";
  }
  for (size_t n = 0; n < problem.nodes.size(); ++n) {
    const std::vector<double> &costs = problem.nodes[n].cost;
    if (std::none_of(costs.begin(), costs.end(), [](double cost) { return cost < kInfinity; }))
      return "node " + std::to_string(n) + " has no allowed state";
  }
  return "";
}

// Each node to the best of its states, given those of the nodes before it.
std::vector<unsigned> greedyChoice(const LayoutProblem &problem) {
  std::vector<std::vector<const LayoutProblem::Edge *>> edgesOf(problem.nodes.size());
  for (const LayoutProblem::Edge &edge : problem.edges)
    edgesOf[std::max(edge.from, edge.to)].push_back(&edge);
  std::vector<unsigned> choice(problem.nodes.size(), 0);
  for (unsigned n = 0; n < problem.nodes.size(); ++n) {
    Energy least;
    unsigned best = 0;
    for (unsigned s = 0; s < problem.nodes[n].cost.size(); ++s) {
      choice[n] = s;
      Energy energy;
      energy.add(problem.nodes[n].cost[s]);
      for (const LayoutProblem::Edge *edge : edgesOf[n])
        energy.add(edge->cost[choice[edge->from] * problem.nodes[edge->to].cost.size() + choice[edge->to]]);
      if (s == 0 || energy < least) {
        least = energy;
        best = s;
      }
    }
    choice[n] = best;
  }
  return choice;
}

double costOf(const LayoutProblem &problem, const std::vector<unsigned> &states) {
  double cost = 0;
  for (size_t n = 0; n < problem.nodes.size(); ++n)
    cost += problem.nodes[n].cost[states[n]];
  for (const LayoutProblem::Edge &edge : problem.edges)
    cost += edge.cost[states[edge.from] * problem.nodes[edge.to].cost.size() + states[edge.to]];
  return cost;
}

// A component, and which nodes its variables are.
struct Part {
  Component component;
  std::vector<unsigned> nodes;
};

// `start`: a state that is left, of each node.
std::vector<Part> partsOf(const Pruner &pruned, const std::vector<unsigned> &start) {
  std::vector<unsigned> parent(start.size());
  std::iota(parent.begin(), parent.end(), 0);
  auto rootOf = [&](unsigned node) {
    while (parent[node] != node)
      node = parent[node] = parent[parent[node]];
    return node;
  };
  std::vector<Factor> factors = pruned.factors();
  for (const Factor &factor : factors)
    for (unsigned v : factor.vars)
      parent[std::max(rootOf(v), rootOf(factor.vars[0]))] = std::min(rootOf(v), rootOf(factor.vars[0]));
  std::vector<Part> parts;
  std::vector<unsigned> partAt(start.size()), variable(start.size());
  for (unsigned node = 0; node < start.size(); ++node) {
    const std::vector<unsigned> &states = pruned.states()[node];
    if (states.size() == 1)
      continue;
    unsigned root = rootOf(node);
    if (root == node) {
      partAt[node] = static_cast<unsigned>(parts.size());
      parts.emplace_back();
    }
    Part &part = parts[partAt[node] = partAt[root]];
    variable[node] = static_cast<unsigned>(part.nodes.size());
    part.nodes.push_back(node);
    part.component.sizes.push_back(static_cast<unsigned>(states.size()));
    auto at = std::lower_bound(states.begin(), states.end(), start[node]);
    part.component.states.push_back(static_cast<unsigned>(at - states.begin()));
  }
  for (Factor &factor : factors) {
    Component &component = parts[partAt[factor.vars[0]]].component;
    for (unsigned &v : factor.vars)
      v = variable[v];
    component.factors.push_back(std::move(factor));
  }
  return parts;
}
} // namespace

LayoutSolution solveLayouts(const LayoutProblem &problem, const LayoutLimits &limits) {
  LayoutSolution solution;
  solution.problem = mistakeOf(problem);
  if (!solution.problem.empty())
    return solution;
  Pruner pruned(problem);
  if (!pruned.prune()) {
    solution.problem = "node " + std::to_string(pruned.stuck) + " has no allowed state beside those of its neighbours";
    return solution;
  }
  std::vector<unsigned> states = greedyChoice(problem);
  pruned.replace(states);
  solution.isOptimal = true;
  double missing = 0; // from the bound
  for (const Part &part : partsOf(pruned, states)) {
    ComponentSolution found = solveComponent(part.component, limits);
    solution.isOptimal &= found.isOptimal;
    missing += found.energy.cost - found.bound;
    if (found.energy.infinite > 0) {
      std::string which = "no states of node " + std::to_string(part.nodes[0]) + " and of those it is joined with ";
      solution.problem = which + (found.isOptimal ? "are allowed together" : "that are allowed together were found");
      solution.isOptimal = false;
      return solution;
    }
    for (size_t v = 0; v < part.nodes.size(); ++v)
      states[part.nodes[v]] = pruned.states()[part.nodes[v]][found.states[v]];
  }
  solution.cost = costOf(problem, states);
  if (solution.cost == kInfinity) // of nodes with one state each
    return {{}, 0, 0, false, "what other nodes allow of some nodes is not allowed together"};
  solution.bound = solution.isOptimal ? solution.cost : solution.cost - missing;
  solution.states = std::move(states);
  return solution;
}

} // namespace snug
