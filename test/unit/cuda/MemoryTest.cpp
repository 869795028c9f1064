// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What contexts of a model for a GPU allocate: to the byte what was planned.

#include "test/unit/cuda/CudaTest.h"

#include <memory>

using namespace snug::cuda;
using CudaMemory = CudaTest;

TEST_F(CudaMemory, IsWhatWasPlannedForShapes) {
  for (const char *built : {FIXTURE_DATA_SHAPE, FIXTURE_VALUE_DIM}) {
    load(built);
    snug_memory_need need;
    EXPECT_OK(snug_model_memory(model, nullptr, &need));
    create();
    EXPECT_EQ(stats().live_bytes, need.total);
    snug_context_destroy(context);
    snug_model_release(model);
    context = nullptr, model = nullptr;
  }
}

TEST_F(CudaMemory, IsWhatWasPlanned) {
  load();
  snug_memory_need need;
  EXPECT_OK(snug_model_memory(model, nullptr, &need));
  EXPECT_EQ(stats().live_bytes, 0u);
  create();
  EXPECT_EQ(stats().live_bytes, need.total);
  Rows x(64, 0), y(64, 0);
  uint64_t allocations = stats().allocations;
  for (int i = 0; i < 3; ++i)
    EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(stats().peak_bytes, need.total);
  EXPECT_EQ(stats().allocations, allocations) << "a run allocates";
  snug_device_memory memory;
  EXPECT_OK(snug_context_device_memory(context, &memory));
  EXPECT_EQ(memory.allocated, need.total);
  EXPECT_EQ(memory.free_at_creation, uint64_t(80) << 30);
  EXPECT_EQ(memory.free, memory.free_at_creation - need.total);
  EXPECT_EQ(memory.total, uint64_t(80) << 30);
}

TEST_F(CudaMemory, HasNoCopiesOfTensorsOnTheDevice) {
  load();
  snug_memory_need need;
  EXPECT_OK(snug_model_memory(model, nullptr, &need));
  create(SNUG_CONTEXT_DEVICE_TENSORS);
  EXPECT_EQ(stats().live_bytes, need.weights + need.arena);
  EXPECT_EQ(stats().peak_bytes, need.weights + need.arena);
  uint64_t ofDevice = stats().allocations;
  EXPECT_EQ(ofDevice, 4u); // the weights, the arena, and two pieces of pinned memory while weights were uploaded
  Rows x(64, 0), y(64, 0);
  Address onDevice = allocate(need.inputs), result = allocate(need.outputs);
  EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  EXPECT_EQ(stats().peak_bytes, need.total);
}

TEST_F(CudaMemory, FollowsTheLargestDims) {
  load();
  int64_t dims[] = {10};
  snug_memory_need need;
  EXPECT_OK(snug_model_memory(model, dims, &need));
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.max_dims = dims;
  EXPECT_OK(snug_context_create(model, &options, &context));
  EXPECT_EQ(stats().live_bytes, need.total);
  EXPECT_EQ(need.inputs, 10u * kWidth * 4);
  Rows x(10, 0), y(10, 0), longer(11, 0), longY(11, 0);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
  EXPECT_FAILS(run(longer.onHost(), longY.onHost()), SNUG_EXIT_RUN,
               "input 'x' has 352 bytes, and the context has room on the device for a copy of 320: create it for larger dims (max_dims)");
}

TEST_F(CudaMemory, SharesWeightsBetweenContexts) {
  load();
  create();
  uint64_t one = stats().live_bytes;
  snug_context *second = nullptr;
  EXPECT_OK(snug_context_create(model, nullptr, &second));
  EXPECT_EQ(stats().live_bytes, 2 * one - 32);
  snug_context_destroy(context);
  EXPECT_EQ(stats().live_bytes, one);
  context = second;
  Rows x(3, 0), y(3, 0);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
}

TEST_F(CudaMemory, UploadsWeightsInPieces) {
  for (const char *built : {FIXTURE_WEIGHTS_START, FIXTURE_WEIGHTS_END}) {
    load(built);
    create();
    EXPECT_EQ(stats().pinned_bytes, 0u);
    EXPECT_EQ(stats().peak_pinned_bytes, 8u << 20);
    Rows x(3, 1), y(3, 0);
    EXPECT_OK(run(x.onHost(), y.onHost()));
    EXPECT_EQ(y.values, resultOf(x.values));
    snug_context_destroy(context);
    snug_model_release(model);
    context = nullptr, model = nullptr;
  }
}

