// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model for a mesh of GPUs, each of its ranks a thread: results, what is waited for, what is lost. FakeNccl.cpp is what connects them.

#include "test/unit/cuda/CudaTest.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

using namespace snug::cuda;

namespace {
constexpr uint32_t kRanks = 4;
constexpr uint64_t kArena = 9 * kMost; // of the fixture

std::vector<float> resultOn(uint32_t rank, const std::vector<float> &x) {
  std::vector<float> y;
  for (float value : x)
    y.push_back(6 * value + 10 + (rank % 2 ? 200 : 400) + 100 * float(rank + 1));
  return y;
}

class CudaMesh : public ::testing::Test {
protected:
  // What one rank has.
  struct Rank {
    uint32_t number;
    snug_comm *comm;
    snug_model *model = nullptr;
    snug_context *context = nullptr;
    PrimaryContext primary = nullptr;
    std::vector<Address> owned;
    std::string failure; // the first
    snug_exit_code code = SNUG_EXIT_DONE;

    bool take(snug_error *error) {
      if (!error)
        return true;
      if (failure.empty()) {
        failure = snug_error_message(error);
        code = snug_error_code(error);
      }
      snug_error_destroy(error);
      return false;
    }
    bool create(uint32_t flags = 0, void *stream = nullptr, const int64_t *dims = nullptr, int device = -1) {
      snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
      options.comm = comm;
      options.flags = flags;
      options.stream = stream;
      options.max_dims = dims;
      options.device = device < 0 ? number : uint32_t(device);
      return take(snug_context_create(model, &options, &context));
    }
    bool run(const DLTensor &x, const DLTensor &y) {
      const DLTensor *inputs[] = {&x}, *outputs[] = {&y};
      return take(snug_run(context, inputs, 1, outputs, 1));
    }
    bool runOnHost(int64_t n, float start) {
      Rows x(n, start), y(n, -1);
      if (!run(x.onHost(), y.onHost()))
        return false;
      EXPECT_EQ(y.values, resultOn(number, x.values)) << "rank " << number;
      return true;
    }
    DLTensor onDevice(Rows &rows, Address address) {
      DLTensor tensor = rows.onDevice(address);
      tensor.device.device_id = int(number);
      return tensor;
    }
    Address allocate() {
      Address address = 0;
      EXPECT_CUDA(cuMemAlloc_v2(&address, kMost));
      owned.push_back(address);
      return address;
    }
  };

  void SetUp() override {
    setenv("SNUG_SIM_KERNELS", SIM_KERNELS, 1);
    snug_fake_cuda_reset();
    ASSERT_EQ(stats().live_bytes, 0u);
  }
  void TearDown() override {
    EXPECT_EQ(stats().live_bytes, 0u);
    EXPECT_EQ(stats().pinned_bytes, 0u);
    EXPECT_EQ(stats().handles, 0u);
    EXPECT_EQ(stats().faults, 0u);
  }

  // `body` in a thread for each rank, with its device's context current. Returns what they failed with.
  std::vector<Rank> onRanks(const std::function<void(Rank &)> &body, const char *built = FIXTURE_MESH, uint32_t startTimeout = 0,
                            uint32_t timeout = 0) {
    Setting devices("SNUG_FAKE_CUDA_DEVICES", "4");
    snug_comm *comms[kRanks];
    snug_comm_options options = SNUG_COMM_OPTIONS_INIT;
    options.start_timeout_ms = startTimeout;
    options.timeout_ms = timeout;
    EXPECT_OK(snug_comm_create_loopback(kRanks, &options, comms));
    snug_model *model = nullptr;
    EXPECT_OK(snug_model_load(built, &model));
    std::vector<Rank> ranks(kRanks);
    std::vector<std::thread> threads;
    EXPECT_CUDA(cuInit(0));
    for (uint32_t r = 0; r < kRanks; ++r)
      threads.emplace_back([&, r] {
        Rank &rank = ranks[r];
        rank.number = r;
        rank.comm = comms[r];
        snug_model_retain(rank.model = model);
        EXPECT_CUDA(cuDevicePrimaryCtxRetain(&rank.primary, int(r)));
        EXPECT_CUDA(cuCtxPushCurrent_v2(rank.primary));
        body(rank);
        snug_context_destroy(rank.context);
        snug_model_release(rank.model);
        for (Address address : rank.owned)
          EXPECT_CUDA(cuMemFree_v2(address));
        PrimaryContext left = nullptr;
        cuCtxPopCurrent_v2(&left);
        EXPECT_EQ(left, rank.primary);
        snug_comm_destroy(rank.comm);
      });
    for (std::thread &thread : threads)
      thread.join();
    for (uint32_t r = 0; r < kRanks; ++r)
      cuDevicePrimaryCtxRelease_v2(int(r));
    snug_model_release(model);
    return ranks;
  }
  void expectAll(const std::vector<Rank> &ranks, snug_exit_code code, const std::string &part) {
    for (const Rank &rank : ranks) {
      EXPECT_EQ(rank.code, code) << "rank " << rank.number << ": " << rank.failure;
      EXPECT_NE(rank.failure.find(part), std::string::npos) << "rank " << rank.number << ": " << rank.failure;
    }
  }
};

// Meets all ranks.
void meet(snug_comm *comm) { EXPECT_OK(snug_comm_agree(comm, SNUG_EXIT_DONE, nullptr)); }
} // namespace

