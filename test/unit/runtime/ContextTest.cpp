// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contexts and runs: results, options, threads, allocations.

#include "test/unit/runtime/Fixture.h"
#include "tools/snug-run/AllocationCount.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <thread>

using Context = RuntimeTest;

extern "C" int runFromC(const char *path, const DLTensor *const *inputs, const DLTensor *const *outputs);

TEST_F(Context, RunsAtSeveralLengths) {
  load();
  create();
  EXPECT_EQ(snug_context_num_threads(context), 4u);
  for (int64_t n : {2, 64, 10}) {
    Tensor<float> x({1, n, 8}), y({1, n, 8}), pairs({n * n}, 5);
    Tensor<int64_t> shift({n + 1}, 3);
    EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
    expectResult(x, shift, y, 1);
    EXPECT_EQ(pairs.values.front(), 0.0f);
    EXPECT_EQ(pairs.values.back(), float(n * n - 1));
  }
}

TEST_F(Context, HonoursByteOffsetAndCompactStrides) {
  load();
  create();
  Tensor<float> x({1, 4, 8}), y({1, 4, 8}), pairs({16});
  Tensor<int64_t> padded({6}), shift({5}, 1);
  padded.dl.byte_offset = 8;
  padded.shape[0] = 5;
  int64_t strides[] = {777, 8, 1}; // that of an extent of 1 says nothing
  x.dl.strides = strides;
  EXPECT_OK(run(x.dl, padded.dl, y.dl, pairs.dl));
  expectResult(x, shift, y, 1);
}

TEST_F(Context, AllocatesNothingInRuns) {
  load();
  create();
  Tensor<float> x({1, 64, 8}), y({1, 64, 8}), pairs({64 * 64});
  Tensor<int64_t> shift({65});
  uint64_t before = snug::allocationCount();
  snug::countAllocations(true);
  snug_error *errors[20];
  for (snug_error *&error : errors)
    error = run(x.dl, shift.dl, y.dl, pairs.dl);
  uint64_t inRuns = snug::allocationCount() - before;
  // A run that fails makes an error: this shows that allocations of the shared library are seen.
  snug_error *failure = run(x.dl, shift.dl, y.dl, y.dl);
  snug::countAllocations(false);
  EXPECT_FAILS_WITH(failure, SNUG_EXIT_RUN, "output 'pairs' has shape");
  EXPECT_EQ(inRuns, 0u);
  EXPECT_GT(snug::allocationCount() - before, 0u);
  for (snug_error *error : errors)
    EXPECT_OK(error);
  expectResult(x, shift, y, 1);
}

TEST_F(Context, RefusesMoreThreadsThanPlanned) {
  load();
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.num_threads = 5;
  EXPECT_FAILS_WITH(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE,
                    "5 threads were asked for, but the model was planned for 4");
  options.num_threads = 1;
  create(&options);
  EXPECT_EQ(snug_context_num_threads(context), 1u);
  Tensor<float> x({1, 64, 8}), y({1, 64, 8}), pairs({64 * 64});
  Tensor<int64_t> shift({65});
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
  expectResult(x, shift, y, 1);
}

TEST_F(Context, UsesTheCallersWorkspace) {
  load();
  alignas(64) static uint8_t workspace[2304 + 64];
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.workspace = workspace;
  options.workspace_bytes = 2303;
  EXPECT_FAILS(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE,
               "the workspace has 2303 bytes, the model needs 2304");
  options.workspace = workspace + 32;
  options.workspace_bytes = 2304;
  EXPECT_FAILS(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE,
               "the workspace is not aligned to 64 bytes, as the model needs");
  options.workspace = workspace;
  create(&options);
  memset(workspace, 0xee, sizeof(workspace));
  Tensor<float> x({1, 4, 8}, 1), y({1, 4, 8}), pairs({16});
  Tensor<int64_t> shift({5});
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
  expectResult(x, shift, y, 1);
  EXPECT_NE(workspace[0], 0xee); // the product went there
  for (size_t i = 2304; i < sizeof(workspace); ++i)
    ASSERT_EQ(workspace[i], 0xee);
  y.dl.data = workspace;
  EXPECT_FAILS_WITH(run(x.dl, shift.dl, y.dl, pairs.dl), SNUG_EXIT_RUN, "output 'y' overlaps the workspace");
}