TEST_F(CudaMemory, TakesTheCallersWorkspace) {
  Setting two("SNUG_FAKE_CUDA_DEVICES", "2");
  load();
  Address arena = allocate(kMost + 256);
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  auto refuses = [&](void *workspace, uint64_t bytes, const char *message) {
    options.workspace = workspace;
    options.workspace_bytes = bytes;
    EXPECT_FAILS(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE, message);
  };
  refuses(reinterpret_cast<void *>(arena), kMost - 1, "the workspace has 2047 bytes, the model needs 2048");
  refuses(reinterpret_cast<void *>(arena + 16), kMost, "the workspace is not aligned to 256 bytes, as the model needs");
  alignas(256) static char onHost[kMost];
  refuses(onHost, kMost, "the workspace is not in the memory of CUDA device 0 (Fake GPU, sm_90), where the model runs");
  void *pinned = nullptr;
  EXPECT_CUDA(cuMemHostAlloc(&pinned, kMost, 0));
  refuses(pinned, kMost, "the workspace is not in the memory of CUDA device 0 (Fake GPU, sm_90), where the model runs");
  EXPECT_CUDA(cuMemFreeHost(pinned));
  PrimaryContext other = nullptr, left = nullptr;
  EXPECT_CUDA(cuDevicePrimaryCtxRetain(&other, 1));
  EXPECT_CUDA(cuCtxPushCurrent_v2(other));
  Address elsewhere = allocate(kMost);
  Stream stream = makeStream();
  EXPECT_CUDA(cuCtxPopCurrent_v2(&left));
  refuses(reinterpret_cast<void *>(elsewhere), kMost, "the workspace is not in the memory of CUDA device 0 (Fake GPU, sm_90), where the model runs");
  options = SNUG_CONTEXT_OPTIONS_INIT;
  options.stream = stream;
  EXPECT_FAILS_WITH(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE,
                    "stream of snug_context_options is no stream of CUDA device 0 (Fake GPU, sm_90)'s primary context");

  options = SNUG_CONTEXT_OPTIONS_INIT;
  options.workspace = reinterpret_cast<void *>(arena);
  options.workspace_bytes = kMost;
  uint64_t before = stats().live_bytes;
  EXPECT_OK(snug_context_create(model, &options, &context));
  EXPECT_EQ(stats().live_bytes - before, 32 + 2 * kMost); // weights and copies
  Rows x(64, 3), y(64, 0);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
  EXPECT_EQ(download(arena, 8)[1], 8.0f); // the product is there
  EXPECT_FAILS_WITH(run(x.onHost(), y.onDevice(arena)), SNUG_EXIT_RUN, "output 'y' overlaps the workspace");
  EXPECT_CUDA(cuDevicePrimaryCtxRelease_v2(1));
}

TEST_F(CudaMemory, SaysWhatThereIsTooLittleOf) {
  load();
  const std::pair<const char *, const char *> cases[] = {
      {"31", "CUDA device 0 (Fake GPU, sm_90) has 31 of 31 bytes free, and the model's weights needs 32: end what else uses it, or compile "
             "the model for a smaller --memory-budget"},
      {"2079", "CUDA device 0 (Fake GPU, sm_90) has 2047 of 2079 bytes free, and the arena needs 2048: end what else uses it, or compile the "
               "model for a smaller --memory-budget"},
      {"6175", "CUDA device 0 (Fake GPU, sm_90) has 2047 of 6175 bytes free, and a copy of output 'y' needs 2048: end what else uses it, or "
               "compile the model for a smaller --memory-budget"}};
  for (auto [bytes, message] : cases) {
    Setting memory("SNUG_FAKE_CUDA_MEMORY", bytes);
    EXPECT_FAILS(snug_context_create(model, nullptr, &context), SNUG_EXIT_MACHINE, message);
    EXPECT_EQ(stats().live_bytes, 0u);
    EXPECT_EQ(stats().handles, 1u); // the test's own
  }
  Setting memory("SNUG_FAKE_CUDA_MEMORY", "6176");
  create();
}

// Whatever fails while a context is made, nothing stays behind.
TEST_F(CudaMemory, LeavesNothingBehindWhenItFails) {
  load();
  for (const char *function : {"cuMemGetInfo_v2", "cuModuleLoadData", "cuModuleGetFunction", "cuStreamCreate", "cuEventCreate", "cuMemHostAlloc",
                               "cuMemcpyHtoDAsync_v2", "cuEventRecord", "cuStreamSynchronize", "cuMemAlloc_v2", "cuDevicePrimaryCtxRetain",
                               "cuDeviceGetName", "cuCtxPushCurrent_v2"})
    for (int call = 1; call < 4; ++call) {
      auto fail = std::make_unique<Setting>("SNUG_FAKE_CUDA_FAIL", std::string(function) + ":" + std::to_string(call) + ":999");
      snug_error *error = snug_context_create(model, nullptr, &context);
      fail.reset();
      EXPECT_TRUE(error || call > 1) << function << " is not called";
      EXPECT_EQ(!error, context != nullptr);
      if (error) {
        EXPECT_EQ(snug_error_code(error), SNUG_EXIT_MACHINE);
        EXPECT_NE(std::string(snug_error_message(error)).find("999"), std::string::npos) << snug_error_message(error);
      }
      snug_error_destroy(error);
      snug_context_destroy(context);
      context = nullptr;
      EXPECT_EQ(stats().live_bytes, 0u) << function << " " << call;
      EXPECT_EQ(stats().pinned_bytes, 0u) << function << " " << call;
      EXPECT_EQ(stats().handles, 1u) << function << " " << call;
    }
}
