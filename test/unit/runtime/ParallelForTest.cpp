// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cpu/ParallelFor.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <mutex>
#include <omp.h>
#include <vector>

namespace {
struct Range {
  int64_t lo, hi, thread;
  bool inTeam;
};
struct Record {
  std::mutex mutex;
  std::vector<Range> ranges;
};
} // namespace

static std::vector<Range> record(snug::cpu::Team team, int64_t extent, int64_t grain) {
  Record record;
  int64_t args[] = {int64_t(reinterpret_cast<intptr_t>(&record))};
  auto kernel = [](const int64_t *args, int64_t lo, int64_t hi, int64_t thread) {
    auto *record = reinterpret_cast<Record *>(args[0]);
    std::lock_guard<std::mutex> lock(record->mutex);
    record->ranges.push_back({lo, hi, thread, omp_in_parallel() != 0});
  };
  snug::cpu::parallelFor(&team, kernel, args, extent, grain);
  std::sort(record.ranges.begin(), record.ranges.end(), [](const Range &a, const Range &b) { return a.lo < b.lo; });
  return record.ranges;
}

TEST(ParallelFor, CoversTheExtentOnceAtMultiplesOfTheGrain) {
  for (int64_t threads : {1, 2, 3, 4})
    for (int64_t grain : {1, 3, 16})
      for (int64_t extent : {1, 2, 15, 16, 17, 48, 49, 1000}) {
        SCOPED_TRACE(testing::Message() << threads << " threads, grain " << grain << ", extent " << extent);
        int64_t end = 0;
        for (const Range &range : record({threads}, extent, grain)) {
          ASSERT_EQ(range.lo, end);
          ASSERT_GT(range.hi, range.lo);
          ASSERT_EQ(range.lo % grain, 0);
          ASSERT_TRUE(range.hi - range.lo >= grain || range.hi == extent);
          ASSERT_TRUE(range.thread >= 0 && range.thread < threads);
          end = range.hi;
        }
        ASSERT_EQ(end, extent);
      }
}

TEST(ParallelFor, RunsSmallExtentsInOnePiece) {
  std::vector<Range> ranges = record({4}, 16, 16);
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_EQ(ranges[0].thread, 0);
  EXPECT_FALSE(ranges[0].inTeam); // no worker was woken
  ranges = record({4}, 17, 16);
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_TRUE(ranges[0].inTeam);
  EXPECT_EQ(record({4}, 0, 16).size(), 0u);
}

TEST(ParallelFor, SplitsInMoreRangesThanThreads) {
  // So that one slow thread is not waited for, but not in so many that kernels prepare in vain.
  EXPECT_EQ(record({4}, 1000, 1).size(), 16u);
}

// Messages in flight are moved on by the calling thread, between ranges that are smaller meanwhile; no longer than need be.
TEST(ParallelFor, PollsBetweenRangesWhileSomethingIsInFlight) {
  struct Flight {
    int polls = 0, last = 0;
    static bool poll(void *state) {
      auto *flight = static_cast<Flight *>(state);
      EXPECT_EQ(omp_get_thread_num(), 0);
      return ++flight->polls < flight->last;
    }
  };
  for (int64_t threads : {1, 3}) {
    Flight none{0, 1}, one{0, 1000000}, done{0, 3};
    std::vector<Range> ranges = record({threads, &Flight::poll, &none}, 1000, 2);
    EXPECT_EQ(ranges.size(), size_t(threads == 1 ? 1 : 4 * threads));
    EXPECT_EQ(none.polls, 1);
    ranges = record({threads, &Flight::poll, &one}, 1000, 2);
    ASSERT_EQ(ranges.size(), size_t(32 * threads));
    auto own = std::count_if(ranges.begin(), ranges.end(), [](const Range &range) { return range.thread == 0; });
    EXPECT_EQ(one.polls, 1 + own);
    EXPECT_EQ(ranges.back().hi, 1000);
    record({threads, &Flight::poll, &done}, 1000, 2);
    EXPECT_LE(done.polls, 3);
  }
}
