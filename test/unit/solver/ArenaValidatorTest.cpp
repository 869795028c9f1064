// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/ArenaValidator.h"

#include <gtest/gtest.h>
#include <limits>

using namespace snug;

namespace {

const ArenaProblem kProblem{{{0, 100, 0, 4, 64}, {1, 64, 2, 6, 64}, {2, 64, 4, 8, 64}}};

std::string faultOf(const ArenaProblem &problem, std::vector<int64_t> offsets, int64_t capacity) {
  return findArenaFault(problem, {std::move(offsets), capacity}).value_or("");
}

TEST(ArenaValidator, AcceptsAValidSolution) { EXPECT_EQ(faultOf(kProblem, {0, 128, 0}, 192), ""); }

TEST(ArenaValidator, NamesEachKindOfFault) {
  EXPECT_EQ(faultOf(kProblem, {0, 128}, 192), "the solution has 2 offsets for 3 buffers");
  EXPECT_EQ(faultOf({}, {}, -1), "the capacity -1 is negative");
  EXPECT_EQ(faultOf(kProblem, {-64, 128, 0}, 192), "buffer 0 has the negative offset -64");
  EXPECT_EQ(faultOf(kProblem, {0, 130, 0}, 256),
            "buffer 1 has the offset 130, which is no multiple of its alignment 64");
  EXPECT_EQ(faultOf(kProblem, {0, 128, 0}, 191),
            "buffer 1 at the offset 128 with the size 64 ends beyond the capacity 191");
  // The padding of buffer 0 counts: its 100 bytes end before 127, its 128 do not.
  EXPECT_EQ(faultOf({{{0, 100, 0, 4, 64}}}, {0}, 127),
            "buffer 0 at the offset 0 with the size 100 ends beyond the capacity 127");
  EXPECT_EQ(faultOf(kProblem, {0, 64, 0}, 192),
            "buffer 0 at [0, 128) and buffer 1 at [64, 128) overlap and are both live at time 2");
  EXPECT_EQ(faultOf(kProblem, {64, 0, 0}, 192),
            "buffer 1 at [0, 64) and buffer 2 at [0, 64) overlap and are both live at time 4");
  EXPECT_EQ(faultOf({{{5, 8, 3, 3, 8}}}, {0}, 8), "buffer 5 is malformed: size 8, alignment 8, live range [3, 3)");
}

TEST(ArenaValidator, FindsAnOverlapBehindALongLivedBuffer) {
  ArenaProblem problem{{{0, 1000, 0, 100, 1}, {1, 1, 10, 20, 1}, {2, 10, 50, 60, 1}}};
  EXPECT_EQ(faultOf(problem, {0, 1000, 500}, 2000),
            "buffer 0 at [0, 1000) and buffer 2 at [500, 510) overlap and are both live at time 50");
}

TEST(ArenaValidator, DoesNotOverflow) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_NE(faultOf({{{0, kMax, 0, 1, 1}}}, {1}, kMax), "");
  EXPECT_NE(faultOf({{{0, kMax, 0, 1, 64}}}, {0}, kMax), "");
  EXPECT_EQ(faultOf({{{0, kMax, 0, 1, 1}}}, {0}, kMax), "");
}

} // namespace
