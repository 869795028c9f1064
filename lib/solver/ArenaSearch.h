// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Internal to lib/solver: the searches behind packArena, over a normalised component of the problem.
#ifndef SNUG_LIB_SOLVER_ARENASEARCH_H
#define SNUG_LIB_SOLVER_ARENASEARCH_H

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace snug::arena {

/// A buffer in normalised form: live in the sections [first, last] (inclusive), sizes and alignments divided by their
/// common unit; size > 0 and a multiple of alignment.
struct Item {
  int32_t first = 0;
  int32_t last = 0;
  int64_t size = 0;
  int64_t alignment = 1;
  long double duration = 1; // of the live range in the problem's time
};

/// Buffers connected in time. Sections are the maximal sets of simultaneously live buffers, in time order: at most one
/// a buffer, and each section has a buffer that starts in it.
struct Component {
  std::vector<Item> items;
  std::vector<int64_t> sectionTotals; // sum of live sizes
  int64_t lowerBound = 0;             // largest section total
  /// Per item the items live with it, where these lists are short in all; otherwise empty.
  std::vector<std::vector<int32_t>> conflicts;
  bool mixedAlignment = false;        // some alignment is > 1 unit

  int32_t numSections() const { return static_cast<int32_t>(sectionTotals.size()); }
};

struct Packing {
  std::vector<int64_t> offsets;
  int64_t capacity = 0;
};

/// Counts down the elementary steps left.
struct StepBudget {
  int64_t left = 0;
  bool spend(int64_t steps) { return (left -= steps) > 0; }
};

using Order = std::vector<int32_t>;

/// The item orders worth trying with first fit, best ones first.
std::vector<Order> firstFitOrders(const Component &component);

/// Places items in the given order, each at the lowest offset (or, with `bestFit`, in the smallest gap) that fits.
/// Returns nullopt as soon as an item would end above `limit`; *failedAt is then its position in the order.
std::optional<Packing> packInOrder(const Component &component, const Order &order, bool bestFit, int64_t limit,
                                   StepBudget &steps, size_t *failedAt = nullptr);

/// Improves `best` towards `target` by repeated first fit, moving each item that does not fit to an earlier place in
/// the order. Stops at the target or when the steps are spent.
void improveByPromotion(const Component &component, Order order, int64_t target, StepBudget &steps, Packing &best);

enum class Outcome { Found, Infeasible, OutOfSteps };

/// Runs a search of its own (make() builds it) unless the bound already says no, and gives what it found as a packing.
template <class Make> Outcome packBy(const Component &component, int64_t limit, Make make, Packing &result) {
  if (component.lowerBound > limit)
    return Outcome::Infeasible;
  auto search = make();
  Outcome outcome = search.run();
  if (outcome != Outcome::Found)
    return outcome;
  result.offsets = search.result();
  result.capacity = 0;
  for (size_t i = 0; i < component.items.size(); ++i)
    result.capacity = std::max(result.capacity, result.offsets[i] + component.items[i].size);
  return Outcome::Found;
}

/// How the branch and bound orders the items it may place next.
enum class Preference { LongestFirst, LargestFirst, AreaFirst, ShortestFirst };

/// Depth-first search for a packing of capacity <= `limit`. Infeasible is a proof that none exists.
Outcome searchPacking(const Component &component, int64_t limit, Preference preference, StepBudget &steps,
                      Packing &result);

/// Which items searchOffsets tries first: by the fullest section they are in, their length and their area.
enum class Hardest { LengthAreaTotal, TotalAreaLength, TotalLengthArea };

/// Depth-first search by rising offset for a packing of capacity <= `limit`. Infeasible is a proof that none exists.
/// Memory and time of a step grow with the square of the items: for components of at most a thousand.
Outcome searchOffsets(const Component &component, int64_t limit, Hardest hardest, StepBudget &steps, Packing &result);

} // namespace snug::arena

#endif // SNUG_LIB_SOLVER_ARENASEARCH_H