TEST_F(Context, HasTheArenaOfItsLargestDims) {
  load(FIXTURE_BUCKETS);
  int64_t dims[] = {1, 10};
  snug_memory_need need;
  EXPECT_OK(snug_model_memory(model, dims, &need));
  EXPECT_EQ(need.arena, 768u);
  alignas(64) static uint8_t workspace[1024];
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.workspace = workspace;
  options.workspace_bytes = 768;
  EXPECT_FAILS(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE,
               "the workspace has 768 bytes, the model needs 2304");
  options.max_dims = dims;
  create(&options);
  memset(workspace, 0xee, sizeof(workspace));
  Tensor<float> x({1, 16, 8}, 1), y({1, 16, 8}), pairs({256}), longer({1, 18, 8}), longY({1, 18, 8}), longPairs({324});
  Tensor<int64_t> shift({17}), longShift({19});
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl)); // no more than the same arena
  expectResult(x, shift, y, 1);
  for (size_t i = 768; i < sizeof(workspace); ++i)
    ASSERT_EQ(workspace[i], 0xee);
  EXPECT_FAILS(run(longer.dl, longShift.dl, longY.dl, longPairs.dl), SNUG_EXIT_RUN,
               "the run needs an arena of 2304 bytes, the context has 768: create it for larger dims (max_dims)");
  dims[1] = 66;
  snug_context *none;
  EXPECT_FAILS_WITH(snug_context_create(model, &options, &none), SNUG_EXIT_RUN, "66 is given for 'n'");
}

TEST_F(Context, UsesTheCallersThreads) {
  struct Counter {
    static void run(void *state, snug_kernel_fn kernel, const int64_t *args, int64_t extent, int64_t grain) {
      static_cast<Counter *>(state)->calls++;
      for (int64_t lo = 0; lo < extent; lo += grain)
        kernel(args, lo, std::min(lo + grain, extent), (lo / grain) % 4);
    }
    int calls = 0;
  } counter;
  load();
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.parallel_for = &Counter::run;
  options.parallel_for_state = &counter;
  create(&options);
  Tensor<float> x({1, 10, 8}), y({1, 10, 8}), pairs({100});
  Tensor<int64_t> shift({11});
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
  expectResult(x, shift, y, 1);
  EXPECT_EQ(counter.calls, 2);
}

TEST_F(Context, TimesLaunches) {
  load();
  ASSERT_EQ(snug_model_num_launches(model), 2u);
  EXPECT_STREQ(snug_model_launch(model, 1)->kernel, "add");
  EXPECT_STREQ(snug_model_launch(model, 1)->nodes, "shift, add");
  EXPECT_EQ(snug_model_launch(model, 2), nullptr);
  uint64_t ns[] = {0, 0};
  static int calls;
  calls = 0;
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.launch_ns = ns;
  // The second launch takes its time; the caller's threads are used with a profile, too.
  options.parallel_for = [](void *, snug_kernel_fn kernel, const int64_t *args, int64_t extent, int64_t) {
    if (calls++ % 2)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    kernel(args, 0, extent, 0);
  };
  create(&options);
  Tensor<float> x({1, 4, 8}), y({1, 4, 8}), pairs({16});
  Tensor<int64_t> shift({5});
  for (int i = 0; i < 3; ++i)
    EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
  expectResult(x, shift, y, 1);
  EXPECT_EQ(calls, 6);
  EXPECT_GT(ns[0], 0u);
  EXPECT_GE(ns[1], 6'000'000u); // all runs together
}

TEST_F(Context, RefusesUnknownOptions) {
  load();
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.stream = &options;
  EXPECT_FAILS_WITH(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE, "stream, flags, device and tune_file of snug_context_options are for models that compute on a GPU");
  options = SNUG_CONTEXT_OPTIONS_INIT;
  options.struct_size = 1000;
  EXPECT_FAILS_WITH(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE, "SNUG_CONTEXT_OPTIONS_INIT");
  // A caller built against a header that ends with the workspace.
  options = SNUG_CONTEXT_OPTIONS_INIT;
  options.struct_size = offsetof(snug_context_options, num_threads);
  options.num_threads = 99; // not read
  create(&options);
}

