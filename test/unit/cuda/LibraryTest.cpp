// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contractions that libraries do in a kernel's place.

#include "test/unit/cuda/CudaTest.h"

#include <algorithm>

using namespace snug::cuda;

namespace {
struct LibraryCase {
  std::string name;
  const char *model, *setting; // SNUG_FAKE_CUBLASLT, or what is like it
  std::string execute, error, failure, create, unusable;
};
void PrintTo(const LibraryCase &one, std::ostream *out) { *out << one.name; }
} // namespace

class CudaLibrary : public CudaTest, public ::testing::WithParamInterface<LibraryCase> {};
INSTANTIATE_TEST_SUITE_P(Both, CudaLibrary,
                         ::testing::Values(LibraryCase{"cuBLASLt", FIXTURE_BLAS, "SNUG_FAKE_CUBLASLT", "cublasLtMatmul", "13",
                                                       "CUBLAS_STATUS_EXECUTION_FAILED (13)", "cublasLtCreate:1:1",
                                                       "CUBLAS_STATUS_NOT_INITIALIZED (1); repair its installation, or compile the model with "
                                                       "--gpu-libraries none"},
                                           LibraryCase{"cuDNN", FIXTURE_BLAS_CONVOLUTION, "SNUG_FAKE_CUDNN", "cudnnBackendExecute", "5000",
                                                       "CUDNN_STATUS_EXECUTION_FAILED (5000)", "cudnnCreate:1:1001",
                                                       "CUDNN_STATUS_NOT_INITIALIZED (1001); repair its installation, or compile the model with "
                                                       "--gpu-libraries cublaslt or none"}));

// With it, only what a library does works.
static const char *const kNoKernels = "cuLaunchKernel:0:701";

static std::vector<float> productOf(const std::vector<float> &x) {
  std::vector<float> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    float sum = float(i % 8);
    for (size_t k = 0; k < 8; ++k)
      sum += x[i / 8 * 8 + k] * (float(k) - float(i % 8) / 2);
    y[i] = std::max(sum, 0.0f);
  }
  return y;
}

TEST_P(CudaLibrary, TheLibraryDoesProducts) {
  Setting fail("SNUG_FAKE_CUDA_FAIL", kNoKernels);
  load(GetParam().model);
  create();
  snug_fake_cuda_stats before = stats();
  for (int64_t n : {64, 9}) {
    Rows x(n, -5), y(n, 0);
    EXPECT_OK(run(x.onHost(), y.onHost()));
    EXPECT_EQ(y.values, productOf(x.values));
  }
  EXPECT_EQ(stats().launches - before.launches, 2u);
  EXPECT_EQ(stats().allocations, before.allocations);
}

TEST_P(CudaLibrary, AKernelDoesWhatTheLibraryDoesNot) {
  for (const char *offered : {"none", "greedy"}) {
    Setting setting(GetParam().setting, offered);
    load(GetParam().model);
    create();
    Rows x(9, -5), y(9, 0);
    EXPECT_OK(run(x.onHost(), y.onHost()));
    EXPECT_EQ(y.values, productOf(x.values));
    {
      Setting fail("SNUG_FAKE_CUDA_FAIL", kNoKernels);
      EXPECT_FAILS_WITH(run(x.onHost(), y.onHost()), SNUG_EXIT_RUN, "launch 0 (kernel 'product_0' on 1 blocks");
    }
    snug_context_destroy(context);
    snug_model_release(model);
    context = nullptr;
    model = nullptr;
  }
}

// What was chosen stays: of the largest dims when the context is made, of others by the first run that has them.
TEST_P(CudaLibrary, AChoiceStays) {
  load(GetParam().model);
  create();
  Setting offered(GetParam().setting, "none"), fail("SNUG_FAKE_CUDA_FAIL", kNoKernels);
  Rows x(64, -5), y(64, 0), few(9, 1), made(9, 0);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, productOf(x.values));
  EXPECT_FAILS_WITH(run(few.onHost(), made.onHost()), SNUG_EXIT_RUN, "kernel 'product_0'");
  unsetenv(GetParam().setting);
  EXPECT_FAILS_WITH(run(few.onHost(), made.onHost()), SNUG_EXIT_RUN, "kernel 'product_0'");
}

