// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the runtime does with strings, called as kernels call it.

#include "runtime/core/Error.h"
#include "runtime/core/Text.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

using namespace snug;

namespace {
class TextTest : public ::testing::Test {
protected:
  void SetUp() override {
    text.setPool(pool, sizeof pool);
    text.begin();
  }

  // Operands: strings and numbers as words.
  static void add(std::vector<int64_t> &words, std::string_view string) {
    words.push_back(reinterpret_cast<intptr_t>(string.data()));
    words.push_back(int64_t(string.size()));
  }
  static void add(std::vector<int64_t> &words, const char *string) { add(words, std::string_view(string)); }
  static void add(std::vector<int64_t> &words, int64_t number) { words.push_back(number); }
  static void add(std::vector<int64_t> &words, double number) {
    words.emplace_back();
    memcpy(&words.back(), &number, sizeof number);
  }
  template <typename... Operand> void call(snug_text_op op, Operand... operands) {
    std::vector<int64_t> words;
    (add(words, operands), ...);
    Text::call(&text, op, 0, words.data(), results);
  }
  template <typename... Operand> std::string string(snug_text_op op, Operand... operands) {
    call(op, operands...);
    return stringAt(0);
  }
  template <typename... Operand> int64_t number(snug_text_op op, Operand... operands) {
    call(op, operands...);
    return results[0];
  }
  template <typename... Operand> double real(snug_text_op op, Operand... operands) {
    call(op, operands...);
    double value;
    memcpy(&value, results, sizeof value);
    return value;
  }
  std::string stringAt(int word) const {
    return {reinterpret_cast<const char *>(results[word]), size_t(results[word + 1])};
  }
  // What went wrong, or nothing.
  std::string problem() {
    snug_launch_info launch{"scalar_kernel_0", "node_a"};
    snug_model_header header{};
    header.num_launches = 1;
    header.launches = &launch;
    try {
      text.check(header);
    } catch (const Failure &failure) {
      EXPECT_EQ(failure.code, SNUG_EXIT_RUN);
      return failure.what();
    }
    return "";
  }
  std::vector<std::string> pieces(const char *whole, const char *delimiter, int64_t splits) {
    std::vector<std::string> found;
    std::string rest = whole;
    for (bool more = true; more;) {
      int64_t left = splits < 0 ? -1 : splits - int64_t(found.size());
      call(SNUG_TEXT_PIECE, std::string_view(rest), delimiter, left);
      if (results[4])
        found.push_back(stringAt(0));
      more = results[5];
      rest = stringAt(2);
    }
    return found;
  }

  char pool[64];
  Text text;
  int64_t results[6] = {};
};
using Pieces = std::vector<std::string>;
} // namespace

TEST_F(TextTest, MatchesFollowEachOther) {
  const std::string_view text = "aab \u00e4b abb";
  auto next = [&](const char *pattern, int64_t least, int64_t from) { return string(SNUG_TEXT_MATCH, text, pattern, least, from); };
  EXPECT_EQ(next("a|ab|b", 1, 1), "ab"); // the longest
  EXPECT_EQ(results[2], 3);
  EXPECT_EQ(results[3], 1);
  EXPECT_EQ(next("[^ ]+", 3, 3), "abb"); // three characters, not bytes
  EXPECT_EQ(results[2], 11);
  EXPECT_EQ(next("^a|x*", 1, 1), ""); // the start of the text, not of what is left
  EXPECT_EQ(results[3], 0);
  EXPECT_EQ(problem(), "");
  EXPECT_EQ(next("(", 1, 0), "");
  EXPECT_EQ(results[3], 0);
  EXPECT_NE(problem().find("'(' is no regular expression"), std::string::npos);
}

TEST_F(TextTest, ComparesBytes) {
  EXPECT_EQ(number(SNUG_TEXT_COMPARE, "a", "a"), 0);
  EXPECT_EQ(number(SNUG_TEXT_COMPARE, "a", "ab"), -1);
  EXPECT_EQ(number(SNUG_TEXT_COMPARE, "\xc3\xa9", "z"), 1); // unsigned
  EXPECT_EQ(number(SNUG_TEXT_COMPARE, std::string_view(), ""), 0);
}

TEST_F(TextTest, RunsOutOfRoom) {
  std::string half(32, 'x'), more(33, 'y');
  EXPECT_EQ(string(SNUG_TEXT_CONCAT, std::string_view(half), ""), half);
  EXPECT_EQ(problem(), "");
  EXPECT_EQ(string(SNUG_TEXT_CONCAT, std::string_view(more), ""), ""); // 65 of 64 bytes
  EXPECT_EQ(problem(), "node 'node_a': the strings that the run makes have more than 64 bytes: compile the model with a "
                       "larger --text-bytes");
  EXPECT_EQ(string(SNUG_TEXT_CONCAT, std::string_view(half), ""), half); // the last byte is used
  text.begin();
  EXPECT_EQ(problem(), ""); // of the run before
  EXPECT_EQ(string(SNUG_TEXT_CONCAT, std::string_view(half), "1"), half + "1");
}

