// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Products that cuBLASLt does in a kernel's place; and that what stands in for it sees wrong calls.

#include "runtime/cuda/CublasLt.h"
#include "test/unit/cuda/CudaTest.h"

#include <algorithm>

using namespace snug::cuda;
namespace lt = snug::cublaslt;

namespace snug::cublaslt {
#define SNUG_CUBLASLT_DECLARE(name, parameters) extern "C" Status name parameters;
SNUG_CUBLASLT_FUNCTIONS(SNUG_CUBLASLT_DECLARE)
#undef SNUG_CUBLASLT_DECLARE
} // namespace snug::cublaslt

using CudaBlas = CudaTest;

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

TEST_F(CudaBlas, TheLibraryDoesProducts) {
  Setting fail("SNUG_FAKE_CUDA_FAIL", kNoKernels);
  load(FIXTURE_BLAS);
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

TEST_F(CudaBlas, AKernelDoesWhatTheLibraryDoesNot) {
  for (const char *offered : {"none", "greedy"}) {
    Setting setting("SNUG_FAKE_CUBLASLT", offered);
    load(FIXTURE_BLAS);
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
TEST_F(CudaBlas, AChoiceStays) {
  load(FIXTURE_BLAS);
  create();
  Setting offered("SNUG_FAKE_CUBLASLT", "none"), fail("SNUG_FAKE_CUDA_FAIL", kNoKernels);
  Rows x(64, -5), y(64, 0), few(9, 1), made(9, 0);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, productOf(x.values));
  EXPECT_FAILS_WITH(run(few.onHost(), made.onHost()), SNUG_EXIT_RUN, "kernel 'product_0'");
  unsetenv("SNUG_FAKE_CUBLASLT");
  EXPECT_FAILS_WITH(run(few.onHost(), made.onHost()), SNUG_EXIT_RUN, "kernel 'product_0'");
}

TEST_F(CudaBlas, AGraphHasProducts) {
  load(FIXTURE_BLAS);
  create(SNUG_CONTEXT_GRAPH);
  Rows x(9, -5), y(9, 0);
  {
    Setting fail("SNUG_FAKE_CUDA_FAIL", kNoKernels); // loaded before it is recorded, though nine rows are not the most
    EXPECT_OK(run(x.onHost(), y.onHost()));
  }
  EXPECT_EQ(y.values, productOf(x.values));
  Setting fail("SNUG_FAKE_CUDA_FAIL", "cublasLtMatmul:0:13"); // replayed, not called
  for (float &value : x.values)
    value *= -1;
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, productOf(x.values));
}

// What a run in a capture asks for, of dims that the context was made for, is loaded, and was run in memory that is there no longer.
TEST_F(CudaBlas, ACallersGraphHasProducts) {
  load(FIXTURE_BLAS);
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
TEST_F(CudaBlas, WhatACaptureMeetsFirstIsAKernels) {
  load(FIXTURE_BLAS);
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

TEST_F(CudaBlas, AContextThatIsMadeInACapture) {
  load(FIXTURE_BLAS);
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
  snug_context_destroy(context);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureRelaxed));
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.flags = SNUG_CONTEXT_DEVICE_TENSORS | SNUG_CONTEXT_TUNE;
  options.stream = stream;
  EXPECT_FAILS(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE,
               "nothing can be timed on a stream that is captured: tune the model before that");
  EXPECT_EQ(cuStreamEndCapture(stream, &graph), kCaptureInvalidated); // what fails waits for the stream
}

// With nothing left for tensors that are the caller's, nothing is run when the context is made.
TEST_F(CudaBlas, WithoutMemoryForARehearsal) {
  load(FIXTURE_BLAS);
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

TEST_F(CudaBlas, SaysThatARehearsalFailed) {
  load(FIXTURE_BLAS);
  Setting fail("SNUG_FAKE_CUDA_FAIL", "cublasLtMatmul:1:13");
  EXPECT_FAILS(snug_context_create(model, nullptr, &context), SNUG_EXIT_MACHINE,
               "cuBLASLt has an algorithm for a product of the model, and could not run it on CUDA device 0 (Fake GPU, sm_90): "
               "CUBLAS_STATUS_EXECUTION_FAILED (13); update it, or compile the model with --gpu-libraries none");
}

TEST_F(CudaBlas, AProfileHasProducts) {
  load(FIXTURE_BLAS);
  uint64_t launchNs[1] = {};
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.launch_ns = launchNs;
  EXPECT_OK(snug_context_create(model, &options, &context));
  Rows x(64, -5), y(64, 0);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_GT(launchNs[0], 0u);
}

TEST_F(CudaBlas, SaysWhatTheLibraryCouldNotDo) {
  load(FIXTURE_BLAS);
  create();
  Rows x(9, -5), y(9, 0);
  {
    Setting fail("SNUG_FAKE_CUDA_FAIL", "cublasLtMatmul:1:13");
    EXPECT_FAILS(run(x.onHost(), y.onHost()), SNUG_EXIT_RUN,
                 "launch 0 (for ONNX node(s) MatMul_0, Relu_1) could not be started by cuBLASLt on CUDA device 0 (Fake GPU, sm_90): "
                 "CUBLAS_STATUS_EXECUTION_FAILED (13)");
  }
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, productOf(x.values));
}

TEST_F(CudaBlas, SaysThatTheLibraryDoesNotStart) {
  load(FIXTURE_BLAS);
  Setting fail("SNUG_FAKE_CUDA_FAIL", "cublasLtCreate:1:1");
  EXPECT_FAILS(snug_context_create(model, nullptr, &context), SNUG_EXIT_MACHINE,
               "cuBLASLt cannot be used on CUDA device 0 (Fake GPU, sm_90): CUBLAS_STATUS_NOT_INITIALIZED (1); repair its installation, or "
               "compile the model with --gpu-libraries none");
}

TEST_F(CudaBlas, RefusesDamagedModels) {
  EXPECT_FAILS_WITH(snug_model_load(FIXTURE_BLAS_DAMAGED, &model), SNUG_EXIT_INVALID, "is damaged: compile it again");
}

//===-- The stand-in ----------------------------------------------------------------------------------------------===//

namespace {
// d[m, n] = a[m, k] b[k, n] of f32, of 40 each.
struct Product {
  static constexpr uint64_t kSize = 40, kBytes = kSize * kSize * 4;
  Product(int64_t ld = kSize, uint64_t workspaceBytes = 1 << 20) {
    EXPECT_EQ(lt::cublasLtCreate(&handle), 0);
    lt::cublasLtMatmulDescCreate(&desc, lt::kCompute32F, lt::kFloat32);
    for (lt::MatrixLayout *layout : {&a, &b, &d})
      lt::cublasLtMatrixLayoutCreate(layout, lt::kFloat32, kSize, kSize, ld);
    lt::cublasLtMatmulPreferenceCreate(&preference);
    lt::cublasLtMatmulPreferenceSetAttribute(preference, lt::kMaxWorkspaceBytes, &workspaceBytes, sizeof workspaceBytes);
  }
  ~Product() {
    lt::cublasLtMatmulPreferenceDestroy(preference);
    for (lt::MatrixLayout layout : {a, b, d})
      lt::cublasLtMatrixLayoutDestroy(layout);
    lt::cublasLtMatmulDescDestroy(desc);
    lt::cublasLtDestroy(handle);
  }
  lt::Status choose() {
    int found = 0;
    return lt::cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, d, d, preference, 1, &best, &found);
  }
  lt::Status start(Address left, Address right, Address result, Address workspace, uint64_t workspaceBytes, Stream stream) {
    float one = 1, zero = 0;
    auto at = [](Address address) { return reinterpret_cast<void *>(address); };
    return lt::cublasLtMatmul(handle, desc, &one, at(left), a, at(right), b, &zero, at(result), d, at(result), d, &best.algorithm, at(workspace),
                              workspaceBytes, stream);
  }
  lt::Handle handle = nullptr;
  lt::MatmulDesc desc = nullptr;
  lt::MatrixLayout a = nullptr, b = nullptr, d = nullptr;
  lt::Preference preference = nullptr;
  lt::HeuristicResult best{};
};
} // namespace

