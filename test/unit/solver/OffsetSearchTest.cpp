// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The search by rising offset against all placements of small problems, and MiniMalloc's published problems within
// their capacity.
#include "lib/solver/ArenaPacker.h"
#include "lib/solver/ArenaSearch.h"
#include "lib/solver/ArenaText.h"
#include "lib/solver/ArenaValidator.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <sstream>

using namespace snug;
using namespace snug::arena;

namespace {

constexpr Hardest kAll[] = {Hardest::LengthAreaTotal, Hardest::TotalAreaLength, Hardest::TotalLengthArea};

// One section a time.
Component componentOf(const std::vector<Item> &items) {
  Component component;
  component.items = items;
  for (const Item &item : items) {
    component.mixedAlignment |= item.alignment > 1;
    component.sectionTotals.resize(std::max<size_t>(component.sectionTotals.size(), item.last + 1));
  }
  for (const Item &item : items)
    for (int32_t s = item.first; s <= item.last; ++s)
      component.sectionTotals[s] += item.size;
  component.lowerBound = *std::max_element(component.sectionTotals.begin(), component.sectionTotals.end());
  return component;
}

bool overlap(const Item &a, const Item &b) { return a.first <= b.last && b.first <= a.last; }

// Whether some offsets below the limit keep all items apart: every multiple of the alignment is tried.
bool canPlace(const std::vector<Item> &items, int64_t limit, std::vector<int64_t> &offsets) {
  size_t index = offsets.size();
  if (index == items.size())
    return true;
  const Item &item = items[index];
  for (int64_t offset = 0; offset + item.size <= limit; offset += item.alignment) {
    bool free = true;
    for (size_t i = 0; i < index; ++i)
      free = free &&
             (!overlap(items[i], item) || offsets[i] + items[i].size <= offset || offset + item.size <= offsets[i]);
    if (!free)
      continue;
    offsets.push_back(offset);
    if (canPlace(items, limit, offsets))
      return true;
    offsets.pop_back();
  }
  return false;
}

TEST(OffsetSearch, FindsThePackingIfAndOnlyIfThereIsOne) {
  std::mt19937 random(5);
  int gaps = 0;
  for (int trial = 0; trial < 1500; ++trial) {
    std::vector<Item> items;
    int count = 3 + random() % 5;
    for (int i = 0; i < count; ++i) {
      int32_t first = random() % 6, last = first + random() % 4;
      int64_t alignment = trial % 2 ? int64_t(1) << random() % 4 : 1;
      int64_t size = (1 + int64_t(random() % 12) + alignment - 1) / alignment * alignment;
      items.push_back({first, last, size, alignment, last - first + 1.0L});
    }
    Component component = componentOf(items);
    int64_t least = component.lowerBound;
    for (std::vector<int64_t> offsets; !canPlace(items, least, offsets); offsets.clear())
      ++least;
    gaps += least > component.lowerBound;
    for (Hardest hardest : kAll) {
      StepBudget steps{100'000'000};
      Packing packing;
      EXPECT_EQ(searchOffsets(component, least - 1, hardest, steps, packing), Outcome::Infeasible) << "trial " << trial;
      ASSERT_EQ(searchOffsets(component, least, hardest, steps, packing), Outcome::Found) << "trial " << trial;
      EXPECT_LE(packing.capacity, least);
      for (int i = 0; i < count; ++i) {
        EXPECT_EQ(packing.offsets[i] % items[i].alignment, 0);
        for (int j = 0; j < i; ++j)
          EXPECT_TRUE(!overlap(items[i], items[j]) || packing.offsets[i] + items[i].size <= packing.offsets[j] ||
                      packing.offsets[j] + items[j].size <= packing.offsets[i]);
      }
    }
  }
  EXPECT_GT(gaps, 0) << "no problem needs more than its bound";
}

TEST(OffsetSearch, StopsWhenItsStepsAreSpent) {
  std::vector<Item> items;
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    int32_t first = random() % 60, last = first + random() % 20;
    items.push_back({first, last, 1 + int64_t(random() % 1000), 1, last - first + 1.0L});
  }
  Component component = componentOf(items);
  StepBudget steps{100'000};
  Packing packing;
  EXPECT_EQ(searchOffsets(component, component.lowerBound, Hardest::TotalLengthArea, steps, packing),
            Outcome::OutOfSteps);
  EXPECT_GT(steps.left, -1'000'000);
}

class MiniMalloc : public testing::TestWithParam<char> {};

// minimalloc's own solver, built with -O2, takes 0.7 to 6 s for each of them; these steps are 2 s at the most.
TEST_P(MiniMalloc, IsSolvedWithinItsCapacity) {
  std::ifstream file(std::string(SNUG_MINIMALLOC) + "/" + GetParam() + ".1048576.csv");
  ASSERT_TRUE(file);
  std::stringstream text;
  for (std::string line; std::getline(file, line);)
    text << line << (line.substr(0, 2) == "id" ? ",alignment\n" : ",1\n");
  std::string error;
  std::optional<ArenaText> parsed = parseArenaText(text.str(), &error);
  ASSERT_TRUE(parsed) << error;
  EXPECT_GT(parsed->problem.buffers.size(), 150u);
  ArenaOptions options;
  options.maxSteps = 4'000'000'000;
  options.enough = 1048576;
  std::optional<ArenaSolution> solution = packArena(parsed->problem, options, &error);
  ASSERT_TRUE(solution) << error;
  std::optional<std::string> fault = findArenaFault(parsed->problem, *solution);
  EXPECT_FALSE(fault) << *fault;
  EXPECT_LE(solution->capacity, 1048576);
}

INSTANTIATE_TEST_SUITE_P(Published, MiniMalloc, testing::Values('A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K'),
                         [](const auto &info) { return std::string(1, info.param); });

} // namespace
