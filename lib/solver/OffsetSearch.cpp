// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Depth-first search over placements by rising offset: the next item is one of those that can lie lowest, and it is put
// as low as it can be. Where the skyline search (BranchAndBound.cpp) decides place by place from the left, this one
// decides item by item, the hardest first, and sees earlier that a section cannot hold what is left for it: its floor
// is the lowest place that any of its own items can still have, however wide these are. Section inference, canonical
// order, dominance and decomposition are ideas of minimalloc (Moffitt, "MiniMalloc: A Lightweight Memory Allocator for
// Hardware-Accelerated Machine Learning", ASPLOS 2023).
#include "lib/solver/ArenaSearch.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

namespace snug::arena {
namespace {

class OffsetSearch {
public:
  OffsetSearch(const Component &component, int64_t limit, Hardest hardest, StepBudget &steps)
      : items(component.items), limit(limit), hardest(hardest), steps(steps), overlaps(items.size()),
        inSection(component.numSections()), lowest(items.size(), 0), floor(component.numSections(), 0),
        remaining(component.sectionTotals), crossing(component.numSections() + 1, 0), offsets(items.size(), kUnplaced),
        rank(items.size(), 0), mark(component.numSections(), 0) {
    for (size_t i = 0; i < items.size(); ++i) {
      for (int32_t s = items[i].first; s <= items[i].last; ++s) {
        inSection[s].push_back(static_cast<int32_t>(i));
        crossing[s] += s > items[i].first;
      }
      for (size_t j = 0; j < i; ++j)
        if (items[j].first <= items[i].last && items[i].first <= items[j].last) {
          overlaps[i].push_back(static_cast<int32_t>(j));
          overlaps[j].push_back(static_cast<int32_t>(i));
        }
    }
  }

  Outcome run() {
    steps.spend(static_cast<int64_t>(items.size() * items.size()));
    std::vector<int32_t> all(items.size());
    std::iota(all.begin(), all.end(), 0);
    return searchPart(0, static_cast<int32_t>(floor.size()), std::move(all), 0);
  }
  const std::vector<int64_t> &result() const { return offsets; }

private:
  static constexpr int64_t kUnplaced = -1;

  struct Change {
    bool isFloor;
    int32_t index; // section or item
    int64_t before;
  };
  // The last item placed, which those after it must not precede.
  struct Last {
    int64_t offset;
    int32_t rank;
  };

  // Ranks the items of a part and searches it. They come hardest first: the fullest section an item is in, its length,
  // its area, in the order that `hardest` says.
  Outcome searchPart(int32_t begin, int32_t end, std::vector<int32_t> part, int64_t offset) {
    auto key = [&](int32_t index) {
      const Item &item = items[index];
      int64_t total = 0;
      for (int32_t s = item.first; s <= item.last; ++s)
        total = std::max(total, remaining[s]);
      long double length = item.duration, area = item.size * length;
      using Key = std::tuple<long double, long double, long double, int32_t>;
      switch (hardest) {
      case Hardest::LengthAreaTotal:
        return Key{-length, -area, -static_cast<long double>(total), index};
      case Hardest::TotalAreaLength:
        return Key{-static_cast<long double>(total), -area, -length, index};
      case Hardest::TotalLengthArea:
        break;
      }
      return Key{-static_cast<long double>(total), -length, -area, index};
    };
    std::vector<std::pair<decltype(key(0)), int32_t>> keyed;
    for (int32_t index : part)
      keyed.push_back({key(index), index});
    steps.spend(static_cast<int64_t>(part.size()) * 8);
    std::sort(keyed.begin(), keyed.end());
    for (size_t i = 0; i < keyed.size(); ++i)
      rank[part[i] = keyed[i].second] = static_cast<int32_t>(i);
    return descend(begin, end, part, {offset, -1});
  }

  void undo(size_t size) {
    for (; trail.size() > size; trail.pop_back())
      (trail.back().isFloor ? floor : lowest)[trail.back().index] = trail.back().before;
  }

  // Puts the item where it can lie lowest. False if a section cannot hold the rest then. *covered: something still has
  // to be placed beside it in time.
  bool place(int32_t index, int32_t begin, int32_t end, bool *covered) {
    const Item &item = items[index];
    int64_t offset = offsets[index] = lowest[index], top = offset + item.size;
    for (int32_t s = item.first; s <= item.last; ++s) {
      remaining[s] -= item.size;
      crossing[s] -= s > item.first;
    }
    *covered = false;
    ++stamp;
    int64_t work = 2 * (item.last - item.first + 1) + static_cast<int64_t>(overlaps[index].size());
    for (int32_t s = item.first; s <= item.last; ++s)
      mark[s] = stamp;
    for (int32_t other : overlaps[index]) {
      if (offsets[other] != kUnplaced)
        continue;
      *covered = true;
      if (lowest[other] >= top)
        continue;
      trail.push_back({false, other, lowest[other]});
      int64_t alignment = items[other].alignment;
      lowest[other] = alignment == 1 ? top : (top + alignment - 1) / alignment * alignment;
      for (int32_t s = items[other].first; s <= items[other].last; ++s)
        mark[s] = stamp;
      work += items[other].last - items[other].first + 1;
    }
    bool possible = true;
    for (int32_t s = begin; s < end && possible; ++s) {
      if (remaining[s] == 0)
        continue;
      if (mark[s] == stamp) {
        // What is left for the section lies above the lowest place that any of it can have.
        int64_t bottom = std::numeric_limits<int64_t>::max();
        for (int32_t other : inSection[s])
          if (offsets[other] == kUnplaced)
            bottom = std::min(bottom, lowest[other]);
        work += static_cast<int64_t>(inSection[s].size());
        if (bottom > floor[s]) {
          trail.push_back({true, s, floor[s]});
          floor[s] = bottom;
        }
      }
      possible = std::max(floor[s], offset) + remaining[s] <= limit;
    }
    steps.spend(work + end - begin);
    return possible;
  }