TEST_P(CudaLibrary, AGraphHasProducts) {
  load(GetParam().model);
  create(SNUG_CONTEXT_GRAPH);
  Rows x(9, -5), y(9, 0);
  {
    Setting fail("SNUG_FAKE_CUDA_FAIL", kNoKernels); // loaded before it is recorded, though nine rows are not the most
    EXPECT_OK(run(x.onHost(), y.onHost()));
  }
  EXPECT_EQ(y.values, productOf(x.values));
  Setting fail("SNUG_FAKE_CUDA_FAIL", GetParam().execute + ":0:13"); // replayed, not called
  for (float &value : x.values)
    value *= -1;
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, productOf(x.values));
}

// What a run in a capture asks for, of dims that the context was made for, is loaded, and was run in memory that is there no longer.
TEST_P(CudaLibrary, ACallersGraphHasProducts) {
  load(GetParam().model);
  Stream stream = makeStream();
  uint64_t before = stats().live_bytes;
  create(SNUG_CONTEXT_DEVICE_TENSORS, stream);
  snug_memory_need need;
  EXPECT_OK(snug_model_memory(model, nullptr, &need));
  EXPECT_EQ(stats().peak_bytes - before, need.total);
  EXPECT_EQ(stats().live_bytes - before, need.weights + need.arena);
  Rows x(64, -5), y(64, 0);
  Address from = upload(x.values), to = allocate(kMost);
  Setting fail("SNUG_FAKE_CUDA_FAIL", kNoKernels);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureGlobal));
  EXPECT_OK(run(x.onDevice(from), y.onDevice(to)));
  Graph graph = nullptr;
  GraphExec exec = nullptr;
  EXPECT_CUDA(cuStreamEndCapture(stream, &graph));
  EXPECT_CUDA(cuGraphInstantiateWithFlags(&exec, graph, 0));
  EXPECT_CUDA(cuGraphLaunch(exec, stream));
  EXPECT_CUDA(cuStreamSynchronize(stream));
  EXPECT_EQ(download(to, 64 * kWidth), productOf(x.values));
  EXPECT_CUDA(cuGraphExecDestroy(exec));
  EXPECT_CUDA(cuGraphDestroy(graph));
}

// A library cannot load anything in a capture. What is first met there is a kernel's, and stays so.
TEST_P(CudaLibrary, WhatACaptureMeetsFirstIsAKernels) {
  load(GetParam().model);
  Stream stream = makeStream();
  create(SNUG_CONTEXT_DEVICE_TENSORS, stream);
  Rows x(9, -5), y(9, 0);
  Address from = upload(x.values), to = allocate(kMost);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureGlobal));
  EXPECT_OK(run(x.onDevice(from), y.onDevice(to)));
  Graph graph = nullptr;
  EXPECT_CUDA(cuStreamEndCapture(stream, &graph));
  EXPECT_CUDA(cuGraphDestroy(graph));
  Setting fail("SNUG_FAKE_CUDA_FAIL", kNoKernels);
  EXPECT_FAILS_WITH(run(x.onDevice(from), y.onDevice(to)), SNUG_EXIT_RUN, "kernel 'product_0'");
}

TEST_P(CudaLibrary, AContextThatIsMadeInACapture) {
  load(GetParam().model);
  Stream stream = makeStream();
  Rows x(64, -5), y(64, 0);
  Address from = upload(x.values), to = allocate(kMost);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureRelaxed));
  create(SNUG_CONTEXT_DEVICE_TENSORS, stream);
  EXPECT_OK(run(x.onDevice(from), y.onDevice(to)));
  {
    Setting fail("SNUG_FAKE_CUDA_FAIL", kNoKernels); // it was nothing that the library could have loaded
    EXPECT_FAILS_WITH(run(x.onDevice(from), y.onDevice(to)), SNUG_EXIT_RUN, "kernel 'product_0'");
  }
  Graph graph = nullptr;
  EXPECT_CUDA(cuStreamEndCapture(stream, &graph));
  EXPECT_CUDA(cuGraphDestroy(graph));
}

