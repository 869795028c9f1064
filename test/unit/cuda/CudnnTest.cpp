// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// That what stands in for cuDNN sees wrong calls.

#include "runtime/cuda/Cudnn.h"
#include "test/unit/cuda/CudaTest.h"

#include <functional>

using namespace snug::cuda;
namespace dnn = snug::cudnn;

namespace snug::cudnn {
#define SNUG_CUDNN_DECLARE(name, parameters) extern "C" Status name parameters;
SNUG_CUDNN_FUNCTIONS(SNUG_CUDNN_DECLARE)
#undef SNUG_CUDNN_DECLARE
} // namespace snug::cudnn

using CudaCudnn = CudaTest;

namespace {
// d[2, 32, 6, 6] = a[2, 16, 8, 8] * b[32, 16, 3, 3] of f32. What a test changes, it changes before make().
struct Convolution {
  using Numbers = std::vector<int64_t>;
  ~Convolution() {
    for (dnn::BackendDesc one : made)
      dnn::cudnnBackendDestroyDescriptor(one);
    if (handle)
      dnn::cudnnDestroy(handle);
  }
  dnn::BackendDesc create(dnn::Kind kind) {
    made.push_back(nullptr);
    EXPECT_EQ(dnn::cudnnBackendCreateDescriptor(kind, &made.back()), 0);
    return made.back();
  }
  void keep(dnn::Status next) { status = status ? status : next; }
  template <class T> void set(dnn::BackendDesc to, dnn::Attribute attribute, dnn::Type type, const std::vector<T> &values) {
    keep(dnn::cudnnBackendSetAttribute(to, attribute, type, int64_t(values.size()), values.data()));
  }
  void numbers(dnn::BackendDesc to, dnn::Attribute attribute, const Numbers &values) { set(to, attribute, dnn::kTypeInt64, values); }
  void refer(dnn::BackendDesc to, dnn::Attribute attribute, dnn::BackendDesc other) { set(to, attribute, dnn::kTypeDescriptor, std::vector{other}); }
  void finalize(dnn::BackendDesc one) { keep(dnn::cudnnBackendFinalize(one)); }

