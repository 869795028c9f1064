// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/LayoutComponent.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace snug::layout {
namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Sums of the same costs in another order differ by less.
constexpr double kRounding = 1e-12;
// A search looks at this many choices at least, or it could as well not have one.
constexpr double kLeastEvaluations = 8;
// Entries that are read one by one take longer than rows do.
constexpr double kSingleEntry = 8;

// Where variables are cut: states of these, and for each choice the rest exactly.
class Search {
public:
  Search(const Component &component, const EliminationPlan &plan, const Elimination &core, const LayoutLimits &limits)
      : component(component), plan(plan), core(core), limits(limits), left(core.left()), users(component.sizes.size()),
        choice(component.sizes.size(), kAll) {
    stepsOfOne = plan.restSteps + static_cast<double>(component.sizes.size());
    for (const Factor &factor : left)
      stepsOfOne += static_cast<double>(factor.table.size());
    for (unsigned f = 0; f < component.factors.size(); ++f)
      for (unsigned v : component.factors[f].vars)
        users[v].push_back(f);
  }

  ComponentSolution run() {
    best.states = component.states;
    best.energy = energyOf(best.states);
    descend(component.states);
    for (unsigned v : plan.cut)
      choice[v] = kLeast;
    double root = evaluate();
    pruned = kInfinity;
    bool isDone = !isWorthwhile(root) || branch(0);
    if (!isDone) {
      pruned = root;
      improveCut();
      restart();
    }
    best.bound = std::min(cost(), pruned);
    best.isOptimal = !isLess(best.bound, cost());
    return best;
  }

private:
  Energy energyOf(const std::vector<unsigned> &states) const {
    Energy energy;
    for (const Factor &factor : component.factors)
      energy.add(entryOf(factor, states, component.sizes));
    return energy;
  }

  void keep(const std::vector<unsigned> &states) {
    Energy energy = energyOf(states);
    if (energy < best.energy) {
      best.states = states;
      best.energy = energy;
    }
  }

  // One variable after the other to the best of its states, given all others, until none moves.
  void descend(std::vector<unsigned> states) {
    for (bool moved = true; moved && spent < limits.searchSteps;) {
      moved = false;
      for (unsigned v = 0; v < states.size(); ++v)
        moved |= moveToBest(v, states);
    }
    keep(states);
  }

  bool moveToBest(unsigned v, std::vector<unsigned> &states) {
    unsigned from = states[v], to = from;
    Energy least = energyAt(v, states);
    for (unsigned s = 0; s < component.sizes[v]; ++s) {
      states[v] = s;
      Energy energy = energyAt(v, states);
      if (energy < least && (energy.infinite < least.infinite || isLess(energy.cost, least.cost))) {
        least = energy;
        to = s;
      }
    }
    states[v] = to;
    spent += kSingleEntry * static_cast<double>(component.sizes[v]) * static_cast<double>(users[v].size());
    return to != from;
  }

  Energy energyAt(unsigned v, const std::vector<unsigned> &states) const {
    Energy energy;
    for (unsigned f : users[v])
      energy.add(entryOf(component.factors[f], states, component.sizes));
    return energy;
  }

  static bool isLess(double a, double b) { return a < (b < kInfinity ? b - kRounding * std::abs(b) : b); }

  // The least cost with the choice of cut variables, where each factor has the least over those that are open: a bound,
  // and the cost itself where none is open.
  double evaluate() {
    spent += stepsOfOne;
    std::vector<Factor> factors;
    for (const Factor &factor : left)
      factors.push_back(slice(factor, component.sizes, choice));
    Elimination rest(component.sizes, std::move(factors));
    rest.eliminate(plan.rest);
    if (isLess(rest.constant(), cost()))
      complete(rest);
    return rest.constant();
  }