TEST_F(CudaMesh, DoesEachKindOfCollective) {
  for (const auto &rank : onRanks([&](Rank &rank) {
         ASSERT_TRUE(rank.create());
         for (int64_t n : {3, 64, 1, 64})
           EXPECT_TRUE(rank.runOnHost(n, float(n)));
       }))
    EXPECT_EQ(rank.failure, "");
}

TEST_F(CudaMesh, TakesWhatIsPlannedOfEachDeviceAndAllocatesNothingInARun) {
  onRanks([&](Rank &rank) {
    ASSERT_TRUE(rank.create());
    meet(rank.comm);
    snug_fake_cuda_stats before = stats();
    meet(rank.comm);
    EXPECT_TRUE(rank.runOnHost(64, 1));
    EXPECT_TRUE(rank.runOnHost(64, 2));
    meet(rank.comm);
    EXPECT_EQ(stats().allocations, before.allocations);
    EXPECT_EQ(stats().handles, before.handles);
    EXPECT_EQ(stats().waits, before.waits + 2 * kRanks * 2); // a copy to the host that is not pinned, and the end
    uint64_t live = 0, peak = 0;
    snug_fake_cuda_get_device_bytes(int(rank.number), &live, &peak);
    EXPECT_EQ(live, kArena + 2 * kMost);
    EXPECT_EQ(peak, live);
    meet(rank.comm);
  });
}

TEST_F(CudaMesh, CountsWhatNcclTakes) {
  Setting bytes("SNUG_FAKE_NCCL_BYTES", "1000000");
  onRanks([&](Rank &rank) {
    ASSERT_TRUE(rank.create());
    snug_device_memory memory;
    EXPECT_OK(snug_context_device_memory(rank.context, &memory));
    EXPECT_EQ(memory.mesh, 3000000u); // axis 0, axis 1, and both
    EXPECT_EQ(memory.allocated, kArena + 2 * kMost);
  });
}

TEST_F(CudaMesh, ReplaysAGraphThatAllRanksRecord) {
  onRanks([&](Rank &rank) {
    ASSERT_TRUE(rank.create(SNUG_CONTEXT_GRAPH | SNUG_CONTEXT_DEVICE_TENSORS));
    Rows x(9, 2), y(9, -1);
    Address in = rank.allocate(), out = rank.allocate(), elsewhere = rank.allocate();
    Stream stream = snug_context_stream(rank.context);
    auto once = [&](float start, Address to) {
      Rows values(9, start);
      EXPECT_CUDA(cuMemcpyHtoDAsync_v2(in, values.values.data(), 9 * kWidth * 4, stream));
      EXPECT_TRUE(rank.run(rank.onDevice(x, in), rank.onDevice(y, to))) << rank.failure;
      EXPECT_CUDA(cuMemcpyDtoHAsync_v2(y.values.data(), to, 9 * kWidth * 4, stream));
      EXPECT_EQ(y.values, resultOn(rank.number, values.values));
    };
    once(1, out);
    once(2, out);
    once(3, rank.number == 2 ? elsewhere : out); // one records anew, so all do
    once(4, rank.number == 2 ? elsewhere : out);
  });
}