  dnn::BackendDesc tensor(int64_t id, const Numbers &extents, const Numbers &strides) {
    dnn::BackendDesc one = create(dnn::kTensor);
    set(one, dnn::kTensorType, dnn::kTypeDataType, std::vector{dnn::kFloat32});
    numbers(one, dnn::kTensorExtents, extents);
    numbers(one, dnn::kTensorStrides, strides);
    numbers(one, dnn::kTensorId, {id});
    numbers(one, dnn::kTensorAlignment, {16});
    finalize(one);
    return one;
  }
  // The plan of the engine that always works.
  dnn::Status make() {
    EXPECT_EQ(dnn::cudnnCreate(&handle), 0);
    dnn::BackendDesc how = create(dnn::kConvolution), forward = create(dnn::kConvolutionForward), graph = create(dnn::kGraph);
    set(how, dnn::kConvolutionType, dnn::kTypeDataType, std::vector{dnn::kFloat32});
    set(how, dnn::kConvolutionMode, dnn::kTypeConvolutionMode, std::vector{dnn::kCrossCorrelation});
    numbers(how, dnn::kConvolutionSpatialDims, {2});
    for (dnn::Attribute attribute : {dnn::kConvolutionDilations, dnn::kConvolutionStrides})
      numbers(how, attribute, {1, 1});
    for (dnn::Attribute attribute : {dnn::kConvolutionPaddingBefore, dnn::kConvolutionPaddingAfter})
      numbers(how, attribute, {0, 0});
    finalize(how);
    refer(forward, dnn::kForwardConvolution, how);
    refer(forward, dnn::kForwardInput, tensor(1, {2, 16, 8, 8}, {1024, 64, 8, 1}));
    refer(forward, dnn::kForwardFilters, tensor(2, filters, filterStrides));
    refer(forward, dnn::kForwardResult, tensor(3, result, {1152, 36, 6, 1}));
    for (dnn::Attribute attribute : {dnn::kForwardAlpha, dnn::kForwardBeta})
      set(forward, attribute, dnn::kTypeFloat, std::vector{attribute == dnn::kForwardAlpha ? 1.0f : 0.0f});
    if (isForwardFinal)
      finalize(forward);
    if (status)
      return status;
    set(graph, dnn::kGraphHandle, dnn::kTypeHandle, std::vector{handle});
    refer(graph, dnn::kGraphOperations, forward);
    finalize(graph);
    if (status)
      return status;
    dnn::BackendDesc heuristic = create(dnn::kHeuristic), config = create(dnn::kEngineConfig);
    refer(heuristic, dnn::kHeuristicGraph, graph);
    set(heuristic, dnn::kHeuristicMode, dnn::kTypeHeuristicMode, std::vector{mode});
    finalize(heuristic);
    std::vector<dnn::BackendDesc> configs(64);
    for (dnn::BackendDesc &one : configs)
      one = create(dnn::kEngineConfig);
    int64_t count = 0;
    keep(dnn::cudnnBackendGetAttribute(heuristic, dnn::kHeuristicResults, dnn::kTypeDescriptor, 64, &count, configs.data()));
    if (status)
      return status;
    config = configs[size_t(count - 1)];
    plan = create(dnn::kPlan);
    set(plan, dnn::kPlanHandle, dnn::kTypeHandle, std::vector{handle});
    refer(plan, dnn::kPlanConfig, config);
    finalize(plan);
    keep(dnn::cudnnBackendGetAttribute(plan, dnn::kPlanWorkspaceBytes, dnn::kTypeInt64, 1, &count, &workspaceBytes));
    return status;
  }
  dnn::Status run(const Numbers &ids, const std::vector<Address> &places, Address workspace, Stream stream) {
    dnn::BackendDesc pack = create(dnn::kVariantPack);
    status = dnn::kSuccess;
    numbers(pack, dnn::kPackIds, ids);
    set(pack, dnn::kPackAddresses, dnn::kTypePointer, places);
    set(pack, dnn::kPackWorkspace, dnn::kTypePointer, std::vector{workspace});
    finalize(pack);
    keep(dnn::cudnnSetStream(handle, stream));
    return status ? status : dnn::cudnnBackendExecute(handle, plan, pack);
  }

  Numbers filters = {32, 16, 3, 3}, filterStrides = {144, 9, 3, 1}, result = {2, 32, 6, 6};
  dnn::HeuristicModes mode = dnn::kModeA;
  bool isForwardFinal = true;
  dnn::Handle handle = nullptr;
  dnn::BackendDesc plan = nullptr;
  int64_t workspaceBytes = 0;
  dnn::Status status = dnn::kSuccess;
  std::vector<dnn::BackendDesc> made;
};
} // namespace

TEST_F(CudaCudnn, TheStandInComputes) {
  Stream stream = makeStream();
  std::vector<float> a(2 * 16 * 64, 0), b(32 * 144, 0);
  a[64 * 3 + 8 * 4 + 5] = 2;     // instance 0, channel 3, place (4, 5)
  b[144 * 7 + 9 * 3 + 3 * 2] = 3; // filter 7, channel 3, window (2, 0)
  Convolution good;
  EXPECT_EQ(good.make(), 0);
  Address d = allocate(2 * 32 * 36 * 4);
  EXPECT_EQ(good.run({1, 2, 3}, {upload(a), upload(b), d}, allocate(uint64_t(good.workspaceBytes)), stream), 0);
  EXPECT_CUDA(cuStreamSynchronize(stream));
  std::vector<float> made = download(d, 2 * 32 * 36);
  EXPECT_CUDA(cuStreamSynchronize(kLegacyStream));
  for (size_t i = 0; i < made.size(); ++i)
    EXPECT_EQ(made[i], i == 36 * 7 + 6 * 2 + 5 ? 6 : 0) << i;
}

