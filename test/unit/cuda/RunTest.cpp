// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs of a model for a GPU: results, what is waited for, failures.

#include "test/unit/cuda/CudaTest.h"

#include <algorithm>
#include <memory>
#include <thread>

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
  EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  EXPECT_EQ(stats().copies, 0u);
  EXPECT_EQ(stats().allocations, 0u);
  std::vector<float> first = download(result, 5 * kWidth);
  EXPECT_EQ(first, resultOf(x.values));
  EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  EXPECT_EQ(download(result, 5 * kWidth), first); // the same bits
  EXPECT_EQ(download(onDevice, 5 * kWidth), x.values);
  EXPECT_FAILS(run(x.onHost(), y.onDevice(result)), SNUG_EXIT_RUN,
               "input 'x' is on the host, and the context was made for tensors on the device (SNUG_CONTEXT_DEVICE_TENSORS): copy it to "
               "CUDA device 0 (Fake GPU, sm_90) first");
}

TEST_F(CudaRun, MixesTensorsOfHostAndDevice) {
  load();
  create();
  Rows x(5, 2), y(5, -1);
  Address onDevice = upload(x.values), result = allocate(5 * kWidth * 4);
  EXPECT_OK(run(x.onDevice(onDevice), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
  EXPECT_OK(run(x.onHost(), y.onDevice(result)));
  EXPECT_EQ(download(result, 5 * kWidth), resultOf(x.values));
}

TEST_F(CudaRun, WaitsForNothingOnTheCallersStream) {
  load();
  Stream stream = makeStream();
  create(SNUG_CONTEXT_DEVICE_TENSORS, stream);
  EXPECT_EQ(snug_context_stream(context), stream);
  Rows x(64, 2), y(64, -1);
  Address onDevice = upload(x.values), result = allocate(kMost);
  snug_fake_cuda_reset();
  for (int i = 0; i < 3; ++i)
    EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  EXPECT_EQ(stats().waits, 0u);
  EXPECT_EQ(stats().allocations, 0u);
  EXPECT_EQ(stats().copies, 0u);
  EXPECT_EQ(stats().launches, 6u);
  EXPECT_NE(download(result, 64 * kWidth), resultOf(x.values)) << "the fake does not wait with its work";
  EXPECT_CUDA(cuStreamSynchronize(stream));
  EXPECT_EQ(download(result, 64 * kWidth), resultOf(x.values));
}

TEST_F(CudaRun, WaitsWhereAnOutputIsOnTheHost) {
  load();
  create(0, makeStream());
  Rows x(7, 2), y(7, -1);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
  // Pinned memory is written when the stream comes to it.
  void *pinned = nullptr;
  EXPECT_CUDA(cuMemHostAlloc(&pinned, 7 * kWidth * 4, 0));
  DLTensor there = y.onHost();
  there.data = pinned;
  there.device.device_type = kDLCUDAHost;
  EXPECT_OK(run(x.onHost(), there));
  EXPECT_EQ(std::vector<float>(static_cast<float *>(pinned), static_cast<float *>(pinned) + 7 * kWidth), resultOf(x.values));
  EXPECT_CUDA(cuMemFreeHost(pinned));
}

TEST_F(CudaRun, RunsOnTheDefaultStreams) {
  load();
  Rows x(7, 2), y(7, -1);
  Address onDevice = upload(x.values), result = allocate(7 * kWidth * 4);
  for (Stream stream : {kLegacyStream, kPerThreadStream}) {
    create(SNUG_CONTEXT_DEVICE_TENSORS, stream);
    EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
    EXPECT_CUDA(cuStreamSynchronize(stream));
    EXPECT_EQ(download(result, 7 * kWidth), resultOf(x.values));
    snug_context_destroy(context);
  }
  context = nullptr;
}

TEST_F(CudaRun, RefusesTensorsThatAreNotInPlace) {
  Setting two("SNUG_FAKE_CUDA_DEVICES", "2");
  load();
  create();
  Rows x(5, 2), y(5, -1);
  Address onDevice = allocate(1024), result = allocate(1024);
  DLTensor other = x.onDevice(onDevice);
  other.device.device_id = 1;
  EXPECT_FAILS(run(other, y.onDevice(result)), SNUG_EXIT_RUN,
               "input 'x' is on CUDA device 1; expected CUDA device 0, where the model runs, or the CPU: copy it there first");
  other.device = {kDLROCM, 0};
  EXPECT_FAILS(run(other, y.onDevice(result)), SNUG_EXIT_RUN,
               "input 'x' is on DLPack device type 10; expected CUDA device 0, where the model runs, or the CPU: copy it there first");
  EXPECT_FAILS(run(x.onDevice(onDevice), y.onDevice(result + 8)), SNUG_EXIT_RUN,
               "output 'y' is not aligned to 16 bytes, as kernels on a GPU need it: it is a view into another tensor; copy it to one of "
               "its own");
  EXPECT_FAILS_WITH(run(x.onDevice(onDevice), y.onDevice(onDevice + 16)), SNUG_EXIT_RUN, "output 'y' overlaps input 'x'");
  EXPECT_EQ(stats().launches, 0u);
  EXPECT_OK(run(x.onDevice(onDevice + 32), y.onDevice(result + 16))); // that is aligned
}

TEST_F(CudaRun, ReportsALaunchThatFails) {
  load();
  create(0, makeStream());
  Rows x(64, 2), y(64, -1);
  auto fail = std::make_unique<Setting>("SNUG_FAKE_CUDA_FAIL", "cuLaunchKernel:1:701");
  snug_fake_cuda_reset();
  EXPECT_FAILS(run(x.onHost(), y.onHost()), SNUG_EXIT_RUN,
               "launch 0 (kernel 'scale_0' on 4 blocks, for ONNX node(s) Mul_0) could not be started on CUDA device 0 (Fake GPU, sm_90): "
               "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701): too many resources requested for launch");
  EXPECT_EQ(stats().launches, 0u) << "what follows a failed launch is not started";
  fail.reset();
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
}

TEST_F(CudaRun, ReportsWhatGoesWrongOnTheDevice) {
  load(FIXTURE_OVERRUN);
  create();
  Rows x(5, 2), y(5, -1);
  Address onDevice = upload(x.values), result = allocate(5 * kWidth * 4);
  EXPECT_FAILS(run(x.onDevice(onDevice), y.onDevice(result)), SNUG_EXIT_RUN,
               "CUDA could not finish the run on CUDA device 0 (Fake GPU, sm_90): CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure");
  EXPECT_FAILS_WITH(run(x.onDevice(onDevice), y.onDevice(result)), SNUG_EXIT_MACHINE, "CUDA_ERROR_LAUNCH_FAILED (719)"); // it sticks
  snug_context *none = nullptr;
  EXPECT_FAILS_WITH(snug_context_create(model, nullptr, &none), SNUG_EXIT_MACHINE, "CUDA_ERROR_LAUNCH_FAILED (719)");
  EXPECT_EQ(stats().faults, 1u);
  snug_fake_cuda_reset(); // memory that was allocated is freed: the device is usable again
}

TEST_F(CudaRun, ComputesShapes) {
  load(FIXTURE_DATA_SHAPE);
  Stream stream = makeStream();
  create(SNUG_CONTEXT_DEVICE_TENSORS, stream);
  Rows x(6, 1), y(6, -1);
  x.values[4 * kWidth] = -1;
  Address onDevice = upload(x.values), result = allocate(6 * kWidth * 4);
  snug_fake_cuda_reset();
  EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  EXPECT_EQ(stats().waits, 0u);
  int64_t shape[2] = {-1, -1};
  EXPECT_OK(snug_context_output_shape(context, 0, shape));
  EXPECT_EQ(shape[0], 4);
  EXPECT_EQ(shape[1], kWidth);
}

TEST_F(CudaRun, WaitsForAValueThatDecidesItsCourse) {
  load(FIXTURE_READ);
  Stream stream = makeStream();
  create(SNUG_CONTEXT_DEVICE_TENSORS, stream);
  Rows x(6, 1), y(6, -1);
  x.values[4 * kWidth] = -1;
  Address onDevice = upload(x.values), result = allocate(6 * kWidth * 4);
  snug_fake_cuda_reset();
  EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  EXPECT_CUDA(cuStreamSynchronize(stream));
  std::vector<float> made = download(result, 6 * kWidth), want = resultOf(x.values);
  EXPECT_TRUE(std::equal(made.begin(), made.begin() + 4 * kWidth, want.begin()));
  EXPECT_NE(made[4 * kWidth], want[4 * kWidth]); // nobody computed that
  EXPECT_EQ(stats().allocations, 0u);

  const std::string why = "a value on which the model's course depends could not be read from CUDA device 0 (Fake GPU, sm_90): ";
  for (const char *failure : {"cuMemcpyDtoHAsync_v2:1:701", "cuStreamSynchronize:1:701"}) {
    Setting fail("SNUG_FAKE_CUDA_FAIL", failure);
    EXPECT_FAILS_WITH(run(x.onDevice(onDevice), y.onDevice(result)), SNUG_EXIT_RUN, why + "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701)");
  }
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureGlobal));
  EXPECT_FAILS_WITH(run(x.onDevice(onDevice), y.onDevice(result)), SNUG_EXIT_RUN, "such a model cannot be a part of a CUDA graph");
  Graph graph = nullptr;
  EXPECT_EQ(cuStreamEndCapture(stream, &graph), kCaptureInvalidated);
  EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result))); // and is usable again
  snug_context_destroy(context);
  create(SNUG_CONTEXT_GRAPH);
  EXPECT_FAILS_WITH(run(x.onHost(), y.onHost()), SNUG_EXIT_RUN, "such a model cannot be a part of a CUDA graph");
}