TEST_F(CudaMesh, WaitsForNothingOnTheCallersStream) {
  onRanks([&](Rank &rank) {
    Stream stream = nullptr;
    EXPECT_CUDA(cuStreamCreate(&stream, kStreamNonBlocking));
    ASSERT_TRUE(rank.create(SNUG_CONTEXT_DEVICE_TENSORS, stream));
    Rows x(64, 2), y(64, -1);
    Address in = rank.allocate(), out = rank.allocate();
    EXPECT_CUDA(cuMemcpyHtoDAsync_v2(in, x.values.data(), kMost, stream));
    EXPECT_CUDA(cuStreamSynchronize(stream));
    meet(rank.comm);
    uint64_t waits = stats().waits;
    meet(rank.comm);
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(rank.run(rank.onDevice(x, in), rank.onDevice(y, out))) << rank.failure;
    meet(rank.comm);
    EXPECT_EQ(stats().waits, waits);
    meet(rank.comm);
    EXPECT_CUDA(cuMemcpyDtoHAsync_v2(y.values.data(), out, kMost, stream));
    EXPECT_EQ(y.values, resultOn(rank.number, x.values));
    // The caller's own graph.
    Graph graph = nullptr;
    GraphExec exec = nullptr;
    EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureThreadLocal));
    EXPECT_TRUE(rank.run(rank.onDevice(x, in), rank.onDevice(y, out))) << rank.failure;
    EXPECT_CUDA(cuStreamEndCapture(stream, &graph));
    ASSERT_NE(graph, nullptr);
    EXPECT_CUDA(cuGraphInstantiateWithFlags(&exec, graph, 0));
    Rows other(64, 30);
    EXPECT_CUDA(cuMemcpyHtoDAsync_v2(in, other.values.data(), kMost, stream));
    EXPECT_CUDA(cuGraphLaunch(exec, stream));
    EXPECT_CUDA(cuMemcpyDtoHAsync_v2(y.values.data(), out, kMost, stream));
    EXPECT_EQ(y.values, resultOn(rank.number, other.values));
    EXPECT_CUDA(cuGraphExecDestroy(exec));
    EXPECT_CUDA(cuGraphDestroy(graph));
    meet(rank.comm);
    snug_context_destroy(std::exchange(rank.context, nullptr));
    EXPECT_CUDA(cuStreamDestroy_v2(stream));
  });
}

//===-- What goes wrong -------------------------------------------------------------------------------------------===//

TEST_F(CudaMesh, RefusesADeviceForTwoRanks) {
  expectAll(onRanks([](Rank &rank) { EXPECT_FALSE(rank.create(0, nullptr, nullptr, rank.number == 3 ? 1 : int(rank.number))); }), SNUG_EXIT_USAGE,
            "ranks 1 and 3 use the same GPU (CUDA device 1), and each needs its own");
}

TEST_F(CudaMesh, RefusesContextsForDifferentDims) {
  expectAll(onRanks([](Rank &rank) {
              int64_t most = rank.number == 2 ? 8 : 9;
              EXPECT_FALSE(rank.create(0, nullptr, &most));
            }),
            SNUG_EXIT_RUN, "ranks 0 and 2 make contexts for different dims (max_dims): give all of them the same");
}

TEST_F(CudaMesh, AgreesOnWhatOneRankLacks) {
  expectAll(onRanks([](Rank &rank) { EXPECT_FALSE(rank.create(0, nullptr, nullptr, rank.number == 1 ? 7 : int(rank.number))); }), SNUG_EXIT_MACHINE,
            "rank 1: there is no CUDA device 7");
  Setting fail("SNUG_FAKE_CUDA_FAIL", "ncclGetUniqueId:1:2");
  expectAll(onRanks([](Rank &rank) { EXPECT_FALSE(rank.create()); }), SNUG_EXIT_MACHINE,
            "NCCL could not make an id for a group of GPUs: unhandled system error (2)");
}

TEST_F(CudaMesh, RefusesRunsOfDifferentSizes) {
  expectAll(onRanks([](Rank &rank) {
              ASSERT_TRUE(rank.create());
              EXPECT_FALSE(rank.runOnHost(rank.number == 1 ? 5 : 6, 1));
              rank.failure.clear();
              EXPECT_TRUE(rank.runOnHost(6, 1)); // nothing has begun
              rank.failure = "none";
            }),
            SNUG_EXIT_RUN, "none");
}

TEST_F(CudaMesh, AgreesOnWhatOneRankRefuses) {
  expectAll(onRanks([](Rank &rank) {
              ASSERT_TRUE(rank.create(SNUG_CONTEXT_DEVICE_TENSORS));
              Rows x(5, 1), y(5, 1);
              Address in = rank.allocate(), out = rank.allocate();
              EXPECT_FALSE(rank.run(rank.number == 2 ? x.onHost() : rank.onDevice(x, in), rank.onDevice(y, out)));
            }),
            SNUG_EXIT_RUN, "rank 2: input 'x' is on the host");
}

