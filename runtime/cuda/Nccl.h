// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// NVIDIA's library for what GPUs do together, libnccl.so.2, opened when the first context of a mesh needs it. Its functions, types
// and numbers are declared here as its public ABI has them, so that nothing of it is needed, neither to build nor to run.
#ifndef SNUG_RUNTIME_CUDA_NCCL_H
#define SNUG_RUNTIME_CUDA_NCCL_H

#include "runtime/cuda/Driver.h"
#include "snug/ModelABI.h"

namespace snug::cuda {

using NcclResult = int; // ncclResult_t
using NcclComm = void *;
struct NcclId { // ncclUniqueId
  char internal[128];
};

enum : NcclResult { kNcclSuccess = 0, kNcclInternalError = 3, kNcclInvalidArgument = 4, kNcclInvalidUsage = 5, kNcclRemoteError = 6, kNcclInProgress = 7 };
enum NcclType : int {
  kNcclInt8 = 0,
  kNcclUint8 = 1,
  kNcclInt32 = 2,
  kNcclUint32 = 3,
  kNcclInt64 = 4,
  kNcclUint64 = 5,
  kNcclFloat16 = 6,
  kNcclFloat32 = 7,
  kNcclFloat64 = 8,
  kNcclBfloat16 = 9,
};
enum NcclReduction : int { kNcclSum = 0, kNcclProd = 1, kNcclMax = 2, kNcclMin = 3 };

// X(name, type of the result, parameters)
#define SNUG_NCCL_FUNCTIONS(X)                                                                                         \
  X(ncclGetVersion, NcclResult, (int *version))                                                                        \
  X(ncclGetErrorString, const char *, (NcclResult result))                                                             \
  X(ncclGetLastError, const char *, (NcclComm comm))                                                                   \
  X(ncclGetUniqueId, NcclResult, (NcclId * id))                                                                        \
  X(ncclCommInitRank, NcclResult, (NcclComm * comm, int ranks, NcclId id, int rank))                                   \
  X(ncclCommGetAsyncError, NcclResult, (NcclComm comm, NcclResult *error))                                             \
  X(ncclCommDestroy, NcclResult, (NcclComm comm))                                                                      \
  X(ncclCommAbort, NcclResult, (NcclComm comm))                                                                        \
  X(ncclGroupStart, NcclResult, ())                                                                                    \
  X(ncclGroupEnd, NcclResult, ())                                                                                      \
  X(ncclAllReduce, NcclResult,                                                                                         \
    (const void *send, void *recv, size_t count, NcclType type, NcclReduction op, NcclComm comm, Stream stream))       \
  X(ncclReduceScatter, NcclResult,                                                                                     \
    (const void *send, void *recv, size_t count, NcclType type, NcclReduction op, NcclComm comm, Stream stream))       \
  X(ncclAllGather, NcclResult, (const void *send, void *recv, size_t count, NcclType type, NcclComm comm, Stream stream)) \
  X(ncclSend, NcclResult, (const void *send, size_t count, NcclType type, int peer, NcclComm comm, Stream stream))     \
  X(ncclRecv, NcclResult, (void *recv, size_t count, NcclType type, int peer, NcclComm comm, Stream stream))

struct Nccl {
  int version; // 22809 is 2.28.9
#define SNUG_NCCL_MEMBER(name, result, parameters) result(*name) parameters;
  SNUG_NCCL_FUNCTIONS(SNUG_NCCL_MEMBER)
#undef SNUG_NCCL_MEMBER
};

// NCCL of this machine, opened by the first call, and kept until the process ends. Any thread. Throws where there is none, and tries
// again on the next call.
const Nccl &nccl();

std::string ncclVersionText(int version);

// "unhandled system error (2): <what NCCL says of it>"
std::string ncclErrorText(NcclResult result);

// How NCCL combines elements as a collective says; false where it cannot. A bool is a byte of 0 or 1: the sum of some is the larger
// one. What only moves does so as bytes.
bool ncclCombination(const snug_collective_info &info, NcclType &type, NcclReduction &reduction);

} // namespace snug::cuda

#endif
