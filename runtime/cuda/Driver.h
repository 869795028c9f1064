// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// NVIDIA's driver, libcuda.so.1, opened when the first model for a GPU needs it. Its functions, types and numbers are declared
// here as the driver's public ABI has them, so that nothing of the CUDA Toolkit is needed, neither to build nor to run.
#ifndef SNUG_RUNTIME_CUDA_DRIVER_H
#define SNUG_RUNTIME_CUDA_DRIVER_H

#include "runtime/core/Error.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace snug::cuda {

using Result = int;            // CUresult
using DeviceNumber = int;      // CUdevice
using Address = uint64_t;      // CUdeviceptr
using PrimaryContext = void *; // CUcontext, and so on
using Stream = void *;
using Event = void *;
using Module = void *;
using Function = void *;
using Graph = void *;
using GraphExec = void *;
struct DeviceUuid { // CUuuid
  char bytes[16];
};

enum : Result {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kUnsupportedPtxVersion = 222,
  kInvalidHandle = 400,
  kIllegalState = 401,
  kNotFound = 500,
  kNotReady = 600,
  kLaunchFailed = 719,
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
  kCaptureUnjoined = 904,
  kCaptureIsolation = 905,
  kCaptureImplicit = 906,
  kCapturedEvent = 907,
  kGraphUpdateFailed = 910,
};
enum DeviceAttribute : int { kComputeMajor = 75, kComputeMinor = 76 };
enum FunctionAttribute : int { kMaxDynamicSharedBytes = 8 };
enum PointerAttribute : int { kMemoryType = 2, kDeviceOrdinal = 9 };
enum MemoryType : unsigned { kMemoryOnHost = 1, kMemoryOnDevice = 2 };
enum CaptureMode : int { kCaptureGlobal = 0, kCaptureThreadLocal = 1, kCaptureRelaxed = 2 };
enum CaptureStatus : int { kCaptureNone = 0, kCaptureActive = 1 };
enum StreamFlags : unsigned { kStreamNonBlocking = 1 };
enum EventFlags : unsigned { kEventDefault = 0, kEventDisableTiming = 2 };
// The streams that each context has from the start: handles that a caller may give, too.
inline Stream const kLegacyStream = reinterpret_cast<Stream>(1), kPerThreadStream = reinterpret_cast<Stream>(2);

struct GraphUpdateInfo { // CUgraphExecUpdateResultInfo
  int result;
  void *errorNode, *errorFromNode;
};

