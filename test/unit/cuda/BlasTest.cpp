// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// That what stands in for cuBLASLt sees wrong calls.

#include "runtime/cuda/CublasLt.h"
#include "test/unit/cuda/CudaTest.h"

using namespace snug::cuda;
namespace lt = snug::cublaslt;

namespace snug::cublaslt {
#define SNUG_CUBLASLT_DECLARE(name, parameters) extern "C" Status name parameters;
SNUG_CUBLASLT_FUNCTIONS(SNUG_CUBLASLT_DECLARE)
#undef SNUG_CUBLASLT_DECLARE
} // namespace snug::cublaslt

using CudaBlas = CudaTest;

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
