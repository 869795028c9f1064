// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Depth-first branch and bound over left-packed placements.
//
// Every packing can be pushed down until each item rests on the ground or on an item below it; it is enough to search
// these. The search walks up the skyline: at the lowest height m it takes the undecided sections from left to right,
// and either an item that starts in the section is put there at m, or the section is closed at m (nothing begins there
// at this height). When all are decided, closed sections are raised to the next height of the skyline, and that waste
// is what the bound counts: a section whose floor plus what is still to be placed in it exceeds the limit ends the
// branch. Each left-packed solution is met once, not once for each order of its items.
//
// Parts of the time axis that no unplaced item crosses are searched apart, so a failure on one side never
// backtracks through the other. Section bounds, dominance and dynamic decomposition follow the ideas of minimalloc
// (Moffitt, "MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine Learning", ASPLOS 2023).
#include "lib/solver/ArenaSearch.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

namespace snug::arena {
namespace {

class SkylineSearch {
public:
  SkylineSearch(const Component &component, int64_t limit, Preference preference, StepBudget &steps)
      : items(component.items), limit(limit), steps(steps), mixedAlignment(component.mixedAlignment),
        floor(component.numSections(), 0), remaining(component.sectionTotals), crossing(component.numSections(), 0),
        top(component.numSections(), kGround), starting(component.numSections()), ending(component.numSections()),
        offsets(items.size(), kUnplaced), rank(items.size(), 0) {
    Order order(items.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](int32_t a, int32_t b) { return key(preference, a) < key(preference, b); });
    for (size_t position = 0; position < order.size(); ++position) {
      const Item &item = items[order[position]];
      rank[order[position]] = static_cast<int32_t>(position);
      starting[item.first].push_back(order[position]);
      ending[item.last].push_back(order[position]);
      for (int32_t s = item.first + 1; s <= item.last; ++s)
        ++crossing[s];
    }
    if (mixedAlignment)
      for (const Item &item : items)
        if (std::find(alignments.begin(), alignments.end(), item.alignment) == alignments.end())
          alignments.push_back(item.alignment);
  }

  Outcome run() { return descend(0, static_cast<int32_t>(floor.size()), 0, 0); }
  const std::vector<int64_t> &result() const { return offsets; }

private:
  // What a section's floor is made of, where it is no item.
  static constexpr int32_t kGround = -1, kRaised = -2;
  static constexpr int64_t kUnplaced = -1;
  static constexpr int64_t kNoHeight = std::numeric_limits<int64_t>::max();

  // For undoing: an item placed, or what a section was before its floor rose.
  struct Change {
    int32_t item; // -1: a section
    int32_t section;
    int64_t oldFloor;
    int32_t oldTop;
  };

  // Ends with the index, so that the order is total: the result must not depend on the library's sort.
  std::tuple<long double, int64_t, int64_t, int32_t> key(Preference preference, int32_t index) const {
    const Item &item = items[index];
    int64_t length = item.last - item.first + 1;
    switch (preference) {
    case Preference::LongestFirst:
      return {-static_cast<long double>(length), -item.size, 0, index};
    case Preference::LargestFirst:
      return {-static_cast<long double>(item.size), -length, 0, index};
    case Preference::AreaFirst:
      return {-static_cast<long double>(item.size) * length, -length, -item.size, index};
    case Preference::ShortestFirst:
      return {static_cast<long double>(length), -item.size, 0, index};
    }
    return {};
  }

  void raiseFloor(int32_t section, int64_t newFloor, int32_t newTop) {
    trail.push_back({-1, section, floor[section], top[section]});
    floor[section] = newFloor;
    top[section] = newTop;
  }

  void place(int32_t index, int64_t height) {
    const Item &item = items[index];
    steps.spend(2 * (item.last - item.first + 1));
    for (int32_t s = item.first; s <= item.last; ++s) {
      raiseFloor(s, height + item.size, index);
      remaining[s] -= item.size;
      if (s > item.first)
        --crossing[s];
    }
    offsets[index] = height;
    trail.push_back({index, 0, 0, 0});
  }

  void undo(size_t mark) {
    while (trail.size() > mark) {
      Change change = trail.back();
      trail.pop_back();
      if (change.item < 0) {
        floor[change.section] = change.oldFloor;
        top[change.section] = change.oldTop;
        continue;
      }
      const Item &item = items[change.item];
      for (int32_t s = item.first; s <= item.last; ++s) {
        remaining[s] += item.size;
        if (s > item.first)
          ++crossing[s];
      }
      offsets[change.item] = kUnplaced;
    }
  }

  // The next height above `height` at which an item may come to rest in [begin, end), or kNoHeight.
  int64_t nextHeight(int32_t begin, int32_t end, int64_t height) const {
    int64_t next = kNoHeight;
    for (int32_t s = begin; s < end; ++s)
      if (remaining[s] > 0 && floor[s] > height)
        next = std::min(next, floor[s]);
    for (int64_t alignment : alignments)
      if (height % alignment != 0)
        next = std::min(next, height / alignment * alignment + alignment);
    return next;
  }

