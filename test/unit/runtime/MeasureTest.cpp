// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What snug-run measures with, and the random data that it makes.

#include "tools/snug-run/Measure.h"
#include "tools/snug-run/HostTensor.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <set>
#include <sys/mman.h>

using namespace snug;

TEST(WatchedArena, SeesTheHighestByteWritten) {
  WatchedArena arena(100 << 10, 64);
  auto *bytes = static_cast<uint8_t *>(arena.data());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes) % 64, 0u);
  EXPECT_EQ(arena.bytes(), uint64_t(100 << 10));
  EXPECT_EQ(arena.highWater(), 0u);
  bytes[12345] ^= 1;
  EXPECT_EQ(arena.highWater(), 12346u);
  bytes[100] ^= 1;
  EXPECT_EQ(arena.highWater(), 12346u);
  memset(bytes, 0, 50000); // constant data cannot look like the pattern for long
  EXPECT_GT(arena.highWater(), 50000u - 8);
  EXPECT_LE(arena.highWater(), 50000u);
}

TEST(WatchedArena, HasAnyAlignmentAndSize) {
  for (uint64_t alignment : {1, 64, 4096, 65536, 1 << 21})
    for (uint64_t size : {0, 1, 64, 4095, 4096, 4097, 100000}) {
      WatchedArena arena(size, alignment);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.data()) % alignment, 0u);
      memset(arena.data(), 0, size);
    }
}

TEST(WatchedArenaDeathTest, EndsTheProgramAtAWritePastItsEnd) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  WatchedArena arena(2304, 64);
  EXPECT_DEATH(static_cast<volatile uint8_t *>(arena.data())[2304] = 0, "");
}

TEST(ResidentAnonymousBytes, FollowsWhatIsTouched) {
  constexpr size_t size = 32 << 20;
  void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  uint64_t before = residentAnonymousBytes();
  memset(memory, 1, size);
  uint64_t after = residentAnonymousBytes();
  munmap(memory, size);
  EXPECT_GE(after - before, uint64_t(size));
  EXPECT_LE(after - before, uint64_t(size) + (256 << 10));
}

TEST(Random, DependsOnTheSeedAlone) {
  HostTensor a({2, 32, 1}, {1000}), b({2, 32, 1}, {1000}), c({2, 32, 1}, {1000});
  fillRandom(a, 7, nullptr);
  fillRandom(b, 7, nullptr);
  fillRandom(c, 8, nullptr);
  EXPECT_EQ(memcmp(a.data(), b.data(), a.bytes()), 0);
  EXPECT_NE(memcmp(a.data(), c.data(), a.bytes()), 0);
  double sum = 0;
  for (int i = 0; i < 1000; ++i) {
    float value = reinterpret_cast<float *>(a.data())[i];
    ASSERT_GE(value, -1.0f);
    ASSERT_LT(value, 1.0f);
    sum += value;
  }
  EXPECT_NEAR(sum / 1000, 0, 0.1);
}

TEST(Random, FillsIntegersAndBools) {
  HostTensor ids({0, 64, 1}, {1000}), mask({6, 8, 1}, {1000}), bytes({0, 8, 1}, {1000});
  std::pair<int64_t, int64_t> range{-3, 5};
  fillRandom(ids, 1, nullptr);
  fillRandom(mask, 1, nullptr);
  fillRandom(bytes, 1, &range);
  auto *idValues = reinterpret_cast<int64_t *>(ids.data());
  EXPECT_EQ(std::set<int64_t>(idValues, idValues + 1000), (std::set<int64_t>{0, 1}));
  EXPECT_EQ(std::set<int>(mask.data(), mask.data() + 1000), (std::set<int>{0, 1}));
  auto *byteValues = reinterpret_cast<int8_t *>(bytes.data());
  EXPECT_EQ(std::set<int>(byteValues, byteValues + 1000), (std::set<int>{-3, -2, -1, 0, 1, 2, 3, 4, 5}));
}

TEST(Random, FillsSmallFloats) {
  HostTensor halves({2, 16, 1}, {1000}), brains({4, 16, 1}, {1000});
  fillRandom(halves, 1, nullptr);
  fillRandom(brains, 1, nullptr);
  std::set<float> halfValues, brainValues;
  for (int i = 0; i < 1000; ++i) {
    uint16_t half = reinterpret_cast<uint16_t *>(halves.data())[i];
    int exponent = half >> 10 & 31;
    float value = exponent == 0 ? 0 : std::ldexp(float(1024 + (half & 1023)), exponent - 25);
    halfValues.insert(half & 0x8000 ? -value : value);
    uint32_t wide = uint32_t(reinterpret_cast<uint16_t *>(brains.data())[i]) << 16;
    float brain;
    memcpy(&brain, &wide, 4);
    brainValues.insert(brain);
  }
  for (const std::set<float> *values : {&halfValues, &brainValues}) {
    EXPECT_GT(values->size(), 150u);
    EXPECT_GE(*values->begin(), -1.0f);
    EXPECT_LT(*values->rbegin(), 1.0f);
    EXPECT_LT(*values->begin(), -0.9f);
    EXPECT_GT(*values->rbegin(), 0.9f);
    for (float value : *values)
      ASSERT_EQ(value * 256, std::round(value * 256));
  }
}