  void unplace(int32_t index) {
    const Item &item = items[index];
    for (int32_t s = item.first; s <= item.last; ++s) {
      remaining[s] += item.size;
      crossing[s] += s > item.first;
    }
    offsets[index] = kUnplaced;
  }

  // Places the rest of the part, of which none precedes `last` by offset and rank. On Found all are placed, else
  // everything is as before the call.
  Outcome descend(int32_t begin, int32_t end, const std::vector<int32_t> &part, Last last) {
    std::vector<int32_t> left;
    int64_t lowestTop = std::numeric_limits<int64_t>::max();
    for (int32_t index : part)
      if (offsets[index] == kUnplaced) {
        left.push_back(index);
        lowestTop = std::min(lowestTop, lowest[index] + items[index].size);
      }
    if (left.empty())
      return Outcome::Found;
    if (!steps.spend(6 * static_cast<int64_t>(part.size()) + 4))
      return Outcome::OutOfSteps;
    std::vector<int32_t> candidates;
    for (int32_t index : left) {
      // Above the lowest top something fits below it; before `last` it would have been placed earlier.
      if (lowest[index] < lowestTop && lowest[index] >= last.offset &&
          !(lowest[index] == last.offset && rank[index] < last.rank))
        candidates.push_back(index);
    }
    std::sort(candidates.begin(), candidates.end(), [&](int32_t a, int32_t b) {
      return std::make_pair(lowest[a], rank[a]) < std::make_pair(lowest[b], rank[b]);
    });
    for (int32_t index : candidates) {
      size_t size = trail.size();
      bool covered = false;
      Outcome outcome = Outcome::Infeasible;
      Last here{lowest[index], rank[index]};
      if (place(index, begin, end, &covered))
        outcome = descendParts(begin, end, index, left, here);
      if (outcome == Outcome::Found)
        return Outcome::Found;
      undo(size);
      unplace(index);
      // With nothing left beside it, it is in nobody's way: another one in its stead is no better.
      if (outcome == Outcome::OutOfSteps || !covered)
        return outcome;
    }
    return Outcome::Infeasible;
  }

  // After placing the item: the parts between which no unplaced item is left are searched apart.
  Outcome descendParts(int32_t begin, int32_t end, int32_t index, const std::vector<int32_t> &left, Last here) {
    bool splits = false;
    for (int32_t s = items[index].first + 1; s <= items[index].last; ++s)
      splits = splits || crossing[s] == 0;
    if (!splits)
      return descend(begin, end, left, here);
    std::vector<int32_t> ranks; // a part ranks its items anew
    for (int32_t other : left)
      ranks.push_back(rank[other]);
    std::vector<int32_t> done;
    Outcome outcome = Outcome::Found;
    for (int32_t partBegin = begin; partBegin < end && outcome == Outcome::Found;) {
      int32_t partEnd = partBegin + 1;
      while (partEnd < end && crossing[partEnd] > 0)
        ++partEnd;
      std::vector<int32_t> part;
      for (int32_t other : left)
        if (offsets[other] == kUnplaced && items[other].first >= partBegin && items[other].first < partEnd)
          part.push_back(other);
      if (!part.empty()) {
        size_t size = trail.size();
        outcome = searchPart(partBegin, partEnd, part, here.offset);
        if (outcome == Outcome::Found)
          done.insert(done.end(), part.begin(), part.end());
        else
          undo(size);
      }
      partBegin = partEnd;
    }
    if (outcome != Outcome::Found) {
      for (int32_t other : done)
        unplace(other);
      for (size_t i = 0; i < left.size(); ++i)
        rank[left[i]] = ranks[i];
    }
    return outcome;
  }

  const std::vector<Item> &items;
  const int64_t limit;
  const Hardest hardest;
  StepBudget &steps;
  std::vector<std::vector<int32_t>> overlaps;  // items live with it
  std::vector<std::vector<int32_t>> inSection; // items live there
  std::vector<int64_t> lowest;                 // offset that an unplaced item can have
  std::vector<int64_t> floor;                  // below it nothing more is placed in the section
  std::vector<int64_t> remaining;              // sum of the unplaced sizes in each section
  std::vector<int32_t> crossing;               // unplaced items live in this section and the one before
  std::vector<int64_t> offsets;
  std::vector<int32_t> rank; // within its part
  std::vector<int64_t> mark; // sections whose floor may have risen
  int64_t stamp = 0;
  std::vector<Change> trail;
};

} // namespace

Outcome searchOffsets(const Component &component, int64_t limit, Hardest hardest, StepBudget &steps, Packing &result) {
  return packBy(component, limit, [&] { return OffsetSearch(component, limit, hardest, steps); }, result);
}

} // namespace snug::arena