TEST_F(CudaCudnn, TheStandInSeesWrongCalls) {
  Stream stream = makeStream();
  Address a = allocate(2 * 16 * 64 * 4), b = allocate(32 * 144 * 4), d = allocate(1 << 20), space = allocate(1 << 20);
  auto expectRefused = [&](dnn::Status status) {
    EXPECT_NE(status, 0);
    EXPECT_EQ(stats().faults, ++expectedFaults);
  };
  Convolution good;
  EXPECT_EQ(good.make(), 0);
  EXPECT_GT(good.workspaceBytes, 0);
  EXPECT_EQ(good.run({3, 2, 1}, {d, b, a}, space, stream), 0);
  expectRefused(good.run({1, 2}, {a, b}, space, stream));                          // a tensor is not there
  expectRefused(good.run({1, 2, 4}, {a, b, d}, space, stream));                    // or another one
  expectRefused(good.run({1, 2, 3}, {d, b, d}, space, stream));                    // the result is where the input is
  expectRefused(good.run({1, 2, 3}, {a, b + 16, d}, space, stream));               // filters beyond their memory
  expectRefused(good.run({1, 2, 3}, {0, b, d}, space, stream));
  expectRefused(good.run({1, 2, 3}, {a, b, d}, 0, stream));                        // no workspace
  expectRefused(good.run({1, 2, 3}, {a, b, d}, space + (1 << 20) - 16, stream));   // too little
  expectRefused(good.run({1, 2, 3}, {a, b, d}, d, stream));                        // on the result
  Address more = allocate(2 * 16 * 64 * 4 + 4);
  expectRefused(good.run({1, 2, 3}, {more + 4, b, d}, space, stream));             // not aligned as said
  int64_t number = 1;
  expectRefused(dnn::cudnnBackendSetAttribute(good.plan, dnn::kPlanHandle, dnn::kTypeHandle, 1, &good.handle)); // finalized
  dnn::BackendDesc tensor = good.create(dnn::kTensor);
  expectRefused(dnn::cudnnBackendSetAttribute(tensor, dnn::kTensorId, dnn::kTypeFloat, 1, &number));     // another type
  expectRefused(dnn::cudnnBackendSetAttribute(tensor, dnn::kTensorId, dnn::kTypeInt64, 2, &number));     // another number
  expectRefused(dnn::cudnnBackendSetAttribute(tensor, dnn::kPlanConfig, dnn::kTypeDescriptor, 1, &tensor)); // not of tensors
  expectRefused(dnn::cudnnBackendFinalize(tensor));                                                      // incomplete
  int64_t count = 0;
  expectRefused(dnn::cudnnBackendGetAttribute(tensor, dnn::kTensorId, dnn::kTypeInt64, 1, &count, &number));
}

TEST_F(CudaCudnn, TheStandInSeesWrongGraphs) {
  auto expectRefused = [&](const std::function<void(Convolution &)> &change) {
    Convolution one;
    change(one);
    EXPECT_NE(one.make(), 0);
    EXPECT_GT(stats().faults, expectedFaults);
    expectedFaults = stats().faults;
  };
  expectRefused([](Convolution &one) { one.result = {2, 32, 6, 7}; });
  expectRefused([](Convolution &one) { one.filters = {32, 5, 3, 3}; });
  expectRefused([](Convolution &one) { one.filters = {30, 16, 3, 3}; });
  expectRefused([](Convolution &one) { one.filterStrides = {1, 288, 96, 32}; }); // filters inside, as generated kernels like them
  expectRefused([](Convolution &one) { one.isForwardFinal = false; });
  Convolution plain;
  plain.mode = dnn::kFallback;
  EXPECT_EQ(plain.make(), 0);
  EXPECT_EQ(plain.workspaceBytes, 0);
}

TEST_F(CudaCudnn, TheStandInNeedsACurrentContext) {
  PrimaryContext left = nullptr;
  EXPECT_CUDA(cuCtxPopCurrent_v2(&left));
  dnn::Handle handle = nullptr;
  EXPECT_EQ(dnn::cudnnCreate(&handle), dnn::kNotInitialized);
  EXPECT_CUDA(cuCtxPushCurrent_v2(left));
}
