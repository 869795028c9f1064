// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One layout for each op of a program: a state for each node of a graph, so that what the nodes cost in their states
// and what the edges cost between them is least in sum. Pure functions, for any thread; costs in any one unit.
#ifndef SNUG_LIB_SOLVER_LAYOUTSOLVER_H
#define SNUG_LIB_SOLVER_LAYOUTSOLVER_H

#include <cstddef>
#include <string>
#include <vector>

namespace snug {

/// Infinite costs: not allowed. Costs may be negative, but neither minus infinity nor NaN.
struct LayoutProblem {
  struct Node {
    std::vector<double> cost; ///< of each state
  };
  /// Any number of edges may join the same two nodes, in either direction, or a node with itself.
  struct Edge {
    unsigned from = 0, to = 0;
    std::vector<double> cost; ///< [state of from][state of to], row-major
  };
  std::vector<Node> nodes;
  std::vector<Edge> edges;
};

/// What may be spent. Counts, not seconds, so that a problem has one answer on every machine.
struct LayoutLimits {
  size_t tableEntries = size_t(1) << 16; ///< of the cost table of the neighbours of an eliminated node
  double steps = 1e9;                    ///< table entries read by exact elimination
  double searchSteps = 2e8;              ///< the same of the search, of each connected part that needs one
  double gap = 1e-3;                     ///< the search leaves what would be better by no more than this share
  unsigned restarts = 16;                ///< of coordinate descent, where the search is not done
};

struct LayoutSolution {
  std::vector<unsigned> states; ///< of each node; empty if there is a problem
  double cost = 0;              ///< of these states: of the nodes in their order, then of the edges
  double bound = 0;             ///< no states cost less, up to rounding
  bool isOptimal = false;       ///< proven, up to rounding
  std::string problem;          ///< why there is no solution; empty if there is one
};

/// Exact by elimination of nodes (Bertelè and Brioschi, Nonserial Dynamic Programming, 1972) after states that another
/// one is never worse than are dropped (dead-end elimination: Goldstein, Biophysical Journal 66, 1994), wherever tables
/// stay within the limits. Where they do not, nodes of the highest degree are taken out, their states searched by
/// branch and bound, where what is left is solved exactly for each, and by coordinate descent. Of equal states the
/// lowest is taken.
LayoutSolution solveLayouts(const LayoutProblem &problem, const LayoutLimits &limits = {});

} // namespace snug

#endif // SNUG_LIB_SOLVER_LAYOUTSOLVER_H
