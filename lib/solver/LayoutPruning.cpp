// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/LayoutPruning.h"

#include <algorithm>
#include <limits>
#include <map>

namespace snug::layout {
namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Each sweep looks at the neighbours of what was dropped in the one before; what later ones find is little.
constexpr int kSweeps = 8;
} // namespace

Pruner::Pruner(const LayoutProblem &problem) : pairsOf(problem.nodes.size()) {
  for (const LayoutProblem::Node &node : problem.nodes) {
    unary.push_back(node.cost);
    alive.emplace_back();
    for (unsigned s = 0; s < node.cost.size(); ++s)
      alive.back().push_back(s);
  }
  std::map<std::pair<unsigned, unsigned>, unsigned> pairAt;
  for (const LayoutProblem::Edge &edge : problem.edges) {
    size_t n = problem.nodes[edge.from].cost.size(), m = problem.nodes[edge.to].cost.size();
    if (edge.from == edge.to) {
      for (size_t s = 0; s < n; ++s)
        unary[edge.from][s] += edge.cost[s * n + s];
      continue;
    }
    auto [a, b] = std::minmax(edge.from, edge.to);
    auto [found, isNew] = pairAt.try_emplace({a, b}, static_cast<unsigned>(pairs.size()));
    if (isNew) {
      pairs.push_back({a, b, std::vector<double>(n * m, 0)});
      pairsOf[a].push_back(found->second);
      pairsOf[b].push_back(found->second);
    }
    Pair &pair = pairs[found->second];
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < m; ++j)
        pair.cost[edge.from == a ? i * m + j : j * n + i] += edge.cost[i * m + j];
  }
}

std::vector<Pruner::View> Pruner::viewsOf(unsigned node) const {
  std::vector<View> views;
  for (unsigned p : pairsOf[node]) {
    const Pair &pair = pairs[p];
    size_t row = unary[pair.b].size();
    if (node == pair.a)
      views.push_back({pair.cost.data(), row, 1, pair.b});
    else
      views.push_back({pair.cost.data(), 1, row, pair.a});
  }
  return views;
}

bool Pruner::prune() {
  std::vector<bool> isDue(alive.size(), true);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    bool any = false;
    for (unsigned node = 0; node < alive.size(); ++node) {
      if (!isDue[node])
        continue;
      isDue[node] = false;
      if (!pruneNode(node))
        continue;
      any = true;
      if (alive[node].empty()) {
        stuck = node;
        return false;
      }
      for (unsigned p : pairsOf[node])
        isDue[pairs[p].a == node ? pairs[p].b : pairs[p].a] = true;
    }
    if (!any)
      break;
  }
  return true;
}

// True if states were dropped.
bool Pruner::pruneNode(unsigned node) {
  std::vector<unsigned> &states = alive[node];
  size_t before = states.size();
  std::vector<View> views = viewsOf(node);
  // The least cost of each state at each neighbour, and the neighbour's state: where a state is best, another one is
  // mostly worse, which shows without a look at all states of the neighbours.
  struct Least {
    double cost = kInfinity;
    unsigned other = 0;
  };
  std::vector<std::vector<Least>> least(unary[node].size());
  std::vector<unsigned> possible;
  for (unsigned s : states) {
    bool isPossible = unary[node][s] < kInfinity;
    for (size_t v = 0; v < views.size() && isPossible; ++v) {
      Least best;
      for (unsigned o : alive[views[v].other])
        if (views[v].at(s, o) < best.cost)
          best = {views[v].at(s, o), o};
      least[s].push_back(best);
      isPossible = best.cost < kInfinity;
    }
    if (isPossible)
      possible.push_back(s);
  }
  if (possible.empty()) {
    states.clear();
    return true;
  }
  for (unsigned s : states)
    if (!std::binary_search(possible.begin(), possible.end(), s))
      dropped.push_back({node, s, possible[0]});
  states = possible;

  auto mayBeDropped = [&](unsigned state, unsigned than) {
    double bound = unary[node][state] - unary[node][than];
    for (size_t v = 0; v < views.size(); ++v)
      bound += least[state][v].cost - views[v].at(than, least[state][v].other);
    return than < state ? bound >= 0 : bound > 0;
  };
  for (auto state = possible.rbegin(); state != possible.rend(); ++state)
    for (unsigned than : states)
      if (than != *state && mayBeDropped(*state, than) && isNeverBetter(node, *state, than, views)) {
        dropped.push_back({node, *state, than});
        states.erase(std::find(states.begin(), states.end(), *state));
        break;
      }
  return states.size() < before;
}

// Of equal states the lower one is better.
bool Pruner::isNeverBetter(unsigned node, unsigned state, unsigned than, const std::vector<View> &views) const {
  double worst = unary[node][state] - unary[node][than];
  for (const View &view : views) {
    double difference = kInfinity;
    for (unsigned o : alive[view.other]) {
      double mine = view.at(state, o), its = view.at(than, o);
      if (mine < kInfinity) // else it says nothing against the other
        difference = std::min(difference, mine - its);
    }
    worst += difference;
  }
  return than < state ? worst >= 0 : worst > 0;
}

std::vector<Factor> Pruner::factors() const {
  std::vector<Factor> result;
  std::vector<std::vector<double>> own(alive.size());
  for (unsigned node = 0; node < alive.size(); ++node)
    for (unsigned s : alive[node])
      own[node].push_back(unary[node][s]);
  for (const Pair &pair : pairs) {
    Factor factor{{pair.a, pair.b}, {}};
    for (unsigned i : alive[pair.a])
      for (unsigned j : alive[pair.b])
        factor.table.push_back(pair.cost[i * unary[pair.b].size() + j]);
    bool isFixed = alive[pair.a].size() == 1, isOtherFixed = alive[pair.b].size() == 1;
    if (!isFixed && !isOtherFixed) {
      result.push_back(std::move(factor));
    } else if (isFixed != isOtherFixed) {
      std::vector<double> &of = own[isFixed ? pair.b : pair.a];
      for (size_t s = 0; s < of.size(); ++s)
        of[s] += factor.table[s];
    }
  }
  for (unsigned node = 0; node < alive.size(); ++node)
    if (alive[node].size() > 1)
      result.push_back({{node}, std::move(own[node])});
  return result;
}

void Pruner::replace(std::vector<unsigned> &choice) const {
  for (const Dropped &d : dropped)
    if (choice[d.node] == d.state)
      choice[d.node] = d.by;
}

} // namespace snug::layout
