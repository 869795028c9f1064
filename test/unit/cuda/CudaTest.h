// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the tests of the CUDA runtime share: models, tensors on the fake device, and its figures.
#ifndef SNUG_TEST_UNIT_CUDA_CUDATEST_H
#define SNUG_TEST_UNIT_CUDA_CUDATEST_H

#include "snug/Runtime.h"
#include "test/gpu/fake/Api.h"
#include "test/gpu/fake/Control.h"
#include "test/unit/Errors.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#define EXPECT_CUDA(call) EXPECT_EQ(call, snug::cuda::kSuccess)

constexpr int64_t kWidth = 8;
constexpr uint64_t kMost = 64 * kWidth * 4; // bytes of x, of y and of the arena

// A variable of the environment, for as long as this lives.
struct Setting {
  Setting(const char *name, const std::string &value) : name(name) { setenv(name, value.c_str(), 1); }
  ~Setting() { unsetenv(name); }
  const char *name;
};

inline snug_fake_cuda_stats stats() {
  snug_fake_cuda_stats found;
  snug_fake_cuda_get_stats(&found);
  return found;
}

class CudaTest : public ::testing::Test {
protected:
  void SetUp() override {
    setenv("SNUG_SIM_KERNELS", SIM_KERNELS, 1);
    snug_fake_cuda_reset();
    ASSERT_EQ(stats().live_bytes, 0u);
    // As a program of the caller's: it has the primary context current, to make its own tensors.
    EXPECT_CUDA(snug::cuda::cuInit(0));
    EXPECT_CUDA(snug::cuda::cuDevicePrimaryCtxRetain(&primary, 0));
    EXPECT_CUDA(snug::cuda::cuCtxPushCurrent_v2(primary));
  }
  void TearDown() override {
    snug_context_destroy(context);
    snug_model_release(model);
    for (snug::cuda::Stream stream : streams)
      EXPECT_CUDA(snug::cuda::cuStreamDestroy_v2(stream));
    for (snug::cuda::Address address : owned)
      EXPECT_CUDA(snug::cuda::cuMemFree_v2(address));
    snug::cuda::PrimaryContext left = nullptr;
    EXPECT_CUDA(snug::cuda::cuCtxPopCurrent_v2(&left));
    EXPECT_EQ(left, primary) << "the current context is not what it was";
    EXPECT_CUDA(snug::cuda::cuDevicePrimaryCtxRelease_v2(0));
    EXPECT_EQ(stats().live_bytes, 0u);
    EXPECT_EQ(stats().pinned_bytes, 0u);
    EXPECT_EQ(stats().handles, 0u);
    EXPECT_EQ(stats().faults, expectedFaults);
  }

  void load(const char *built = FIXTURE_PLAIN) { EXPECT_OK(snug_model_load(built, &model)); }
  void create(uint32_t flags = 0, void *stream = nullptr) {
    ASSERT_NE(model, nullptr);
    snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
    options.flags = flags;
    options.stream = stream;
    EXPECT_OK(snug_context_create(model, &options, &context));
    ASSERT_NE(context, nullptr);
  }

  // Memory on the device, that the test frees.
  snug::cuda::Address allocate(uint64_t bytes) {
    snug::cuda::Address address = 0;
    EXPECT_CUDA(snug::cuda::cuMemAlloc_v2(&address, bytes));
    owned.push_back(address);
    return address;
  }
  snug::cuda::Address upload(const std::vector<float> &values) {
    snug::cuda::Address address = allocate(values.size() * 4);
    EXPECT_CUDA(snug::cuda::cuMemcpyHtoDAsync_v2(address, values.data(), values.size() * 4, snug::cuda::kLegacyStream));
    EXPECT_CUDA(snug::cuda::cuStreamSynchronize(snug::cuda::kLegacyStream));
    return address;
  }
  std::vector<float> download(snug::cuda::Address address, size_t count) {
    std::vector<float> values(count);
    EXPECT_CUDA(snug::cuda::cuMemcpyDtoHAsync_v2(values.data(), address, count * 4, snug::cuda::kLegacyStream));
    return values;
  }

  snug::cuda::Stream makeStream() {
    snug::cuda::Stream stream = nullptr;
    EXPECT_CUDA(snug::cuda::cuStreamCreate(&stream, snug::cuda::kStreamNonBlocking));
    streams.push_back(stream);
    return stream;
  }

  snug_error *run(const DLTensor &x, const DLTensor &y) {
    const DLTensor *inputs[] = {&x}, *outputs[] = {&y};
    return snug_run(context, inputs, 1, outputs, 1);
  }

  snug::cuda::PrimaryContext primary = nullptr;
  std::vector<snug::cuda::Address> owned;
  std::vector<snug::cuda::Stream> streams;
  snug_model *model = nullptr;
  snug_context *context = nullptr;
  uint64_t expectedFaults = 0;
};

// A tensor [n, 8] of float32.
struct Rows {
  Rows(int64_t n, float start) : shape{n, kWidth} {
    for (int64_t i = 0; i < n * kWidth; ++i)
      values.push_back(start + float(i));
  }
  Rows(const Rows &) = delete;
  DLTensor onHost() { return {values.data(), {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, nullptr, 0}; }
  DLTensor onDevice(snug::cuda::Address address) {
    return {reinterpret_cast<void *>(address), {kDLCUDA, 0}, 2, {kDLFloat, 32, 1}, shape, nullptr, 0};
  }
  int64_t shape[2];
  std::vector<float> values;
};

// What the fixture computes.
inline std::vector<float> resultOf(const std::vector<float> &x) {
  std::vector<float> y;
  for (size_t i = 0; i < x.size(); ++i)
    y.push_back(x[i] * float(i % kWidth + 1) + 1);
  return y;
}

#endif
