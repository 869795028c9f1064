// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/Machine.h"

#include <gtest/gtest.h>

using namespace snug;

namespace {

std::string replaced(std::string text, const std::string &from, const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::string problemOf(const std::string &text) {
  std::string error;
  EXPECT_FALSE(parseMachine(text, error)) << text;
  return error;
}

TEST(Machine, TextIsReadBackAsItWas) {
  for (int bits : {128, 256, 512}) {
    std::string text = machineText(builtinMachine(bits)), error;
    std::optional<Machine> read = parseMachine(text, error);
    ASSERT_TRUE(read) << error;
    EXPECT_EQ(read->vector_bits, bits);
    EXPECT_EQ(machineText(*read), text);
    EXPECT_EQ(read->caches.size(), 2u);
    EXPECT_FALSE(read->caches[0].shared);
    EXPECT_TRUE(read->caches[1].shared);
    EXPECT_NEAR(read->fork_s, builtinMachine(bits).fork_s, 1e-9);
    EXPECT_NEAR(read->memory_bytes_per_s[1], builtinMachine(bits).memory_bytes_per_s[1], 1e6);
  }
}

TEST(Machine, WiderRegistersComputeFaster) {
  Machine narrow = builtinMachine(128), wide = builtinMachine(256), widest = builtinMachine(512);
  EXPECT_LT(narrow.contraction_per_s, wide.contraction_per_s);
  EXPECT_LT(wide.contraction_per_s, widest.contraction_per_s);
  EXPECT_EQ(builtinMachine(64).vector_bits, 128);
}

TEST(Machine, GpusOfLaterGenerationsAreFaster) {
  double memory = 0;
  for (int capability : {80, 90, 100}) {
    for (bool inTf32 : {false, true}) {
      std::string text = machineText(builtinGpu(capability, inTf32)), error;
      std::optional<Machine> read = parseMachine(text, error);
      ASSERT_TRUE(read) << error;
      EXPECT_EQ(machineText(*read), text);
    }
    Machine exact = builtinGpu(capability), rounding = builtinGpu(capability, /*inTf32=*/true);
    EXPECT_LT(memory, exact.memory_bytes_per_s.back());
    memory = exact.memory_bytes_per_s.back();
    EXPECT_EQ(exact.memory_bytes_per_s.size(), static_cast<size_t>(exact.processors));
    EXPECT_LT(exact.memory_bytes_per_s.front(), memory / 40) << "of one multiprocessor";
    // Tensor cores multiply, and do nothing else.
    EXPECT_GT(rounding.contraction_per_s, 5 * exact.contraction_per_s);
    EXPECT_GT(rounding.attention_per_s, 4 * exact.attention_per_s);
    EXPECT_EQ(rounding.elementwise_per_s, exact.elementwise_per_s);
    EXPECT_GT(exact.narrow_contraction_per_s, 10 * exact.contraction_per_s);
    EXPECT_EQ(rounding.narrow_contraction_per_s, exact.narrow_contraction_per_s);
  }
  // One that is not in the table is as fast as the one before it.
  EXPECT_EQ(builtinGpu(89).memory_bytes_per_s, builtinGpu(80).memory_bytes_per_s);
  EXPECT_EQ(builtinGpu(121).memory_bytes_per_s, builtinGpu(100).memory_bytes_per_s);
}

TEST(Machine, RefusesWhatNoMachineHas) {
  const std::string good = machineText(builtinMachine(512));
  EXPECT_EQ(problemOf("{"), "it is no JSON object");
  EXPECT_EQ(problemOf("[1]"), "it is no JSON object");
  EXPECT_EQ(problemOf(replaced(good, "\"launch_us\"", "\"lunch_us\"")), "it has a key that is not known, 'lunch_us'");
  EXPECT_EQ(problemOf(replaced(good, "\"shared\": true", "\"size\": true")),
            "it has a key that is not known, 'caches[1].size'");
  EXPECT_EQ(problemOf(replaced(good, "\"version\": 2,", "")), "it lacks the key 'version'");
  EXPECT_EQ(problemOf(replaced(good, "\"version\": 2", "\"version\": 3")),
            "'version' is not 2, the one that this snugc reads");
  EXPECT_EQ(problemOf(replaced(good, "\"fork_us\": 3.0", "\"fork_us\": -1")),
            "'fork_us' is -1, not a number from 0.0 to 10000.0");
  EXPECT_EQ(problemOf(replaced(good, "\"fork_us\": 3.0", "\"fork_us\": \"fast\"")),
            "'fork_us' is \"fast\", not a number from 0.0 to 10000.0");
  EXPECT_EQ(problemOf(replaced(good, "\"vector_bits\": 512", "\"vector_bits\": 512.5")),
            "'vector_bits' is 512.5, not a whole number");
  EXPECT_EQ(problemOf(replaced(good, "\"contraction_gops\": 144.0", "\"contraction_gops\": 0")),
            "'contraction_gops' is 0, not a number from 0.01 to 1000000.0");
  EXPECT_EQ(problemOf(replaced(good, "33554432", "1024")),
            "'caches[1].bytes' is no more than that of the level inside of it");
  EXPECT_EQ(problemOf(replaced(good, "\"shared\": false", "\"shared\": 0")),
            "'caches[0].shared' is neither true nor false");
  std::string memory = good.substr(0, good.find("\"memory_gbps\""));
  EXPECT_EQ(problemOf(memory + "\"memory_gbps\": []}"),
            "'memory_gbps' is no list of 1 to 1024 numbers, one a thread count");
  EXPECT_EQ(problemOf(memory + "\"memory_gbps\": [1, 1e300]}"),
            "'memory_gbps[1]' is 1e+300, not a number from 0.01 to 100000.0");
}

} // namespace
