// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checks and normalises the problem, splits it into components that share no time, and drives the searches.
#include "lib/solver/ArenaPacker.h"

#include "lib/solver/ArenaSearch.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

namespace snug {
namespace {

using namespace arena;

// Sums of sizes stay below this, so that the searches may add two of them without overflow.
constexpr int64_t kMaxTotal = std::numeric_limits<int64_t>::max() / 4;

bool fail(std::string *error, std::string message) {
  if (error)
    *error = std::move(message);
  return false;
}

// Checks the problem and computes each size rounded up to its alignment.
bool checkAndPad(const ArenaProblem &problem, std::vector<int64_t> &padded, std::string *error) {
  const std::vector<Buffer> &buffers = problem.buffers;
  if (buffers.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    return fail(error, "the problem has more than 2147483647 buffers");
  std::vector<int64_t> ids;
  ids.reserve(buffers.size());
  padded.clear();
  padded.reserve(buffers.size());
  int64_t total = 0;
  for (const Buffer &buffer : buffers) {
    std::string name = "buffer " + std::to_string(buffer.id);
    if (buffer.size < 0)
      return fail(error, name + " has the negative size " + std::to_string(buffer.size));
    if (buffer.alignment < 1)
      return fail(error, name + " has the alignment " + std::to_string(buffer.alignment) + ", it must be at least 1");
    if (buffer.lower >= buffer.upper)
      return fail(error, name + " has the empty live range [" + std::to_string(buffer.lower) + ", " +
                             std::to_string(buffer.upper) + ")");
    // An offset is at most the sum of the sizes and of the gaps that alignment leaves.
    if (buffer.size > kMaxTotal || buffer.alignment > kMaxTotal - buffer.size ||
        buffer.size + buffer.alignment > kMaxTotal - total)
      return fail(error, "the sizes of the buffers up to " + name + " sum up to more than 2^61 bytes");
    total += buffer.size + buffer.alignment;
    int64_t units = buffer.size / buffer.alignment + (buffer.size % buffer.alignment != 0);
    padded.push_back(units * buffer.alignment);
    ids.push_back(buffer.id);
  }
  std::sort(ids.begin(), ids.end());
  auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end())
    return fail(error, "the buffer id " + std::to_string(*twice) + " is used twice");
  return true;
}

// Lists of conflicts pay where an item meets few of the others; then first fit need not look at all that are placed.
void fillConflicts(Component &component) {
  const std::vector<Item> &items = component.items;
  size_t left = items.size() * (items.size() / 16);
  std::vector<std::vector<int32_t>> conflicts(items.size());
  // Items come by rising first section, so those live with a later one are still in the list of open ones.
  std::vector<int32_t> open;
  for (size_t i = 0; i < items.size(); ++i) {
    open.erase(
        std::remove_if(open.begin(), open.end(), [&](int32_t other) { return items[other].last < items[i].first; }),
        open.end());
    if (open.size() > left)
      return;
    left -= open.size();
    for (int32_t other : open) {
      conflicts[i].push_back(other);
      conflicts[other].push_back(static_cast<int32_t>(i));
    }
    open.push_back(static_cast<int32_t>(i));
  }
  component.conflicts = std::move(conflicts);
}

struct NormalisedComponent {
  Component component;
  std::vector<size_t> origin; // item -> index in the problem
};

// Splits the buffers of size > 0 into components and compresses time to sections. Buffers are met by their start; the
// section advances whenever a buffer has ended since the last start, which makes sections maximal live sets.
std::vector<NormalisedComponent> normalise(const ArenaProblem &problem, const std::vector<int64_t> &padded,
                                           int64_t unit) {
  const std::vector<Buffer> &buffers = problem.buffers;
  std::vector<size_t> byLower;
  for (size_t i = 0; i < buffers.size(); ++i)
    if (padded[i] > 0)
      byLower.push_back(i);
  std::vector<size_t> byUpper = byLower;
  // All sorts break ties by position: the result must not depend on the library's sort.
  std::sort(byLower.begin(), byLower.end(), [&](size_t a, size_t b) {
    return std::make_tuple(buffers[a].lower, a) < std::make_tuple(buffers[b].lower, b);
  });
  std::sort(byUpper.begin(), byUpper.end(), [&](size_t a, size_t b) {
    return std::make_tuple(buffers[a].upper, a) < std::make_tuple(buffers[b].upper, b);
  });

  std::vector<NormalisedComponent> components;
  std::vector<size_t> itemOf(buffers.size());
  size_t ended = 0, started = 0;
  int32_t section = 0;
  auto endUpTo = [&](int64_t time) {
    bool any = false;
    for (; ended < started && buffers[byUpper[ended]].upper <= time; ++ended, any = true)
      components.back().component.items[itemOf[byUpper[ended]]].last = section;
    return any;
  };
  for (size_t index : byLower) {
    if (endUpTo(buffers[index].lower))
      ++section;
    if (ended == started) {
      components.emplace_back();
      section = 0;
    }
    NormalisedComponent &current = components.back();
    itemOf[index] = current.origin.size();
    current.origin.push_back(index);
    int64_t alignment = std::max<int64_t>(1, buffers[index].alignment / unit);
    long double duration = static_cast<long double>(buffers[index].upper) - buffers[index].lower;
    current.component.items.push_back({section, section, padded[index] / unit, alignment, duration});
    current.component.mixedAlignment |= alignment > 1;
    ++started;
  }
  endUpTo(std::numeric_limits<int64_t>::max());

  for (NormalisedComponent &current : components) {
    Component &component = current.component;
    int32_t sections = 0;
    for (const Item &item : component.items)
      sections = std::max(sections, item.last + 1);
    component.sectionTotals.assign(sections, 0);
    for (const Item &item : component.items)
      for (int32_t s = item.first; s <= item.last; ++s)
        component.sectionTotals[s] += item.size;
    fillConflicts(component);
    component.lowerBound = *std::max_element(component.sectionTotals.begin(), component.sectionTotals.end());
  }
  return components;
}

// The unit in which sizes and alignments are counted. Where every alignment divides the common divisor of the sizes,
// each sum of sizes is aligned and the searches need not think of alignment.
int64_t commonUnit(const ArenaProblem &problem, const std::vector<int64_t> &padded) {
  int64_t sizes = 0, alignments = 0;
  bool uniform = true;
  for (size_t i = 0; i < padded.size(); ++i)
    if (padded[i] > 0) {
      sizes = std::gcd(sizes, padded[i]);
      alignments = std::gcd(alignments, problem.buffers[i].alignment);
    }
  for (size_t i = 0; i < padded.size(); ++i)
    if (padded[i] > 0)
      uniform &= sizes % problem.buffers[i].alignment == 0;
  return std::max<int64_t>(1, uniform ? sizes : alignments);
}

Component mirrored(const Component &component) {
  Component mirror = component;
  int32_t end = component.numSections() - 1;
  for (Item &item : mirror.items) {
    int32_t first = item.first;
    item.first = end - item.last;
    item.last = end - first;
  }
  std::reverse(mirror.sectionTotals.begin(), mirror.sectionTotals.end());
  return mirror;
}

// Packs one component; stops at `target`, which the arena needs anyway. *proven receives a capacity that this component
// is proven to need.
Packing packComponent(const Component &component, int64_t target, StepBudget &steps, int64_t *proven) {
  *proven = component.lowerBound;
  target = std::max(target, component.lowerBound);
  constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
  std::vector<Order> orders = firstFitOrders(component);
  Packing best;
  best.capacity = kNoLimit;
  Order bestOrder = orders.front();
  // Enough for all orders of ten thousand items; the first one is carried through whatever it takes.
  StepBudget orderSteps{300'000'000};
  for (const Order &order : orders)
    for (bool bestFit : {false, true}) {
      if (best.capacity != kNoLimit && (best.capacity <= target || orderSteps.left <= 0))
        break;
      if (std::optional<Packing> packing = packInOrder(component, order, bestFit, best.capacity - 1, orderSteps)) {
        best = std::move(*packing);
        bestOrder = order;
      }
    }

  const Component mirror = mirrored(component);
  const Component *sides[] = {&component, &mirror};
  constexpr Preference kPreferences[] = {Preference::LongestFirst, Preference::LargestFirst, Preference::AreaFirst,
                                         Preference::ShortestFirst};
  constexpr Hardest kHardest[] = {Hardest::TotalLengthArea, Hardest::TotalAreaLength, Hardest::LengthAreaTotal};
  constexpr size_t kMostByOffset = 1000; // items
  // Of large components a search sees little before its steps are spent, and one pass along the skyline takes many.
  if (component.items.size() > kMostByOffset)
    for (const Order *order : {&bestOrder, &orders[0], &orders[1], &orders[2]}) {
      StepBudget half{steps.left / 2};
      int64_t before = half.left;
      improveByPromotion(component, *order, target, half, best);
      steps.spend(before - half.left);
    }
  // Without a limit that it can exceed, the search never turns back: filling the skyline greedily.
  for (Preference preference : kPreferences)
    for (const Component *side : sides) {
      Packing packing;
      if (best.capacity > target && steps.left > 0 &&
          searchPacking(*side, kNoLimit / 2, preference, steps, packing) == Outcome::Found &&
          packing.capacity < best.capacity)
        best = std::move(packing);
    }
  // Rounds of growing slices: an easy instance ends in the first, a hard one gets depth later. Each preference is tried
  // at the bound itself, near it, and just below the best packing known.
  int64_t descent = static_cast<int64_t>(component.items.size()) * component.numSections();
  for (int64_t slice = 500'000 + 8 * descent; best.capacity > target && steps.left > 0; slice *= 4) {
    auto withSlice = [&](auto search, int64_t times = 1) {
      StepBudget part{std::min(times * slice, steps.left)};
      int64_t before = part.left;
      search(part);
      steps.spend(before - part.left);
    };
    // At most a quarter of what is left, so that the search gets its turn on large instances.
    withSlice([&](StepBudget &part) {
      StepBudget quarter{std::min(part.left, steps.left / 4)};
      int64_t before = quarter.left;
      improveByPromotion(component, bestOrder, target, quarter, best);
      part.spend(before - quarter.left);
    });
    for (int i = 0; i < 4 && best.capacity > target; ++i) {
      auto aimAt = [&](auto search, int64_t times = 1) {
        int64_t highest = best.capacity - 1;
        int64_t aim = i == 0 ? target : i == 3 ? highest : target + (highest - target) / (i == 1 ? 16 : 3);
        if (best.capacity <= target || steps.left <= 0)
          return;
        Outcome outcome = Outcome::OutOfSteps;
        withSlice([&](StepBudget &part) { outcome = search(aim, part); }, times);
        if (outcome == Outcome::Infeasible)
          target = *proven = aim + 1;
      };
      if (component.items.size() <= kMostByOffset)
        for (Hardest hardest : kHardest)
          aimAt([&](int64_t aim, StepBudget &part) { return searchOffsets(component, aim, hardest, part, best); },
                i == 0 ? 6 : 1);
      for (Preference preference : kPreferences)
        for (const Component *side : sides)
          aimAt([&](int64_t aim, StepBudget &part) { return searchPacking(*side, aim, preference, part, best); });
    }
  }
  return best;
}

} // namespace

std::optional<int64_t> schedLowerBound(const ArenaProblem &problem, std::string *error) {
  std::vector<int64_t> padded;
  if (!checkAndPad(problem, padded, error))
    return std::nullopt;
  int64_t bound = 0;
  for (const NormalisedComponent &current : normalise(problem, padded, 1))
    bound = std::max(bound, current.component.lowerBound);
  return bound;
}

std::optional<ArenaSolution> packArena(const ArenaProblem &problem, const ArenaOptions &options, std::string *error) {
  std::vector<int64_t> padded;
  if (!checkAndPad(problem, padded, error))
    return std::nullopt;
  int64_t unit = commonUnit(problem, padded);
  std::vector<NormalisedComponent> components = normalise(problem, padded, unit);
  // The component with the highest bound goes first: what it needs, the others may use too.
  std::sort(components.begin(), components.end(), [](const NormalisedComponent &a, const NormalisedComponent &b) {
    return std::make_tuple(-a.component.lowerBound, a.origin.front()) <
           std::make_tuple(-b.component.lowerBound, b.origin.front());
  });
  ArenaSolution solution;
  solution.offsets.assign(problem.buffers.size(), 0);
  StepBudget steps{options.maxSteps};
  int64_t capacity = 0, proven = 0;
  for (const NormalisedComponent &current : components) {
    int64_t provenHere = 0;
    Packing packing =
        packComponent(current.component, std::max({capacity, proven, options.enough / unit}), steps, &provenHere);
    capacity = std::max(capacity, packing.capacity);
    proven = std::max(proven, provenHere);
    for (size_t i = 0; i < packing.offsets.size(); ++i)
      solution.offsets[current.origin[i]] = packing.offsets[i] * unit;
  }
  solution.capacity = capacity * unit;
  solution.provenOptimal = capacity == proven;
  return solution;
}

} // namespace snug