TEST_F(TextTest, WritesNumbers) {
  EXPECT_EQ(string(SNUG_TEXT_FROM_INT, int64_t(-7)), "-7");
  EXPECT_EQ(string(SNUG_TEXT_FROM_UINT, int64_t(-1)), "18446744073709551615");
  EXPECT_EQ(string(SNUG_TEXT_FROM_FLOAT, double(0.1f), int64_t(24)), "0.1");
  text.begin();
  EXPECT_EQ(string(SNUG_TEXT_FROM_FLOAT, double(0.1f), int64_t(53)), "0.10000000149011612");
  text.begin();
  EXPECT_EQ(string(SNUG_TEXT_FROM_FLOAT, 1e7, int64_t(24)), "10000000");
  EXPECT_EQ(string(SNUG_TEXT_FROM_FLOAT, 1e8, int64_t(24)), "1e+08");
  EXPECT_EQ(string(SNUG_TEXT_FROM_FLOAT, 0.0001, int64_t(24)), "0.0001");
  EXPECT_EQ(string(SNUG_TEXT_FROM_FLOAT, 0.00001, int64_t(24)), "1e-05");
  EXPECT_EQ(string(SNUG_TEXT_FROM_FLOAT, double(NAN), int64_t(24)), "NaN");
  EXPECT_EQ(string(SNUG_TEXT_FROM_FLOAT, -double(INFINITY), int64_t(24)), "-INF");
  EXPECT_EQ(problem(), "");
}

TEST_F(TextTest, ReadsNumbers) {
  EXPECT_EQ(number(SNUG_TEXT_TO_INT, " +12 ", int64_t(-128), int64_t(127)), 12);
  EXPECT_EQ(real(SNUG_TEXT_TO_FLOAT, "-2.5e3"), -2500);
  EXPECT_EQ(real(SNUG_TEXT_TO_FLOAT, "-INF"), -INFINITY);
  EXPECT_EQ(real(SNUG_TEXT_TO_FLOAT, "1e999"), INFINITY);
  EXPECT_TRUE(std::isnan(real(SNUG_TEXT_TO_FLOAT, "NaN")));
  EXPECT_EQ(number(SNUG_TEXT_TO_UINT, "18446744073709551615", int64_t(-1)), -1);
  EXPECT_EQ(problem(), "");
  EXPECT_EQ(number(SNUG_TEXT_TO_INT, "128", int64_t(-128), int64_t(127)), 0);
  EXPECT_EQ(problem(), "node 'node_a': '128' is no integer of the type that it is cast to");
  for (const char *wrong : {"", "1x", "+-1", "\x1b[31m", "\xff"}) {
    text.begin();
    EXPECT_EQ(real(SNUG_TEXT_TO_FLOAT, wrong), 0);
    EXPECT_NE(problem().find("is no number"), std::string::npos) << wrong;
    EXPECT_EQ(problem().find_first_of("\x1b\xff"), std::string::npos);
  }
}

TEST_F(TextTest, CutsAsPythonDoes) {
  EXPECT_EQ(pieces("a,b,,c", ",", -1), (Pieces{"a", "b", "", "c"}));
  EXPECT_EQ(pieces("a,b,,c", ",", 1), (Pieces{"a", "b,,c"}));
  EXPECT_EQ(pieces("a,", ",", -1), (Pieces{"a", ""}));
  EXPECT_EQ(pieces("", ",", -1), (Pieces{""}));
  EXPECT_EQ(pieces("a-->b-->", "-->", 0), (Pieces{"a-->b-->"}));
  EXPECT_EQ(pieces("  a \t b\xe3\x80\x80" "c ", "", -1), (Pieces{"a", "b", "c"})); // an ideographic space
  EXPECT_EQ(pieces("  a b  c  ", "", 1), (Pieces{"a", "b  c  "}));
  EXPECT_EQ(pieces("   ", "", -1), Pieces{});
  EXPECT_EQ(number(SNUG_TEXT_AT_MOST, int64_t(3), int64_t(3)), 3);
  EXPECT_EQ(problem(), "");
  EXPECT_EQ(number(SNUG_TEXT_AT_MOST, int64_t(4), int64_t(3)), 3);
  EXPECT_NE(problem().find("has 4 pieces, and there is room for 3: compile the model with a larger --text-pieces"), std::string::npos);
}

TEST_F(TextTest, ChangesCase) {
  EXPECT_EQ(string(SNUG_TEXT_UPPER, "stra\xc3\x9f" "e \xc3\xa9 \xd0\xb6"), "STRA\xe1\xba\x9e" "E \xc3\x89 \xd0\x96");
  EXPECT_EQ(string(SNUG_TEXT_LOWER, "\xc3\x89 \xff Z"), "\xc3\xa9 \xff z"); // bytes that are no UTF-8 stay
  EXPECT_EQ(string(SNUG_TEXT_LOWER, ""), "");
}

TEST_F(TextTest, MatchesAllOfAString) {
  EXPECT_EQ(number(SNUG_TEXT_FULL_MATCH, "www.example.com", "www\\.\\w+\\.com"), 1);
  EXPECT_EQ(number(SNUG_TEXT_FULL_MATCH, "www.example.com/", "www\\.\\w+\\.com"), 0);
  EXPECT_EQ(problem(), "");
  EXPECT_EQ(number(SNUG_TEXT_FULL_MATCH, "a", "(a"), 0);
  EXPECT_NE(problem().find("'(a' is no regular expression: missing )"), std::string::npos);
}

TEST_F(TextTest, RefusesWhatANewerCompilerWants) {
  call(snug_text_op(1000), "a");
  EXPECT_NE(problem().find("needs a newer runtime"), std::string::npos);
}