  // Whether the item may be put at `height` on the open sections [item.first, runEnd) as a left-packed placement that
  // no equivalent one stands for.
  bool mayPlace(int32_t index, int32_t runEnd, int64_t height) const {
    const Item &item = items[index];
    if (offsets[index] != kUnplaced || item.last >= runEnd || height % item.alignment != 0)
      return false;
    int32_t below = top[item.first];
    // Of stacks of items with one live range only the one sorted by rank is searched.
    if (below >= 0 && items[below].first == item.first && items[below].last == item.last &&
        items[below].alignment == item.alignment && rank[below] > rank[index] &&
        offsets[below] + items[below].size == height)
      return false;
    if (mixedAlignment)
      return true;
    // An item that only rests on waste would also fit further down: that placement was tried there.
    for (int32_t s = item.first; s <= item.last; ++s)
      if (top[s] != kRaised)
        return true;
    return false;
  }

  // Whether the last of the open sections [begin, runEnd) must be filled at `height`, having no slack, while no
  // unplaced item can: its right neighbour is higher, so only an item that ends in it fits.
  bool isHopeless(int32_t begin, int32_t runEnd, int64_t height) {
    int32_t section = runEnd - 1;
    if (remaining[section] == 0 || height + 1 + remaining[section] <= limit)
      return false;
    steps.spend(static_cast<int64_t>(ending[section].size()));
    for (int32_t index : ending[section])
      if (offsets[index] == kUnplaced && items[index].first >= begin)
        return false;
    return true;
  }

  Outcome fail(size_t mark, Outcome outcome) {
    undo(mark);
    return outcome;
  }

  // Searches the parts of [begin, end) that no unplaced item crosses one by one.
  Outcome descendParts(int32_t begin, int32_t end, int64_t height, size_t mark) {
    for (int32_t partBegin = begin; partBegin < end;) {
      int32_t partEnd = partBegin + 1;
      while (partEnd < end && crossing[partEnd] > 0)
        ++partEnd;
      if (remaining[partBegin] > 0) {
        Outcome outcome = descend(partBegin, partEnd, height, partEnd);
        if (outcome != Outcome::Found)
          return fail(mark, outcome);
      }
      partBegin = partEnd;
    }
    return Outcome::Found;
  }

  // Completes the sections [begin, end) from `height` on; those before `cursor` are decided at this height. No unplaced
  // item crosses the range's ends. On Found the items are placed, otherwise everything is as before the call.
  Outcome descend(int32_t begin, int32_t end, int64_t height, int32_t cursor) {
    size_t mark = trail.size();
    for (;;) {
      int32_t section = cursor;
      while (section < end && (floor[section] != height || remaining[section] == 0))
        ++section;
      if (!steps.spend(section - cursor + 2))
        return fail(mark, Outcome::OutOfSteps);

      if (section == end) {
        steps.spend(3 * (end - begin));
        bool splits = false, done = true;
        for (int32_t s = begin; s < end; ++s) {
          splits |= s > begin && crossing[s] == 0;
          done &= remaining[s] == 0;
        }
        if (done)
          return Outcome::Found;
        if (splits)
          return descendParts(begin, end, height, mark);
        int64_t next = nextHeight(begin, end, height);
        if (next == kNoHeight)
          return fail(mark, Outcome::Infeasible);
        for (int32_t s = begin; s < end; ++s) {
          if (remaining[s] == 0 || floor[s] != height)
            continue;
          if (next + remaining[s] > limit)
            return fail(mark, Outcome::Infeasible);
          raiseFloor(s, next, kRaised);
        }
        height = next;
        cursor = begin;
        continue;
      }

      int32_t runEnd = section;
      while (runEnd < end && floor[runEnd] == height)
        ++runEnd;
      steps.spend(runEnd - section + static_cast<int64_t>(starting[section].size()));
      if (isHopeless(section, runEnd, height))
        return fail(mark, Outcome::Infeasible);
      int32_t previous = -1;
      for (int32_t index : starting[section]) {
        if (!mayPlace(index, runEnd, height))
          continue;
        // Items alike in everything are interchangeable; they stand side by side in the list.
        const Item &item = items[index];
        if (previous >= 0 && items[previous].last == item.last && items[previous].size == item.size &&
            items[previous].alignment == item.alignment)
          continue;
        previous = index;
        size_t before = trail.size();
        place(index, height);
        Outcome outcome = descend(begin, end, height, item.last + 1);
        if (outcome == Outcome::Found)
          return Outcome::Found;
        undo(before);
        if (outcome == Outcome::OutOfSteps)
          return fail(mark, outcome);
      }
      // Close the section at this height: at least one unit is wasted.
      if (height + 1 + remaining[section] > limit)
        return fail(mark, Outcome::Infeasible);
      cursor = section + 1;
    }
  }

  const std::vector<Item> &items;
  const int64_t limit;
  StepBudget &steps;
  const bool mixedAlignment;
  std::vector<int64_t> alignments;            // distinct ones, only where mixed
  std::vector<int64_t> floor;                 // height of the skyline in each section
  std::vector<int64_t> remaining;             // sum of the unplaced sizes in each section
  std::vector<int32_t> crossing;              // unplaced items live in this section and the one before
  std::vector<int32_t> top;                   // item below the floor, kGround or kRaised
  std::vector<std::vector<int32_t>> starting; // items by first section, in order of preference
  std::vector<std::vector<int32_t>> ending;   // items by last section
  std::vector<int64_t> offsets;
  std::vector<int32_t> rank;
  std::vector<Change> trail;
};

} // namespace

Outcome searchPacking(const Component &component, int64_t limit, Preference preference, StepBudget &steps,
                      Packing &result) {
  return packBy(component, limit, [&] { return SkylineSearch(component, limit, preference, steps); }, result);
}

} // namespace snug::arena
