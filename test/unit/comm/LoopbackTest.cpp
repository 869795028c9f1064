// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Communicators between threads: what collectives compute, and how what goes wrong on one rank ends on all.

#include "runtime/comm/Comm.h"
#include "test/unit/comm/CheckCollectives.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <gtest/gtest.h>
#include <thread>

namespace {
class Loopback : public ::testing::Test {
protected:
  // Does `body` in a thread for each rank; destroys its communicator behind it.
  void onRanks(uint32_t size, const std::function<void(snug_comm *)> &body, uint32_t timeoutMs = 0) {
    std::vector<snug_comm *> comms(size);
    snug_comm_options options = SNUG_COMM_OPTIONS_INIT;
    options.timeout_ms = options.start_timeout_ms = timeoutMs;
    ASSERT_EQ(snug_comm_create_loopback(size, &options, comms.data()), nullptr);
    std::vector<std::thread> threads;
    for (snug_comm *comm : comms)
      threads.emplace_back([&body, comm] {
        body(comm);
        snug_comm_destroy(comm);
      });
    for (std::thread &thread : threads)
      thread.join();
  }
};

std::string take(snug_error *error) {
  std::string text = error ? std::to_string(snug_error_code(error)) + " " + snug_error_message(error) : "";
  snug_error_destroy(error);
  return text;
}
} // namespace

TEST_F(Loopback, CollectivesAreThoseOfBruteForce) {
  const std::pair<uint32_t, uint32_t> meshes[] = {{1, 1}, {2, 1}, {1, 2}, {3, 1}, {2, 2}, {1, 4}, {3, 2}, {2, 3}, {4, 2}, {2, 4}, {8, 1}};
  for (auto [d1, d2] : meshes) {
    std::vector<std::string> wrong(d1 * d2);
    onRanks(d1 * d2, [&, d1 = d1, d2 = d2](snug_comm *comm) { wrong[comm->rank()] = checkCollectives(*comm, d1, d2, true); });
    for (const std::string &text : wrong)
      EXPECT_EQ(text, "") << d1 << " x " << d2;
  }
}

TEST_F(Loopback, RefusesSizes) {
  snug_comm *comms[1];
  EXPECT_NE(take(snug_comm_create_loopback(0, nullptr, comms)).find("1 0 ranks in one process"), std::string::npos);
  EXPECT_NE(take(snug_comm_create_loopback(2000, nullptr, comms)).find("1 2000 ranks"), std::string::npos);
  snug_comm_options options = SNUG_COMM_OPTIONS_INIT;
  options.struct_size = 1000;
  EXPECT_NE(take(snug_comm_create_loopback(1, &options, comms)).find("SNUG_COMM_OPTIONS_INIT"), std::string::npos);
}

TEST_F(Loopback, AgreesOnWhatTheLeastRankHasMet) {
  std::vector<std::string> none(3), one(3), same(3);
  onRanks(3, [&](snug_comm *comm) {
    uint32_t rank = comm->rank();
    none[rank] = take(snug_comm_agree(comm, SNUG_EXIT_DONE, nullptr));
    one[rank] = take(rank == 0 ? snug_comm_agree(comm, SNUG_EXIT_DONE, nullptr)
                               : snug_comm_agree(comm, rank == 1 ? SNUG_EXIT_MACHINE : SNUG_EXIT_USAGE, rank == 1 ? "no disk" : "no"));
    same[rank] = take(snug_comm_agree(comm, SNUG_EXIT_INVALID, "a broken file"));
  });
  for (uint32_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(none[rank], "");
    EXPECT_EQ(one[rank], "5 rank 1: no disk");
    EXPECT_EQ(same[rank], "2 a broken file");
  }
}

TEST_F(Loopback, ARankThatLeavesEndsTheOthersAtOnce) {
  std::vector<std::string> first(4), second(4);
  std::vector<uint32_t> reporters(4);
  std::atomic<int> done{0};
  auto start = std::chrono::steady_clock::now();
  onRanks(4, [&](snug_comm *comm) {
    uint32_t rank = comm->rank();
    if (rank == 0)
      return; // and destroys its communicator
    uint64_t all[4], mine = rank;
    first[rank] = take(snug_comm_all_gather(comm, &mine, all, sizeof(mine)));
    second[rank] = take(snug_comm_all_gather(comm, &mine, all, sizeof(mine)));
    reporters[rank] = snug_comm_reporter(comm);
    for (++done; done < 3;) // or they would be lost to each other
      std::this_thread::yield();
  });
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  for (uint32_t rank = 1; rank < 4; ++rank) {
    EXPECT_EQ(first[rank], "6 the ranks cannot go on over loopback: rank 0 was lost: it destroyed its communicator; start all of them again");
    EXPECT_EQ(second[rank], first[rank]);
    EXPECT_EQ(reporters[rank], 1u);
  }
}

