// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Internal to lib/solver: states of the variables of one connected sum of factors, of least cost.
#ifndef SNUG_LIB_SOLVER_LAYOUTCOMPONENT_H
#define SNUG_LIB_SOLVER_LAYOUTCOMPONENT_H

#include "lib/solver/LayoutElimination.h"
#include "lib/solver/LayoutSolver.h"

#include <cstdint>
#include <tuple>

namespace snug::layout {

/// A cost with infinite terms counted apart, so that fewer of them are better.
struct Energy {
  int64_t infinite = 0;
  double cost = 0;
  void add(double term);
  friend bool operator<(const Energy &a, const Energy &b) {
    return std::tie(a.infinite, a.cost) < std::tie(b.infinite, b.cost);
  }
};

struct Component {
  std::vector<unsigned> sizes;  ///< of each variable: how many states
  std::vector<Factor> factors;  ///< of one or two variables
  std::vector<unsigned> states; ///< to begin with; the solution is no worse
};

struct ComponentSolution {
  std::vector<unsigned> states;
  Energy energy;
  double bound = 0; ///< no states cost less
  bool isOptimal = false;
};

ComponentSolution solveComponent(const Component &component, const LayoutLimits &limits);

} // namespace snug::layout

#endif // SNUG_LIB_SOLVER_LAYOUTCOMPONENT_H