TEST_F(CudaBlas, TheStandInSeesWrongCalls) {
  Stream stream = makeStream();
  Address left = allocate(Product::kBytes), right = allocate(Product::kBytes), result = allocate(Product::kBytes), space = allocate(1 << 20);
  auto expectRefused = [&](lt::Status status) {
    EXPECT_NE(status, 0);
    EXPECT_EQ(stats().faults, ++expectedFaults);
  };
  Product good;
  EXPECT_EQ(good.choose(), 0);
  EXPECT_GT(good.best.workspaceBytes, 0u);
  EXPECT_EQ(good.start(left, right, result, space, 1 << 20, stream), 0);
  expectRefused(good.start(left, right, result, space, good.best.workspaceBytes - 1, stream)); // workspace too small
  expectRefused(good.start(left, right, result, space + 64, (1 << 20) - 64, stream));          // and not aligned
  expectRefused(good.start(left, right, result, result, 1 << 20, stream));                     // or not there
  expectRefused(good.start(left, right, left, space, 1 << 20, stream));                        // the result on an operand
  expectRefused(good.start(left, right + 4, result, space, 1 << 20, stream));                  // an operand beyond its memory
  expectRefused(good.start(0, right, result, space, 1 << 20, stream));
  Product narrow(39); // a leading dimension that is shorter than a column
  expectRefused(narrow.choose());
  Product wide(41);
  EXPECT_EQ(wide.choose(), 0);
  expectRefused(wide.start(left, right, result, space, 1 << 20, stream)); // beyond the memory
  wide.best = good.best;
  expectRefused(wide.start(left, right, result, space, 1 << 20, stream)); // of another product
  int32_t transposed = lt::kTransposed;
  EXPECT_EQ(lt::cublasLtMatmulDescSetAttribute(good.desc, lt::kTransposeA, &transposed, sizeof transposed), 0);
  expectRefused(good.start(left, right, result, space, 1 << 20, stream)); // as it is now
  expectRefused(lt::cublasLtMatmulDescSetAttribute(good.desc, lt::kTransposeA, &transposed, 8));
  Product first; // of another handle: the code is loaded by its first call
  EXPECT_EQ(first.choose(), 0);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureGlobal));
  expectRefused(first.start(left, right, result, space, 1 << 20, stream));
  EXPECT_EQ(first.start(left, right, result, space, 1 << 20, stream), 0);
  Graph graph = nullptr;
  EXPECT_CUDA(cuStreamEndCapture(stream, &graph));
  EXPECT_CUDA(cuGraphDestroy(graph));
  Product small(Product::kSize, 1000); // splits its sums where it can
  EXPECT_EQ(small.choose(), 0);
  EXPECT_EQ(small.best.workspaceBytes, 0u);
}

TEST_F(CudaBlas, TheStandInNeedsACurrentContext) {
  PrimaryContext left = nullptr;
  EXPECT_CUDA(cuCtxPopCurrent_v2(&left));
  lt::Handle handle = nullptr;
  EXPECT_EQ(lt::cublasLtCreate(&handle), lt::kNotInitialized);
  EXPECT_CUDA(cuCtxPushCurrent_v2(left));
}