// X(name in CUDA's header, suffix of the symbol that this header declares, parameters)
#define SNUG_CUDA_FUNCTIONS(X)                                                                                         \
  X(cuInit, , (unsigned flags))                                                                                        \
  X(cuDriverGetVersion, , (int *version))                                                                              \
  X(cuGetErrorName, , (Result error, const char **text))                                                               \
  X(cuGetErrorString, , (Result error, const char **text))                                                             \
  X(cuDeviceGetCount, , (int *count))                                                                                  \
  X(cuDeviceGet, , (DeviceNumber * device, int ordinal))                                                               \
  X(cuDeviceGetName, , (char *name, int bytes, DeviceNumber device))                                                   \
  X(cuDeviceGetUuid, _v2, (DeviceUuid * uuid, DeviceNumber device))                                                    \
  X(cuDeviceGetAttribute, , (int *value, DeviceAttribute attribute, DeviceNumber device))                              \
  X(cuDevicePrimaryCtxRetain, , (PrimaryContext * context, DeviceNumber device))                                       \
  X(cuDevicePrimaryCtxRelease, _v2, (DeviceNumber device))                                                             \
  X(cuCtxPushCurrent, _v2, (PrimaryContext context))                                                                   \
  X(cuCtxPopCurrent, _v2, (PrimaryContext * context))                                                                  \
  X(cuMemGetInfo, _v2, (size_t * free, size_t *total))                                                                 \
  X(cuMemAlloc, _v2, (Address * address, size_t bytes))                                                                \
  X(cuMemFree, _v2, (Address address))                                                                                 \
  X(cuMemHostAlloc, , (void **address, size_t bytes, unsigned flags))                                                  \
  X(cuMemFreeHost, , (void *address))                                                                                  \
  X(cuMemcpyHtoDAsync, _v2, (Address to, const void *from, size_t bytes, Stream stream))                               \
  X(cuMemcpyDtoHAsync, _v2, (void *to, Address from, size_t bytes, Stream stream))                                     \
  X(cuMemcpyDtoDAsync, _v2, (Address to, Address from, size_t bytes, Stream stream))                                   \
  X(cuPointerGetAttribute, , (void *value, PointerAttribute attribute, Address address))                               \
  X(cuStreamCreate, , (Stream * stream, unsigned flags))                                                               \
  X(cuStreamDestroy, _v2, (Stream stream))                                                                             \
  X(cuStreamSynchronize, , (Stream stream))                                                                            \
  X(cuStreamWaitEvent, , (Stream stream, Event event, unsigned flags))                                                 \
  X(cuStreamGetCtx, , (Stream stream, PrimaryContext *context))                                                        \
  X(cuStreamIsCapturing, , (Stream stream, CaptureStatus *status))                                                     \
  X(cuStreamBeginCapture, _v2, (Stream stream, CaptureMode mode))                                                      \
  X(cuStreamEndCapture, , (Stream stream, Graph *graph))                                                               \
  X(cuThreadExchangeStreamCaptureMode, , (CaptureMode * mode))                                                         \
  X(cuEventCreate, , (Event * event, unsigned flags))                                                                  \
  X(cuEventDestroy, _v2, (Event event))                                                                                \
  X(cuEventRecord, , (Event event, Stream stream))                                                                     \
  X(cuEventQuery, , (Event event))                                                                                     \
  X(cuEventSynchronize, , (Event event))                                                                               \
  X(cuEventElapsedTime, , (float *milliseconds, Event start, Event end))                                               \
  X(cuGraphInstantiateWithFlags, , (GraphExec * exec, Graph graph, unsigned long long flags))                          \
  X(cuGraphExecUpdate, _v2, (GraphExec exec, Graph graph, GraphUpdateInfo *info))                                      \
  X(cuGraphLaunch, , (GraphExec exec, Stream stream))                                                                  \
  X(cuGraphExecDestroy, , (GraphExec exec))                                                                            \
  X(cuGraphDestroy, , (Graph graph))                                                                                   \
  X(cuModuleLoadData, , (Module * module, const void *image))                                                          \
  X(cuModuleUnload, , (Module module))                                                                                 \
  X(cuModuleGetFunction, , (Function * function, Module module, const char *name))                                     \
  X(cuFuncSetAttribute, , (Function function, FunctionAttribute attribute, int value))                                 \
  X(cuLaunchKernel, , (Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,             \
                       unsigned blockY, unsigned blockZ, unsigned sharedBytes, Stream stream, void **parameters,       \
                       void **extra))

struct Driver {
#define SNUG_CUDA_MEMBER(name, suffix, parameters) Result(*name) parameters;
  SNUG_CUDA_FUNCTIONS(SNUG_CUDA_MEMBER)
#undef SNUG_CUDA_MEMBER
};

// The driver of this machine, opened and initialized by the first call, and kept until the process ends. Any thread. Throws where
// there is none, or one that is too old, and tries again on the next call.
const Driver &driver();

// "CUDA_ERROR_OUT_OF_MEMORY (2): out of memory"
std::string errorText(Result result);

// Throws where a call failed: "CUDA could not <what>: <text>".
void check(Result result, const std::string &what, snug_exit_code code = SNUG_EXIT_MACHINE);

// Makes a context the calling thread's current one; what was current before is so again afterwards.
class Entered {
public:
  explicit Entered(PrimaryContext context) { check(driver().cuCtxPushCurrent(context), "enter the context of a device"); }
  Entered(const Entered &) = delete;
  Entered &operator=(const Entered &) = delete;
  ~Entered() {
    PrimaryContext left;
    driver().cuCtxPopCurrent(&left);
  }
};

} // namespace snug::cuda

#endif
