// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/ArenaText.h"

#include <gtest/gtest.h>

using namespace snug;

namespace {

std::string errorOf(std::string_view text) {
  std::string error;
  EXPECT_FALSE(parseArenaText(text, &error));
  return error;
}

TEST(ArenaText, RoundTripsWithAndWithoutOffsets) {
  std::string problem = "id,lower,upper,size,alignment\n7,-3,5,100,64\n8,0,2,0,1\n";
  std::optional<ArenaText> parsed = parseArenaText(problem);
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->solution);
  ASSERT_EQ(parsed->problem.buffers.size(), 2u);
  const Buffer &buffer = parsed->problem.buffers[0];
  EXPECT_EQ(buffer.id, 7);
  EXPECT_EQ(buffer.lower, -3);
  EXPECT_EQ(buffer.upper, 5);
  EXPECT_EQ(buffer.size, 100);
  EXPECT_EQ(buffer.alignment, 64);
  EXPECT_EQ(printArenaText(parsed->problem), problem);

  std::string solved = "id,lower,upper,size,alignment,offset\n7,-3,5,100,64,128\n8,0,2,0,1,3\n";
  parsed = parseArenaText(solved);
  ASSERT_TRUE(parsed && parsed->solution);
  EXPECT_EQ(parsed->solution->offsets, (std::vector<int64_t>{128, 3}));
  EXPECT_EQ(parsed->solution->capacity, 256);
  EXPECT_EQ(printArenaText(parsed->problem, &*parsed->solution), solved);
}

TEST(ArenaText, ToleratesCarriageReturnsEmptyLinesAndAMissingLastNewline) {
  std::optional<ArenaText> parsed = parseArenaText("\r\nid,lower,upper,size,alignment\r\n\n1,2,3,4,5");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->problem.buffers.size(), 1u);
}

TEST(ArenaText, ErrorsNameTheLine) {
  const std::string header = "id,lower,upper,size,alignment\n";
  EXPECT_EQ(errorOf(""), "line 1: expected the header 'id,lower,upper,size,alignment[,offset]', found the end");
  EXPECT_EQ(errorOf("a,b\n"), "line 1: expected the header 'id,lower,upper,size,alignment[,offset]', found 'a,b'");
  EXPECT_EQ(errorOf(header + "1,2,3,4,5\n1,2,3,4\n"), "line 3: expected 5 fields, found 4");
  EXPECT_EQ(errorOf(header + "1,2,3,4,5,6\n"), "line 2: expected 5 fields, found 6");
  EXPECT_EQ(errorOf(header + "\n1,2,x3,4,5\n"), "line 3: 'x3' is not an integer");
  EXPECT_EQ(errorOf(header + "1,2,,4,5\n"), "line 2: '' is not an integer");
  EXPECT_EQ(errorOf(header + "1,2,3,99999999999999999999,5\n"),
            "line 2: '99999999999999999999' does not fit into 64 bits");
  EXPECT_EQ(errorOf("id,lower,upper,size,alignment,offset\n1,2,3,9223372036854775807,1,1\n"),
            "line 2: the end of the buffer does not fit into 64 bits");
}

} // namespace