TEST_F(CudaRun, ReadsDimsThatAreElementsOnTheHost) {
  load(FIXTURE_VALUE_DIM);
  create(SNUG_CONTEXT_DEVICE_TENSORS);
  Rows x(6, 1), y(6, -1);
  Address onDevice = upload(x.values), result = allocate(6 * kWidth * 4), count = allocate(8);
  int64_t rows = 6;
  DLTensor given = x.onDevice(onDevice), made = y.onDevice(result), scalar{&rows, {kDLCPU, 0}, 0, {kDLInt, 64, 1}, nullptr, nullptr, 0};
  const DLTensor *inputs[] = {&given, &scalar}, *outputs[] = {&made};
  EXPECT_OK(snug_run(context, inputs, 2, outputs, 1));
  EXPECT_EQ(download(result, 6 * kWidth), resultOf(x.values));
  scalar = {reinterpret_cast<void *>(count), {kDLCUDA, 0}, 0, {kDLInt, 64, 1}, nullptr, nullptr, 0};
  EXPECT_FAILS(snug_run(context, inputs, 2, outputs, 1), SNUG_EXIT_RUN,
               "input 'rows' is on CUDA device 0; expected the CPU (1): copy it there first");
}

TEST_F(CudaRun, TimesLaunches) {
  load();
  uint64_t ns[] = {0, 0};
  snug_context_options options = SNUG_CONTEXT_OPTIONS_INIT;
  options.launch_ns = ns;
  options.flags = SNUG_CONTEXT_GRAPH;
  EXPECT_FAILS_WITH(snug_context_create(model, &options, &context), SNUG_EXIT_USAGE, "leave out launch_ns or SNUG_CONTEXT_GRAPH");
  options.flags = 0;
  EXPECT_OK(snug_context_create(model, &options, &context));
  Rows x(64, 1), y(64, -1);
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
  EXPECT_GT(ns[0], 0u);
  EXPECT_GT(ns[1], 0u);
}

TEST_F(CudaRun, ContextsRunAtTheSameTime) {
  load();
  auto work = [&](float start) {
    snug_context *own = nullptr;
    EXPECT_OK(snug_context_create(model, nullptr, &own));
    ASSERT_NE(own, nullptr);
    Rows x(64, start), y(64, -1);
    DLTensor given = x.onHost(), made = y.onHost();
    const DLTensor *inputs[] = {&given}, *outputs[] = {&made};
    for (int i = 0; i < 20; ++i) {
      EXPECT_OK(snug_run(own, inputs, 1, outputs, 1));
      ASSERT_EQ(y.values, resultOf(x.values));
      std::fill(y.values.begin(), y.values.end(), -1.0f);
    }
    snug_context_destroy(own);
  };
  std::thread first(work, 0.0f), second(work, 1000.0f);
  first.join();
  second.join();
}