TEST_F(Loopback, ARankThatDoesNotComeIsNotWaitedForForever) {
  std::vector<std::string> text(3);
  onRanks(3, [&](snug_comm *comm) {
    uint32_t rank = comm->rank();
    uint64_t all[3], mine = rank;
    if (rank == 1)
      std::this_thread::sleep_for(std::chrono::milliseconds(900));
    text[rank] = take(snug_comm_all_gather(comm, &mine, all, sizeof(mine)));
  }, 200);
  for (const std::string &each : text)
    EXPECT_EQ(each, "6 the ranks cannot go on over loopback: rank 1 did not come within 200 ms; start all of them again");
}

TEST_F(Loopback, RanksThatDoNotDoTheSameAreToldSo) {
  std::vector<std::string> text(2);
  onRanks(2, [&](snug_comm *comm) {
    char all[16], mine[8] = {};
    text[comm->rank()] = take(snug_comm_all_gather(comm, mine, all, comm->rank() ? 8 : 4));
  });
  for (const std::string &each : text)
    EXPECT_EQ(each, "6 the ranks cannot go on over loopback: the ranks do not do the same: their collectives differ in kind, type or size; "
                    "start all of them again");
}

TEST_F(Loopback, HasNoLinks) {
  onRanks(2, [](snug_comm *comm) {
    uint8_t peers[2] = {1, 1};
    uint64_t messages[2];
    double seconds[2];
    EXPECT_EQ(take(snug_comm_exchange(comm, peers, 1, 1, messages, seconds)), "1 there are no links to measure over loopback: use MPI");
  });
}

// Of a transport that has no collectives in flight each is done when it is started.
TEST_F(Loopback, TransportsWithoutStartDoAtOnce) {
  std::vector<snug_transport> transports = snug::comm::openLoopback(2);
  std::vector<snug_comm *> comms(2);
  for (uint32_t rank = 0; rank < 2; ++rank) {
    transports[rank].start = nullptr;
    snug_comm *refused = nullptr;
    EXPECT_NE(take(snug_comm_create(&transports[rank], nullptr, &refused)).find("some of start, test and wait"), std::string::npos);
    transports[rank].test = nullptr;
    transports[rank].wait = nullptr;
    ASSERT_EQ(snug_comm_create(&transports[rank], nullptr, &comms[rank]), nullptr);
  }
  std::vector<std::string> wrong(2);
  std::vector<std::thread> threads;
  for (snug_comm *comm : comms)
    threads.emplace_back([&wrong, comm] {
      wrong[comm->rank()] = checkCollectives(*comm, 2, 1, true);
      snug_comm_destroy(comm);
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(wrong[0], "");
  EXPECT_EQ(wrong[1], "");
}

TEST_F(Loopback, TransportsOfOthersAreChecked) {
  snug_transport transport{};
  snug_comm *comm = nullptr;
  EXPECT_NE(take(snug_comm_create(&transport, nullptr, &comm)).find("1 the transport is of another version"), std::string::npos);
  transport.abi_version = SNUG_TRANSPORT_ABI_VERSION;
  transport.struct_size = sizeof(transport);
  EXPECT_EQ(take(snug_comm_create(&transport, nullptr, &comm)), "1 the transport lacks a name or a function");
  EXPECT_EQ(take(snug_comm_create(nullptr, nullptr, &comm)), "1 the transport is NULL");
  std::vector<snug_transport> transports = snug::comm::openLoopback(1);
  transports[0].rank = 1;
  EXPECT_EQ(take(snug_comm_create(&transports[0], nullptr, &comm)), "1 the transport gives rank 1 of 1; ranks count from 0");
  transports[0].rank = 0;
  ASSERT_EQ(snug_comm_create(&transports[0], nullptr, &comm), nullptr);
  EXPECT_EQ(take(snug_comm_agree(comm, SNUG_EXIT_DONE, nullptr)), "");
  snug_comm_destroy(comm);
}
