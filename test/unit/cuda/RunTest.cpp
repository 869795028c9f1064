// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs of a model for a GPU: results, memory, what is waited for.

#include "test/unit/cuda/CudaTest.h"

using namespace snug::cuda;
using CudaRun = CudaTest;

TEST_F(CudaRun, TakesTensorsOfTheHost) {
  load();
  EXPECT_EQ(snug_model_device(model), SNUG_DEVICE_CUDA);
  create();
  for (int64_t n : {3, 64, 1}) {
    Rows x(n, float(n)), y(n, -1);
    EXPECT_OK(run(x.onHost(), y.onHost()));
    EXPECT_EQ(y.values, resultOf(x.values)) << n;
  }
}

TEST_F(CudaRun, UsesTensorsOfTheDeviceInPlace) {
  load();
  create(SNUG_CONTEXT_DEVICE_TENSORS);
  Rows x(5, 2), y(5, -1);
  Address onDevice = upload(x.values), result = allocate(5 * kWidth * 4);
  snug_fake_cuda_reset();
  std::vector<float> first, second;
  EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  EXPECT_EQ(stats().copies, 0u);
  first = download(result, 5 * kWidth);
  EXPECT_EQ(first, resultOf(x.values));
  EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  EXPECT_EQ(download(result, 5 * kWidth), first); // the same bits
}
