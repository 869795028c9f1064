// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The stand-in for CUDA's driver: that it fails where the driver does (CUDA driver API, "Stream management"), and sees what tests rely on.

#include "test/unit/cuda/CudaTest.h"

#include <cstring>
#include <fstream>
#include <iterator>

using namespace snug::cuda;
using FakeCuda = CudaTest;

TEST_F(FakeCuda, KeepsDeviceMemoryOutOfReach) {
  Address address = allocate(100);
  EXPECT_DEATH(*reinterpret_cast<volatile char *>(address) = 1, "");
  EXPECT_EQ(address % 256, 0u);
  std::vector<char> bytes(200);
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(address, bytes.data(), 101, kLegacyStream), kInvalidValue);
  EXPECT_EQ(cuMemcpyHtoDAsync_v2(reinterpret_cast<Address>(bytes.data()), bytes.data(), 1, kLegacyStream), kInvalidValue);
  EXPECT_EQ(cuMemFree_v2(address + 1), kInvalidValue);
}

TEST_F(FakeCuda, NeedsACurrentContext) {
  PrimaryContext left = nullptr;
  EXPECT_CUDA(cuCtxPopCurrent_v2(&left));
  Address address = 0;
  EXPECT_EQ(cuMemAlloc_v2(&address, 1), kInvalidContext);
  EXPECT_EQ(cuCtxPopCurrent_v2(&left), kInvalidContext);
  EXPECT_CUDA(cuCtxPushCurrent_v2(left));
}

TEST_F(FakeCuda, ReadsPageableMemoryAtOnceAndPinnedMemoryLater) {
  Stream stream = makeStream();
  Address address = allocate(4);
  void *pinned = nullptr;
  EXPECT_CUDA(cuMemHostAlloc(&pinned, 4, 0));
  float value = 1;
  EXPECT_CUDA(cuMemcpyHtoDAsync_v2(address, &value, 4, stream));
  value = 2;
  EXPECT_CUDA(cuStreamSynchronize(stream));
  EXPECT_EQ(download(address, 1)[0], 1.0f);
  memcpy(pinned, &value, 4);
  EXPECT_CUDA(cuMemcpyHtoDAsync_v2(address, pinned, 4, stream));
  value = 3;
  memcpy(pinned, &value, 4);
  EXPECT_CUDA(cuStreamSynchronize(stream));
  EXPECT_EQ(download(address, 1)[0], 3.0f);
  EXPECT_CUDA(cuMemFreeHost(pinned));
}

// Such calls fail, and so does the end of the capture.
TEST_F(FakeCuda, ForbidsWhatDisturbsACapture) {
  Stream stream = makeStream();
  Address address = 0;
  Graph graph = nullptr;
  Module module = nullptr;
  auto disturbed = [&](Result result, Result expected) {
    EXPECT_EQ(result, expected);
    EXPECT_EQ(cuStreamEndCapture(stream, &graph), kCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
  };
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureThreadLocal));
  disturbed(cuStreamSynchronize(stream), kCaptureUnsupported);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureThreadLocal));
  disturbed(cuMemAlloc_v2(&address, 1), kCaptureUnsupported);
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureGlobal));
  disturbed(cuModuleLoadData(&module, nullptr), kCaptureUnsupported);
  Function function = nullptr;
  EXPECT_CUDA(cuStreamBeginCapture_v2(stream, kCaptureGlobal));
  disturbed(cuModuleGetFunction(&function, module, "none"), kCaptureUnsupported); // which loads it
  Stream blocking = nullptr;
  EXPECT_CUDA(cuStreamCreate(&blocking, 0));
  EXPECT_CUDA(cuStreamBeginCapture_v2(blocking, kCaptureRelaxed));
  EXPECT_EQ(cuStreamSynchronize(kLegacyStream), kCaptureImplicit);
  EXPECT_EQ(cuStreamEndCapture(blocking, &graph), kCaptureInvalidated);
  EXPECT_EQ(cuStreamBeginCapture_v2(kLegacyStream, kCaptureGlobal), kCaptureUnsupported);
  EXPECT_CUDA(cuStreamDestroy_v2(blocking));
}

TEST_F(FakeCuda, FailsAtWillAndWritesALog) {
  std::string path = ::testing::TempDir() + "snug-fake-cuda-log";
  remove(path.c_str());
  {
    Setting log("SNUG_FAKE_CUDA_LOG", path), fail("SNUG_FAKE_CUDA_FAIL", "cuMemAlloc_v2:2:2,cuMemFree_v2:1:1");
    Address first = 0, second = 0;
    EXPECT_CUDA(cuMemAlloc_v2(&first, 10));
    EXPECT_EQ(cuMemAlloc_v2(&second, 10), kOutOfMemory);
    EXPECT_EQ(cuMemFree_v2(first), kInvalidValue);
    EXPECT_CUDA(cuMemFree_v2(first));
  }
  std::ifstream file(path);
  std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(text.find("{\"call\": \"cuMemAlloc_v2\", \"bytes\": 10, \"address\": \"0x"), 0u) << text;
  EXPECT_NE(text.find("\"live\": 10, \"peak\": 10, \"result\": 0}\n{\"call\": \"cuMemAlloc_v2\", \"bytes\": 10, \"result\": 2}\n"), std::string::npos)
      << text;
  remove(path.c_str());
}