  // A whole choice of one that may be open.
  void complete(const Elimination &rest) {
    std::vector<unsigned> states(component.sizes.size(), 0);
    for (unsigned v : plan.cut)
      states[v] = choice[v] >= 0 ? static_cast<unsigned>(choice[v]) : best.states[v];
    rest.decode(states);
    core.decode(states);
    bool isWhole = true;
    for (unsigned v : plan.cut)
      if (choice[v] == kLeast) {
        moveToBest(v, states);
        isWhole = false;
      }
    isWhole ? keep(states) : descend(std::move(states));
  }

  double cost() const { return best.energy.infinite > 0 ? kInfinity : best.energy.cost; }

  // Whether choices of such a bound are looked at. Those that are not, though they may be better, are remembered.
  bool isWorthwhile(double bound) {
    if (bound < cost() - std::max(limits.gap, kRounding) * (cost() < kInfinity ? std::abs(cost()) : 0))
      return true;
    pruned = std::min(pruned, bound);
    return false;
  }

  // False if steps ran out: then a better choice may be left.
  bool branch(size_t depth) {
    if (depth == plan.cut.size())
      return true;
    unsigned v = plan.cut[depth];
    std::vector<std::pair<double, int>> bounds;
    for (int s = 0; s < static_cast<int>(component.sizes[v]); ++s) {
      if (spent >= limits.searchSteps / 2)
        return false;
      choice[v] = s;
      bounds.push_back({evaluate(), s});
    }
    std::sort(bounds.begin(), bounds.end());
    for (auto [bound, s] : bounds)
      if (isWorthwhile(bound)) {
        choice[v] = s;
        if (!branch(depth + 1))
          return false;
      }
    choice[v] = kLeast;
    return true;
  }

  // Of the best choice, one cut variable after the other to another state, with the rest solved anew.
  void improveCut() {
    for (bool improved = true; improved;) {
      improved = false;
      for (unsigned v : plan.cut) {
        for (unsigned u : plan.cut)
          choice[u] = static_cast<int>(best.states[u]);
        for (int s = 0; s < static_cast<int>(component.sizes[v]); ++s) {
          if (spent >= limits.searchSteps * 3 / 4)
            return;
          Energy before = best.energy;
          choice[v] = s;
          evaluate();
          improved |= best.energy.infinite < before.infinite || isLess(best.energy.cost, before.cost);
        }
      }
    }
  }

  void restart() {
    uint64_t random = 0x9e3779b97f4a7c15;
    for (unsigned r = 0; r < limits.restarts && spent < limits.searchSteps; ++r) {
      std::vector<unsigned> states(component.sizes.size());
      for (unsigned v = 0; v < states.size(); ++v) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        states[v] = static_cast<unsigned>(random % component.sizes[v]);
      }
      descend(std::move(states));
    }
  }

  const Component &component;
  const EliminationPlan &plan;
  const Elimination &core; ///< what no cut is needed for is eliminated
  const LayoutLimits &limits;
  std::vector<Factor> left;
  std::vector<std::vector<unsigned>> users; ///< factors of each variable
  std::vector<int> choice;
  ComponentSolution best;
  double stepsOfOne = 0, spent = 0;
  double pruned = kInfinity; ///< the least bound of what was not looked at
};
} // namespace

void Energy::add(double term) {
  if (term == kInfinity)
    ++infinite;
  else
    cost += term;
}

ComponentSolution solveComponent(const Component &component, const LayoutLimits &limits) {
  auto entries = static_cast<double>(limits.tableEntries);
  EliminationPlan plan = planElimination(component.sizes, component.factors, entries);
  while (entries > 1 && (plan.exactSteps > limits.steps || plan.restSteps * kLeastEvaluations > limits.searchSteps)) {
    entries /= 8;
    plan = planElimination(component.sizes, component.factors, entries);
  }
  Elimination core(component.sizes, component.factors);
  core.eliminate(plan.exact);
  if (!plan.cut.empty())
    return Search(component, plan, core, limits).run();
  ComponentSolution solution{component.states, {}, core.constant(), true};
  core.decode(solution.states);
  for (const Factor &factor : component.factors)
    solution.energy.add(entryOf(factor, solution.states, component.sizes));
  return solution;
}

} // namespace snug::layout
