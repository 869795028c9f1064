// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The lower bound of plans, against the least that any order of single elements needs.
#include "passes/chunk/LiveCut.h"
#include "test/unit/chunk/AllOrders.h"

#include <random>

using namespace snug;

namespace {
// A few nodes of all kinds that read what is there, and each other.
class Random {
public:
  explicit Random(unsigned seed) : random(seed) {}

  Program program(int mostElements) {
    Program p;
    // What is put side by side cannot be in a caller's buffer before, as it could if elements were all there is.
    concatenates = pick(0, 1) > 0;
    int64_t left = mostElements;
    std::vector<int> open{p.value({pick(1, 2), pick(1, 3)}, -1)};
    for (int i = 0, tries = 0; i < 6 && tries < 40; ++tries) {
      Program before = p;
      int made =
          node(p, open[pick(0, static_cast<int>(open.size()) - 1)], open[pick(0, static_cast<int>(open.size()) - 1)]);
      bool isNew = made >= 0 && !p.problem.nodes.back().isView &&
                   std::none_of(p.problem.nodes.back().uses.begin(), p.problem.nodes.back().uses.end(),
                                [](const ChunkUse &use) { return use.isInit; });
      int64_t count = isNew ? sizeOf(p.problem.values[made]) / kElement : 0;
      if (made < 0 || count > left || sizeOf(p.problem.values[made]) > 6 * kElement) {
        p = before;
        continue;
      }
      left -= count;
      ++i;
      open.push_back(made);
    }
    // What nobody needs is not there; what only moves is read.
    for (int value = 0, last = static_cast<int>(p.problem.values.size()); value < last; ++value) {
      int producer = p.problem.values[value].producer;
      if (producer < 0 || !p.problem.values[value].users.empty())
        continue;
      const ChunkNode &n = p.problem.nodes[producer];
      std::vector<int64_t> shape = p.problem.values[value].extents;
      if (n.isView || n.isCheap || (!n.uses.empty() && n.uses.back().isInit))
        pick(0, 1) || concatenates
            ? p.kernel(shape, "ww", {{value, {at(0), at(1)}}}, {1, 1}, {kNot, kNot})
            : p.kernel(shape, "pp", {{value, {at(0), at(1)}}}, shape, {at(0), at(1)}, false, false);
    }
    p.finish(pick(0, 1) > 0);
    return p;
  }

private:
  int pick(int first, int last) { return std::uniform_int_distribution<int>(first, last)(random); }

