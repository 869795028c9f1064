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
inline bool ncclCombination(const snug_collective_info &info, NcclType &type, NcclReduction &reduction) {
  static const NcclReduction reductions[] = {kNcclSum, kNcclMax, kNcclMin, kNcclProd}; // by snug_reduction
  if (info.dtype.lanes != 1 || info.reduction > SNUG_REDUCE_PROD)
    return false;
  reduction = reductions[info.reduction];
  auto is = [&](NcclType which) { return type = which, true; };
  switch (info.dtype.code << 8 | info.dtype.bits) { // as DLPack has them
  case 0 << 8 | 8: return is(kNcclInt8);
  case 0 << 8 | 32: return is(kNcclInt32);
  case 0 << 8 | 64: return is(kNcclInt64);
  case 1 << 8 | 8: return is(kNcclUint8);
  case 1 << 8 | 32: return is(kNcclUint32);
  case 1 << 8 | 64: return is(kNcclUint64);
  case 2 << 8 | 16: return is(kNcclFloat16);
  case 2 << 8 | 32: return is(kNcclFloat32);
  case 2 << 8 | 64: return is(kNcclFloat64);
  case 4 << 8 | 16: return is(kNcclBfloat16);
  case 6 << 8 | 8:
    reduction = info.reduction == SNUG_REDUCE_SUM || info.reduction == SNUG_REDUCE_MAX ? kNcclMax : kNcclMin;
    return is(kNcclUint8);
  default: return false;
  }
}

} // namespace snug::cuda

#endif
