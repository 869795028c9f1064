// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// CUDA graphs: of the caller, who captures a run, and of the context.

#include "test/unit/cuda/CudaTest.h"

using namespace snug::cuda;
using CudaGraph = CudaTest;

// Launches are calls of a kernel; a graph has none of its own.
static const char *const kNoLaunches = "cuLaunchKernel:0:1";

TEST_F(CudaGraph, CallersCaptureARun) {
  load();
  Stream stream = makeStream();
  create(SNUG_CONTEXT_DEVICE_TENSORS, stream);
  Rows x(9, 2), y(9, -1), other(9, 50);
  Address onDevice = upload(x.values), result = allocate(9 * kWidth * 4);
  snug_fake_cuda_reset();
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureGlobal));
  EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  Graph graph = nullptr;
  EXPECT_CUDA(cuStreamEndCapture(stream, &graph));
  EXPECT_EQ(stats().launches, 0u);
  GraphExec exec = nullptr;
  EXPECT_CUDA(cuGraphInstantiateWithFlags(&exec, graph, 0));
  for (const Rows *values : {&x, &other}) {
    EXPECT_CUDA(cuMemcpyHtoDAsync_v2(onDevice, values->values.data(), 9 * kWidth * 4, stream));
    EXPECT_CUDA(cuGraphLaunch(exec, stream));
    EXPECT_CUDA(cuStreamSynchronize(stream));
    EXPECT_EQ(download(result, 9 * kWidth), resultOf(values->values));
  }
  EXPECT_EQ(stats().launches, 4u);
  EXPECT_CUDA(cuGraphExecDestroy(exec));
  EXPECT_CUDA(cuGraphDestroy(graph));
}

TEST_F(CudaGraph, ACaptureNeedsOutputsOnTheDevice) {
  load();
  Stream stream = makeStream();
  create(0, stream);
  Rows x(9, 2), y(9, -1);
  Address result = allocate(9 * kWidth * 4);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureGlobal));
  EXPECT_FAILS(run(x.onHost(), y.onHost()), SNUG_EXIT_RUN,
               "output 'y' is on the host, and the stream is captured by a CUDA graph, which cannot wait for it: give it memory on CUDA device 0 "
               "(Fake GPU, sm_90)");
  EXPECT_OK(run(x.onHost(), y.onDevice(result))); // what was refused did not spoil the capture
  Graph graph = nullptr;
  EXPECT_CUDA(cuStreamEndCapture(stream, &graph));
  EXPECT_CUDA(cuGraphDestroy(graph));
}

TEST_F(CudaGraph, ReplaysARunThatItRecorded) {
  load();
  Stream stream = makeStream();
  create(SNUG_CONTEXT_DEVICE_TENSORS | SNUG_CONTEXT_GRAPH, stream);
  Rows x(9, 2), y(9, -1), other(9, 50);
  Address onDevice = upload(x.values), result = allocate(9 * kWidth * 4), elsewhere = allocate(9 * kWidth * 4);
  auto runs = [&](const Rows &values, Address into) {
    EXPECT_CUDA(cuMemcpyHtoDAsync_v2(onDevice, values.values.data(), 9 * kWidth * 4, stream));
    uint64_t waits = stats().waits;
    EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(into)));
    EXPECT_EQ(stats().waits, waits);
    EXPECT_CUDA(cuStreamSynchronize(stream));
    EXPECT_EQ(download(into, 9 * kWidth), resultOf(values.values));
  };
  runs(x, result);
  {
    Setting fail("SNUG_FAKE_CUDA_FAIL", kNoLaunches);
    runs(other, result);
    EXPECT_FAILS_WITH(run(x.onDevice(onDevice), y.onDevice(elsewhere)), SNUG_EXIT_RUN, "launch 0 (kernel 'scale_0'"); // other addresses
    runs(x, result); // what was recorded before is still good
  }
  runs(x, elsewhere);
  // Addresses are parameters: the graph is updated, not made again.
  Setting fail("SNUG_FAKE_CUDA_FAIL", "cuGraphInstantiateWithFlags:0:1");
  runs(other, result);
}

TEST_F(CudaGraph, RecordsOtherDimsAnew) {
  load(FIXTURE_LAUNCHES);
  create(SNUG_CONTEXT_GRAPH);
  for (int64_t n : {9, 64, 9, 9, 2, 64}) { // odd ones have three launches more
    Rows x(n, 2), y(n, -1);
    EXPECT_OK(run(x.onHost(), y.onHost()));
    EXPECT_EQ(y.values, resultOf(x.values)) << n;
  }
  Setting fail("SNUG_FAKE_CUDA_FAIL", kNoLaunches);
  Rows x(64, 3), y(64, -1);
  EXPECT_OK(run(x.onHost(), y.onHost())); // copies have the same addresses always
  EXPECT_EQ(y.values, resultOf(x.values));
}

TEST_F(CudaGraph, RecordsForTheLegacyStreamToo) {
  load();
  create(SNUG_CONTEXT_DEVICE_TENSORS | SNUG_CONTEXT_GRAPH, kLegacyStream);
  Rows x(9, 2), y(9, -1);
  Address onDevice = upload(x.values), result = allocate(9 * kWidth * 4);
  for (int i = 0; i < 2; ++i)
    EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  EXPECT_EQ(download(result, 9 * kWidth), resultOf(x.values));
}

TEST_F(CudaGraph, OfACallerTakesPrecedence) {
  load();
  Stream stream = makeStream();
  create(SNUG_CONTEXT_DEVICE_TENSORS | SNUG_CONTEXT_GRAPH, stream);
  Rows x(9, 2), y(9, -1);
  Address onDevice = upload(x.values), result = allocate(9 * kWidth * 4);
  for (int i = 0; i < 2; ++i) { // the second time, the context has a graph of its own
    EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureThreadLocal));
    EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
    Graph graph = nullptr;
    GraphExec exec = nullptr;
    EXPECT_CUDA(cuStreamEndCapture(stream, &graph));
    EXPECT_CUDA(cuGraphInstantiateWithFlags(&exec, graph, 0));
    uint64_t launches = stats().launches;
    EXPECT_CUDA(cuGraphLaunch(exec, stream));
    EXPECT_EQ(stats().launches, launches + 2);
    EXPECT_CUDA(cuGraphExecDestroy(exec));
    EXPECT_CUDA(cuGraphDestroy(graph));
    EXPECT_OK(run(x.onDevice(onDevice), y.onDevice(result)));
  }
}

TEST_F(CudaGraph, ReportsALaunchThatFails) {
  load();
  create(SNUG_CONTEXT_GRAPH);
  Rows x(9, 2), y(9, -1);
  for (const char *failure : {"cuLaunchKernel:2:701", "cuStreamBeginCapture_v2:1:701", "cuStreamEndCapture:1:701",
                              "cuGraphInstantiateWithFlags:1:701", "cuGraphLaunch:1:701"}) {
    {
      Setting fail("SNUG_FAKE_CUDA_FAIL", failure);
      EXPECT_FAILS_WITH(run(x.onHost(), y.onHost()), SNUG_EXIT_RUN, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701)");
    }
    if (std::string(failure) == "cuStreamEndCapture:1:701") {
      snug_context_destroy(context); // the fake's stream still records
      create(SNUG_CONTEXT_GRAPH);
    }
  }
  EXPECT_OK(run(x.onHost(), y.onHost()));
  EXPECT_EQ(y.values, resultOf(x.values));
}