TEST_F(Context, TakesADimThatNoInputDetermines) {
  load(FIXTURE_EMBEDDED);
  create();
  Tensor<float> x({1, 4, 8}), y({1, 4, 8}), pairs({9}, 7);
  Tensor<int64_t> shift({5});
  EXPECT_FAILS(run(x.dl, shift.dl, y.dl, pairs.dl), SNUG_EXIT_RUN,
               "dim 'k' is not known: no shape of an input determines it, so it has to be set (snug_context_set_dim, "
               "--dim k=V)");
  EXPECT_FAILS(snug_context_set_dim(context, "k", 5), SNUG_EXIT_RUN, "5 is given for 'k'; dim 'k' allows 1..4");
  EXPECT_FAILS(snug_context_set_dim(context, "q", 5), SNUG_EXIT_USAGE, "the model has no dim 'q'");
  EXPECT_OK(snug_context_set_dim(context, "k", 3));
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
  expectResult(x, shift, y, 10);
  EXPECT_EQ(pairs.values.back(), 8.0f);
  EXPECT_OK(snug_context_set_dim(context, "k", -1));
  EXPECT_FAILS_WITH(run(x.dl, shift.dl, y.dl, pairs.dl), SNUG_EXIT_RUN, "dim 'k' is not known");
}

TEST_F(Context, TwoModelsLiveInOneProcess) {
  load();
  create();
  ModelFolder others;
  snug_model *other = nullptr;
  snug_context *otherContext = nullptr;
  EXPECT_OK(snug_model_load(others.library(FIXTURE_EMBEDDED).c_str(), &other));
  ASSERT_NE(other, nullptr);
  EXPECT_OK(snug_context_create(other, nullptr, &otherContext));
  ASSERT_NE(otherContext, nullptr);
  EXPECT_OK(snug_context_set_dim(otherContext, "k", 1));
  Tensor<float> x({1, 4, 8}), y({1, 4, 8}), pairs({16}), z({1, 4, 8}), one({1});
  Tensor<int64_t> shift({5});
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
  const DLTensor *inputs[] = {&x.dl, &shift.dl}, *outputs[] = {&z.dl, &one.dl};
  EXPECT_OK(snug_run(otherContext, inputs, 2, outputs, 2));
  expectResult(x, shift, y, 1);
  expectResult(x, shift, z, 10);
  snug_context_destroy(otherContext);
  snug_model_release(other);
}

TEST_F(Context, ThreadsShareAModel) {
  load();
  std::atomic<int> good{0};
  auto work = [&](float start) {
    snug_context *own = nullptr;
    EXPECT_OK(snug_context_create(model, nullptr, &own));
    ASSERT_NE(own, nullptr);
    Tensor<float> x({1, 64, 8}, start), y({1, 64, 8}), pairs({64 * 64});
    Tensor<int64_t> shift({65});
    const DLTensor *inputs[] = {&x.dl, &shift.dl}, *outputs[] = {&y.dl, &pairs.dl};
    for (int i = 0; i < 100; ++i) {
      EXPECT_OK(snug_run(own, inputs, 2, outputs, 2));
      expectResult(x, shift, y, 1);
      ++good;
      std::fill(y.values.begin(), y.values.end(), -1.0f);
    }
    snug_context_destroy(own);
  };
  std::thread first(work, 0.0f), second(work, 1000.0f);
  first.join();
  second.join();
  EXPECT_EQ(good, 200);
}

TEST_F(Context, RefusesToRunTwiceAtOnce) {
  load();
  // A parallel_for that runs the context it is called from.
  static snug_context *self;
  static snug_error *inner;
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.parallel_for = [](void *, snug_kernel_fn kernel, const int64_t *args, int64_t extent, int64_t) {
    snug_error_destroy(inner);
    inner = snug_run(self, nullptr, 0, nullptr, 0);
    kernel(args, 0, extent, 0);
  };
  create(&options);
  self = context;
  Tensor<float> x({1, 4, 8}), y({1, 4, 8}), pairs({16});
  Tensor<int64_t> shift({5});
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl));
  EXPECT_FAILS_WITH(inner, SNUG_EXIT_USAGE, "already running"); // destroys it
  inner = nullptr;
  expectResult(x, shift, y, 1);
  EXPECT_OK(run(x.dl, shift.dl, y.dl, pairs.dl)); // and is usable again
  snug_error_destroy(inner);
}

TEST_F(Context, IsUsableFromC) {
  Tensor<float> x({1, 4, 8}), y({1, 4, 8}), pairs({16});
  Tensor<int64_t> shift({5});
  const DLTensor *inputs[] = {&x.dl, &shift.dl}, *outputs[] = {&y.dl, &pairs.dl};
  EXPECT_EQ(runFromC(models.library(FIXTURE_FILE).c_str(), inputs, outputs), SNUG_EXIT_DONE);
  expectResult(x, shift, y, 1);
  EXPECT_EQ(runFromC((models.folder / "none.so").c_str(), inputs, outputs), SNUG_EXIT_MACHINE);
}