// With nothing left for tensors that are the caller's, nothing is run when the context is made.
TEST_P(CudaLibrary, WithoutMemoryForARehearsal) {
  load(GetParam().model);
  snug_memory_need need;
  EXPECT_OK(snug_model_memory(model, nullptr, &need));
  Stream stream = makeStream();
  Address from = allocate(kMost), to = allocate(kMost);
  auto unloaded = [&] {
    snug_tuning tuning;
    snug_context_tuning(context, &tuning);
    EXPECT_EQ(tuning.choices, 1u);
    return tuning.unloaded;
  };
  {
    Setting memory("SNUG_FAKE_CUDA_MEMORY", std::to_string(stats().live_bytes + need.weights + need.arena));
    create(SNUG_CONTEXT_DEVICE_TENSORS, stream);
  }
  EXPECT_EQ(unloaded(), 1u);
  Rows x(64, -5), y(64, 0);
  EXPECT_CUDA(cuMemcpyHtoDAsync_v2(from, x.values.data(), kMost, stream));
  EXPECT_OK(run(x.onDevice(from), y.onDevice(to)));
  EXPECT_EQ(unloaded(), 0u);
  EXPECT_CUDA(cuStreamSynchronize(stream));
  EXPECT_EQ(download(to, 64 * kWidth), productOf(x.values));
}

TEST_P(CudaLibrary, AProfileHasProducts) {
  load(GetParam().model);
  uint64_t launchNs[1] = {};
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.launch_ns = launchNs;
  EXPECT_OK(snug_context_create(model, &options, &context));
  Rows x(64, -5), y(64, 0);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_GT(launchNs[0], 0u);
}

TEST_P(CudaLibrary, SaysWhatTheLibraryCouldNotDo) {
  load(GetParam().model);
  create();
  Rows x(9, -5), y(9, 0);
  {
    Setting fail("SNUG_FAKE_CUDA_FAIL", GetParam().execute + ":1:" + GetParam().error);
    EXPECT_FAILS(run(x.onHost(), y.onHost()), SNUG_EXIT_RUN,
                 "launch 0 (for ONNX node(s) MatMul_0, Relu_1) could not be started by " + GetParam().name + " on CUDA device 0 (Fake GPU, sm_90): " +
                     GetParam().failure);
  }
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, productOf(x.values));
}

TEST_P(CudaLibrary, SaysThatARehearsalFailed) {
  load(GetParam().model);
  Setting fail("SNUG_FAKE_CUDA_FAIL", GetParam().execute + ":1:" + GetParam().error);
  EXPECT_FAILS(snug_context_create(model, nullptr, &context), SNUG_EXIT_MACHINE,
               GetParam().name + " has an algorithm for a product of the model, and could not run it on CUDA device 0 (Fake GPU, sm_90): " +
                   GetParam().failure + "; update it, or compile the model with --gpu-libraries none");
}

TEST_P(CudaLibrary, SaysThatTheLibraryDoesNotStart) {
  load(GetParam().model);
  Setting fail("SNUG_FAKE_CUDA_FAIL", GetParam().create);
  EXPECT_FAILS(snug_context_create(model, nullptr, &context), SNUG_EXIT_MACHINE,
               GetParam().name + " cannot be used on CUDA device 0 (Fake GPU, sm_90): " + GetParam().unusable);
}

TEST_F(CudaTest, RefusesDamagedContractions) {
  EXPECT_FAILS_WITH(snug_model_load(FIXTURE_BLAS_DAMAGED, &model), SNUG_EXIT_INVALID, "is damaged: compile it again");
}