  int node(Program &p, int a, int b) {
    std::vector<int64_t> shape = p.problem.values[a].extents, other = p.problem.values[b].extents;
    if (shape.size() != 2)
      return -1;
    int64_t rows = shape[0], columns = shape[1];
    bool isCheap = pick(0, 3) == 0, inArena = concatenates || pick(0, 5) > 0;
    Program::Access all{at(0), at(1)};
    switch (pick(0, concatenates ? 8 : 7)) {
    case 0: // elementwise, of two
      if (other != shape)
        return -1;
      return p.kernel(shape, "pp", {{a, all}, {b, all}}, shape, all, isCheap, inArena);
    case 1: // a transpose
      return p.kernel({columns, rows}, "pp", {{a, {at(1), at(0)}}}, {columns, rows}, all, isCheap, inArena);
    case 2: { // a contraction with what another tensor has in as many columns
      if (other.size() != 2 || other[1] != columns)
        return -1;
      return p.kernel({rows, other[0], columns}, "ppw", {{a, {at(0), kNot, at(1)}}, {b, {kNot, at(0), at(1)}}},
                      {rows, other[0]}, {at(0), at(1), kNot}, false, inArena);
    }
    case 3: // a sum that may be made in parts
      if (pick(0, 1))
        return p.kernel(shape, "ap", {{a, all}}, {1, columns}, {kNot, at(1)}, false, inArena);
      return p.kernel(shape, "pa", {{a, all}}, {rows, 1}, {at(0), kNot}, false, inArena);
    case 4: // a norm of rows
      return p.kernel(shape, "pw", {{a, all}}, shape, all, isCheap, inArena);
    case 5: { // windows of two
      if (columns < 2)
        return -1;
      return p.kernel({rows, columns - 1, 2}, "ppw", {{a, {at(0), at(1), at(1)}}}, {rows, columns - 1},
                      {at(0), at(1), kNot}, false, inArena);
    }
    case 6: { // a part of it
      if (columns < 2)
        return -1;
      int64_t offset = pick(0, 1);
      return p.view(a, {rows, columns - 1}, "pp", {at(0, 1, 0), at(1, 1, offset)}, {rows, columns - 1}, all);
    }
    case 7: // in a row
      return p.view(a, {rows, columns}, "pw", all, {1, rows * columns}, {at(1, columns), at(1)});
    default: { // one beside the other
      if (other.size() != 2 || other[0] != rows || share(p, a, b))
        return -1;
      int64_t width = columns + other[1];
      int first = p.kernel({rows, width}, "pp", {}, {rows, width}, all, true);
      for (auto [part, offset] : {std::pair<int, int64_t>{a, 0}, {b, columns}}) {
        first = p.kernel({rows, width}, "pp", {{part, {at(0), at(1, 1, -offset)}}, {first, all}}, {rows, width}, all);
        p.problem.nodes.back().uses[1].isInit = true;
      }
      return first;
    }
    }
  }

  // Parts of one tensor in a row would have to be copied.
  static std::set<int> rootsOf(const Program &p, int value) {
    int producer = p.problem.values[value].producer;
    if (producer < 0 || p.problem.nodes[producer].uses.empty())
      return {value};
    const ChunkNode &n = p.problem.nodes[producer];
    std::set<int> roots;
    if (n.isView || n.uses.back().isInit)
      for (const ChunkUse &use : n.uses)
        roots.merge(rootsOf(p, use.value));
    else
      roots = {value};
    return roots;
  }
  static bool share(const Program &p, int a, int b) {
    std::set<int> roots = rootsOf(p, a);
    for (int root : rootsOf(p, b))
      if (roots.count(root))
        return true;
    return false;
  }

  std::mt19937 random;
  bool concatenates = false;
};

TEST(LiveCut, NoOrderOfElementsNeedsLess) {
  int equal = 0, positive = 0, all = 0;
  for (unsigned seed = 0; seed < 500; ++seed) {
    Program p = Random(seed).program(7);
    AllOrders orders(p);
    if (orders.numElements() > 11)
      continue;
    int64_t bound = leastLive(p.problem), least = orders.least();
    EXPECT_LE(bound, least) << "seed " << seed << "\n" << p.text();
    ++all;
    equal += bound == least;
    positive += bound > 0;
  }
  EXPECT_GT(all, 350);
  EXPECT_GT(positive, all / 2);
  EXPECT_GT(equal, all / 2) << "a bound that is never met proves little";
}

// x, and the keys and values of all rows, until the first row of the projection; then what attention makes is smaller.
TEST(LiveCut, AttentionHoldsTheResidualAndItsKeys) {
  Program p;
  Program::Access rows{at(0), at(1), kNot}, columns{at(0), kNot, at(1)};
  auto contract = [&](int read) { return p.kernel({3, 1, 1}, "ppw", {{read, columns}}, {3, 1}, rows); };
  int x = contract(p.value({3, 1}, -1)), keys = contract(x), values = contract(x);
  int attention =
      p.kernel({3, 1, 3}, "ppw", {{keys, {kNot, at(1), at(0)}}, {values, {kNot, at(1), at(0)}}}, {3, 1}, rows);
  p.kernel({3, 1}, "pp", {{x, {at(0), at(1)}}, {attention, {at(0), at(1)}}}, {3, 1}, {at(0), at(1)});
  p.finish();
  EXPECT_EQ(leastLive(p.problem), 9 * kElement);
  EXPECT_EQ(AllOrders(p).least(), 10 * kElement);
}

// Of two factors either is whole at some time; by the bound half of each.
TEST(LiveCut, AnOuterProductHoldsHalfOfItsFactors) {
  for (int size : {2, 3}) {
    Program p;
    int input = p.value({size, 1}, -1);
    auto factor = [&] {
      return p.kernel({size, 1, 1}, "ppw", {{input, {at(0), kNot, at(1)}}}, {size, 1}, {at(0), at(1), kNot});
    };
    int a = factor(), b = factor();
    p.kernel({size, size, 1}, "ppw", {{a, {at(0), kNot, at(1)}}, {b, {kNot, at(0), at(1)}}}, {size, size},
             {at(0), at(1), kNot});
    p.finish();
    EXPECT_EQ(leastLive(p.problem), 3 * kElement) << size;
    EXPECT_EQ(AllOrders(p).least(), (size + 1) * kElement) << size;
  }
}
// Programs of tensors of one row, for what is special about one kind of read. The bound is met, or as given.
class Row : public testing::Test {
protected:
  const Program::Access all{at(0), at(1)}, scalar{kNot, kNot};
  Program p;
  int input = p.value({1, 1}, -1);

