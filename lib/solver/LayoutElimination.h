// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Internal to lib/solver: elimination of variables from a sum of cost tables.
#ifndef SNUG_LIB_SOLVER_LAYOUTELIMINATION_H
#define SNUG_LIB_SOLVER_LAYOUTELIMINATION_H

#include <cstddef>
#include <vector>

namespace snug::layout {

/// A cost for each combination of states of some variables, which are ascending; row-major.
struct Factor {
  std::vector<unsigned> vars;
  std::vector<double> table;
};

/// The entry of a factor for these states of all variables, of which each has so many.
double entryOf(const Factor &factor, const std::vector<unsigned> &states, const std::vector<unsigned> &sizes);

/// The order in which variables are eliminated: those of `exact`, then, given states of those of `cut`, those of
/// `rest`.
struct EliminationPlan {
  std::vector<unsigned> exact, cut, rest;
  double exactSteps = 0, restSteps = 0; ///< table entries read
};

/// The next variable is the one whose neighbours have the smallest table, the lowest of equal ones; where none has one
/// of at most `maxEntries`, the variable with most neighbours is cut.
EliminationPlan planElimination(const std::vector<unsigned> &sizes, const std::vector<Factor> &factors,
                                double maxEntries);

/// A sum of factors, from which variables are eliminated by taking the least over their states.
class Elimination {
public:
  /// `sizes`: how many states each variable has. Outlives this.
  Elimination(const std::vector<unsigned> &sizes, std::vector<Factor> factors);
  void eliminate(const std::vector<unsigned> &order);
  /// The factors of the variables that are left.
  std::vector<Factor> left() const;
  /// The least sum, once no variable is left.
  double constant() const { return sum; }
  /// Sets the states of the eliminated variables, given those of all others, to the lowest that give the least sum.
  void decode(std::vector<unsigned> &states) const;

private:
  struct Bucket {
    unsigned var;
    std::vector<Factor> factors; ///< of the variable and of such as were left
  };
  void add(Factor factor);
  Factor leastOver(unsigned var, const std::vector<Factor> &bucket) const;

  const std::vector<unsigned> &sizes;
  std::vector<Factor> factors;              ///< without variables where moved to a bucket
  std::vector<std::vector<unsigned>> users; ///< factors of each variable
  std::vector<Bucket> buckets;
  double sum = 0;
};

/// What of a variable a slice takes: a state, all of them, or the least over all.
constexpr int kAll = -1, kLeast = -2;
Factor slice(const Factor &factor, const std::vector<unsigned> &sizes, const std::vector<int> &choice);

} // namespace snug::layout

#endif // SNUG_LIB_SOLVER_LAYOUTELIMINATION_H
