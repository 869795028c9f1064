// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What runtime/cuda/Driver.h declares, against CUDA's own header: built where that is installed.

// First, so that its macros, which name the symbols, rename our members alike.
#include <cuda.h>

#include "runtime/cuda/Driver.h"

#include <gtest/gtest.h>
#include <string>
#include <type_traits>

namespace ours = snug::cuda;

#define TEXT_OF(x) #x
#define SYMBOL_OF(x) TEXT_OF(x)

// Parameters of the same kind and size: pointers, and integers.
template <class A, class B> constexpr bool isAlike() {
  return sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B> && std::is_floating_point_v<A> == std::is_floating_point_v<B>;
}
template <class... A, class... B> constexpr bool areAlike(ours::Result (*)(A...), CUresult (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B))
    return (isAlike<A, B>() && ...);
  return false;
}

// The function that drivers have that are older than this header.
static std::string olderSymbol(const std::string &name) { return name == "cuEventElapsedTime_v2" ? "cuEventElapsedTime" : name; }

TEST(CudaHeader, DeclaresTheSameFunctions) {
#define CHECK(name, suffix, parameters)                                                                                \
  EXPECT_EQ(olderSymbol(SYMBOL_OF(name)), #name #suffix);                                                                      \
  EXPECT_TRUE(areAlike(decltype(ours::Driver::name)(nullptr), static_cast<decltype(&::name)>(nullptr))) << #name;
  SNUG_CUDA_FUNCTIONS(CHECK)
}

TEST(CudaHeader, HasTheSameNumbers) {
  EXPECT_EQ(int(ours::kSuccess), CUDA_SUCCESS);
  EXPECT_EQ(int(ours::kInvalidValue), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(int(ours::kOutOfMemory), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(int(ours::kNoDevice), CUDA_ERROR_NO_DEVICE);
  EXPECT_EQ(int(ours::kInvalidDevice), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_EQ(int(ours::kInvalidImage), CUDA_ERROR_INVALID_IMAGE);
  EXPECT_EQ(int(ours::kInvalidContext), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_EQ(int(ours::kNoBinaryForGpu), CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_EQ(int(ours::kUnsupportedPtxVersion), CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  EXPECT_EQ(int(ours::kInvalidHandle), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(int(ours::kIllegalState), CUDA_ERROR_ILLEGAL_STATE);
  EXPECT_EQ(int(ours::kNotFound), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(int(ours::kLaunchFailed), CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_EQ(int(ours::kCaptureUnsupported), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_EQ(int(ours::kCaptureInvalidated), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  EXPECT_EQ(int(ours::kNotReady), CUDA_ERROR_NOT_READY);
  EXPECT_EQ(int(ours::kCaptureUnjoined), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  EXPECT_EQ(int(ours::kCaptureIsolation), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  EXPECT_EQ(int(ours::kCaptureImplicit), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  EXPECT_EQ(int(ours::kCapturedEvent), CUDA_ERROR_CAPTURED_EVENT);
  EXPECT_EQ(sizeof(ours::DeviceUuid), sizeof(CUuuid));
  EXPECT_EQ(int(ours::kGraphUpdateFailed), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  EXPECT_EQ(int(ours::kComputeMajor), CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  EXPECT_EQ(int(ours::kComputeMinor), CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  EXPECT_EQ(int(ours::kMaxDynamicSharedBytes), CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  EXPECT_EQ(int(ours::kMemoryType), CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
  EXPECT_EQ(int(ours::kDeviceOrdinal), CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
  EXPECT_EQ(int(ours::kMemoryOnHost), CU_MEMORYTYPE_HOST);
  EXPECT_EQ(int(ours::kMemoryOnDevice), CU_MEMORYTYPE_DEVICE);
  EXPECT_EQ(int(ours::kCaptureGlobal), CU_STREAM_CAPTURE_MODE_GLOBAL);
  EXPECT_EQ(int(ours::kCaptureThreadLocal), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  EXPECT_EQ(int(ours::kCaptureRelaxed), CU_STREAM_CAPTURE_MODE_RELAXED);
  EXPECT_EQ(int(ours::kCaptureNone), CU_STREAM_CAPTURE_STATUS_NONE);
  EXPECT_EQ(int(ours::kCaptureActive), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  EXPECT_EQ(int(ours::kStreamNonBlocking), CU_STREAM_NON_BLOCKING);
  EXPECT_EQ(int(ours::kEventDefault), CU_EVENT_DEFAULT);
  EXPECT_EQ(int(ours::kEventDisableTiming), CU_EVENT_DISABLE_TIMING);
  EXPECT_EQ(ours::kLegacyStream, static_cast<void *>(CU_STREAM_LEGACY));
  EXPECT_EQ(ours::kPerThreadStream, static_cast<void *>(CU_STREAM_PER_THREAD));
  EXPECT_EQ(sizeof(ours::GraphUpdateInfo), sizeof(CUgraphExecUpdateResultInfo));
  EXPECT_EQ(offsetof(ours::GraphUpdateInfo, errorFromNode), offsetof(CUgraphExecUpdateResultInfo, errorFromNode));
}