  int row(int64_t length) { return p.kernel({1, length}, "pp", {{input, {at(0), kNot}}}, {1, length}, all); }
  int each(std::vector<std::pair<int, Program::Access>> reads, int64_t length, bool isCheap = false) {
    return p.kernel({1, length}, "pp", std::move(reads), {1, length}, all, isCheap);
  }
  int whole(int read) { return p.kernel(p.problem.values[read].extents, "ww", {{read, all}}, {1, 1}, scalar); }
  int part(int of, int64_t offset, int64_t length) {
    return p.view(of, {1, length}, "pp", {at(0), at(1, 1, offset)}, {1, length}, all);
  }
  int besides(int a, int64_t width, int b, int64_t other) {
    int result = p.kernel({1, width + other}, "pp", {}, {1, width + other}, all, true);
    for (auto [piece, offset] : {std::pair<int, int64_t>{a, 0}, {b, width}}) {
      result = p.kernel({1, width + other}, "pp", {{piece, {at(0), at(1, 1, -offset)}}, {result, all}},
                        {1, width + other}, all);
      p.problem.nodes.back().uses[1].isInit = true;
    }
    return result;
  }
  void expect(double bound, int64_t least) {
    p.finish();
    EXPECT_EQ(leastLive(p.problem), static_cast<int64_t>(bound * kElement)) << p.text();
    EXPECT_EQ(AllOrders(p).least(), least * kElement) << p.text();
  }
  const Program::Access one{at(0), kNot}; // the same for all of the row
};

TEST_F(Row, IsLiveUntilWhatNeedsItIsDone) {
  int x = row(3);
  each({{x, all}, {whole(whole(x)), one}}, 3);
  expect(4, 4);
}

TEST_F(Row, WhatIsCheapIsComputedAnew) {
  int x = row(1), wide = each({{x, one}}, 4, /*isCheap=*/true);
  int sum = p.kernel({1, 4}, "pa", {{wide, all}}, {1, 1}, {at(0), kNot});
  each({{wide, all}, {p.kernel({1, 1}, "pp", {{sum, all}}, {1, 1}, all), one}}, 4);
  expect(2.75, 3);
}

TEST_F(Row, WhatIsNotReadAgainIsDead) {
  int x = row(4), last = whole(whole(x));
  each({{x, {at(0), at(1, 3)}}, {last, one}}, 2); // elements 0 and 3
  expect(4, 4);
}

TEST_F(Row, WhatIsReadForTwoCountsOnce) {
  int x = row(3), last = whole(whole(x));
  int a = each({{x, {at(0), at(1, 2)}}}, 2), b = each({{x, {at(0), at(1, 2)}}}, 2); // elements 0 and 2
  each({{a, all}, {b, all}, {last, one}}, 2);
  expect(3, 4);
}

TEST_F(Row, WhatIsBesidesALateElementIsNotLate) {
  int x = row(2), late = whole(whole(x));
  int both = besides(late, 1, x, 2);
  each({{part(both, 1, 2), all}}, 2);
  whole(part(both, 0, 1));
  expect(2, 2);
}

TEST_F(Row, WhatMayBeInTheWholeAlreadyCountsOnce) {
  int x = row(1), sum = whole(besides(x, 1, input, 1));
  each({{x, all}, {sum, all}}, 1);
  expect(2, 2);
  p = Program();
  input = p.value({1, 1}, -1);
  x = row(1);
  each({{part(besides(x, 1, input, 1), 0, 1), all}, {x, all}}, 1);
  expect(1, 1);
}

TEST_F(Row, PartsOfWhatIsReadInWindowsMayBeMadeAgain) {
  for (bool windows : {false, true}) {
    p = Program();
    input = p.value({1, 1}, -1);
    int x = row(3), some = part(x, 0, 2);
    if (windows)
      p.kernel({1, 2, 2}, "ppw", {{x, {at(0), at(1), at(1)}}}, {1, 2}, {at(0), at(1), kNot});
    else
      each({{x, all}}, 3);
    each({{some, all}, {whole(whole(some)), one}}, 2);
    expect(windows ? 2 : 3, windows ? 2 : 3);
  }
}

// The last row to be begun may be any, but for one that others read.
TEST(LiveCut, RowsThatAreReadByThemselvesAreNotAlike) {
  Program p;
  Program::Access all{at(0), at(1)};
  int input = p.value({3, 1}, -1), large = p.kernel({1, 3}, "pp", {{p.value({1, 1}, -1), {at(0), kNot}}}, {1, 3}, all);
  int rows = p.kernel({3, 1, 1}, "ppw", {{input, {at(0), kNot, at(1)}}}, {3, 1}, {at(0), at(1), kNot});
  int common = p.kernel({1, 3}, "ww", {{large, all}}, {1, 1}, {kNot, kNot});
  int made = p.kernel({3, 1}, "pp", {{rows, all}, {common, {kNot, at(1)}}}, {3, 1}, all);
  int last = p.view(made, {1, 1}, "pp", {at(0, 1, 2), at(1)}, {1, 1}, all);
  p.kernel({1, 3}, "ww", {{large, all}, {last, {kNot, kNot}}}, {1, 1}, {kNot, kNot});
  p.kernel({3, 1}, "ww", {{made, all}}, {1, 1}, {kNot, kNot});
  p.finish();
  EXPECT_EQ(leastLive(p.problem), 5 * kElement);
  EXPECT_EQ(AllOrders(p).least(), 5 * kElement);
}

// Of the products of two columns either these are there, or what they were made from: of half of the rows and of half
// of the columns, as many as the other half has.
TEST(LiveCut, ProductsOfChannelsAreHeldForTheirSum) {
  Program p;
  int input = p.value({2, 4, 4}, -1);
  auto factor = [&] {
    return p.kernel({2, 4, 4}, "ppp", {{input, {at(0), at(1), at(2)}}}, {2, 4, 4}, {at(0), at(1), at(2)});
  };
  int a = factor(), b = factor();
  int products = p.kernel({2, 4, 4, 4}, "pppw", {{a, {at(0), at(1), kNot, at(2)}}, {b, {at(0), kNot, at(1), at(2)}}},
                          {2, 4, 4}, {at(0), at(1), at(2), kNot});
  p.kernel({4, 4, 2}, "ppw", {{products, {at(1), at(2), at(0)}}}, {4, 4}, {at(0), at(1), kNot});
  p.finish();
  EXPECT_EQ(leastLive(p.problem), 20 * kElement);
}
} // namespace