TEST_F(CudaMesh, AgreesOnALaunchThatFails) {
  for (uint32_t flags : {0u, uint32_t(SNUG_CONTEXT_GRAPH)}) {
    Setting fail("SNUG_FAKE_CUDA_FAIL", flags ? "cuLaunchKernel:03:701" : "cuLaunchKernel:3:701"); // of one of the ranks
    expectAll(onRanks([&](Rank &rank) {
                ASSERT_TRUE(rank.create(flags));
                EXPECT_FALSE(rank.runOnHost(6, 1));
                EXPECT_TRUE(rank.runOnHost(6, 1)); // all collectives have met
              }),
              SNUG_EXIT_RUN, "could not be started on CUDA device");
  }
}

TEST_F(CudaMesh, WaitsNoLongerForARankThatIsLost) {
  Setting fail("SNUG_FAKE_CUDA_FAIL", "ncclReduceScatter:6:2"); // each has done it once when it was made
  auto start = std::chrono::steady_clock::now();
  std::vector<Rank> ranks = onRanks([&](Rank &rank) {
    ASSERT_TRUE(rank.create());
    EXPECT_FALSE(rank.runOnHost(6, 1));
    EXPECT_FALSE(rank.runOnHost(6, 1));
  });
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  auto isFirst = [](const Rank &rank) {
    return rank.failure.find("what devices do together (collective 2, for ONNX node(s) Max_2) could not be started on CUDA device") == 0 &&
           rank.failure.find("unhandled system error (2)") != std::string::npos;
  };
  EXPECT_EQ(std::count_if(ranks.begin(), ranks.end(), isFirst), 1);
  for (const Rank &rank : ranks) {
    EXPECT_EQ(rank.code, SNUG_EXIT_RUN);
    EXPECT_TRUE(isFirst(rank) || rank.failure.find("the ranks cannot go on over loopback: rank ") == 0) << rank.failure;
  }
}

TEST_F(CudaMesh, KeepsTheTimeThatARunMayTake) {
  Setting fail("SNUG_FAKE_CUDA_FAIL", "ncclReduceScatter:006:2");
  std::vector<Rank> ranks = onRanks([&](Rank &rank) {
    ASSERT_TRUE(rank.create());
    EXPECT_FALSE(rank.runOnHost(6, 1));
  }, FIXTURE_MESH, 0, 300);
  auto isLate = [](const Rank &rank) { return rank.failure.find("the GPUs of the ranks have not met in time") != std::string::npos; };
  EXPECT_GE(std::count_if(ranks.begin(), ranks.end(), isLate), 1);
}

TEST_F(CudaMesh, ReportsWhatNcclMeets) {
  expectAll(onRanks([](Rank &rank) {
              ASSERT_TRUE(rank.create());
              meet(rank.comm);
              snug_fake_nccl_fail(6);
              Rows x(6, 1), y(6, -1);
              while (rank.run(x.onHost(), y.onHost()))
                continue;
            }),
            SNUG_EXIT_RUN, "start all of them again");
  snug_fake_nccl_fail(0);
}

//===-- What stands in for NCCL -----------------------------------------------------------------------------------===//

// By the rank that is first to wait; what others do while it waits may be done in time by chance.
TEST_F(CudaMesh, FindsWhatReadsTooEarly) {
  std::atomic<int> wrong = 0;
  onRanks([&](Rank &rank) {
    ASSERT_TRUE(rank.create());
    Rows x(6, 1), y(6, -1);
    EXPECT_TRUE(rank.run(x.onHost(), y.onHost()));
    wrong += y.values != resultOn(rank.number, x.values);
  }, FIXTURE_MESH_NO_WAIT);
  EXPECT_GT(wrong, 0);
}

TEST_F(CudaMesh, FindsAnotherOrder) {
  std::atomic<uint64_t> faults = 0;
  onRanks([&](Rank &rank) {
    EXPECT_FALSE(rank.create() && rank.runOnHost(6, 1));
    faults += stats().faults;
    snug_fake_cuda_reset(); // else nothing could be freed on a device that has failed
  }, FIXTURE_MESH_ORDER, 4000);
  EXPECT_GT(faults, 0u);
}

TEST_F(CudaMesh, DoesNotWaitForEverWhenItIsMade) {
  std::vector<Rank> ranks = onRanks([](Rank &rank) { EXPECT_FALSE(rank.create()); }, FIXTURE_MESH_SKIP, 4000);
  expectAll(ranks, SNUG_EXIT_RUN, "the GPUs of the ranks could not connect: the GPUs of the ranks have not met in time");
}
