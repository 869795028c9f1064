// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Internal to lib/solver: which states of a layout problem need not be looked at.
#ifndef SNUG_LIB_SOLVER_LAYOUTPRUNING_H
#define SNUG_LIB_SOLVER_LAYOUTPRUNING_H

#include "lib/solver/LayoutElimination.h"
#include "lib/solver/LayoutSolver.h"

#include <utility>

namespace snug::layout {

class Pruner {
public:
  /// The problem is a valid one.
  explicit Pruner(const LayoutProblem &problem);

  /// Drops states of which an infinite cost is certain, and those that another state of the node is never worse than,
  /// whatever the states of all others: some optimum is left. False if a node has no state left: `stuck` is the node.
  bool prune();
  unsigned stuck = 0;

  /// The states that are left, ascending.
  const std::vector<std::vector<unsigned>> &states() const { return alive; }
  /// The costs of these, by their numbers among them, one factor for each two nodes that are joined. Nodes with one
  /// state are in none.
  std::vector<Factor> factors() const;
  /// Moves a choice of the whole problem to states that are left. Its cost does not rise.
  void replace(std::vector<unsigned> &choice) const;

private:
  struct Pair {
    unsigned a, b; // a < b
    std::vector<double> cost;
  };
  struct Dropped {
    unsigned node, state, by;
  };
  // The costs of a pair as one of its nodes sees them.
  struct View {
    const double *cost;
    size_t mine, theirs; // strides
    unsigned other;
    double at(unsigned own, unsigned others) const { return cost[own * mine + others * theirs]; }
  };
  std::vector<View> viewsOf(unsigned node) const;
  bool pruneNode(unsigned node);
  bool isNeverBetter(unsigned node, unsigned state, unsigned than, const std::vector<View> &views) const;

  std::vector<std::vector<double>> unary;
  std::vector<Pair> pairs;
  std::vector<std::vector<unsigned>> pairsOf;
  std::vector<std::vector<unsigned>> alive;
  std::vector<Dropped> dropped;
};

} // namespace snug::layout

#endif // SNUG_LIB_SOLVER_LAYOUTPRUNING_H
