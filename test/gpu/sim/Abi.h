// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a kernel lowered for the host (lower/GpuToHost.cpp) and the simulator share. Both are built together: there is no
// version to check.
#ifndef SNUG_TEST_GPU_SIM_ABI_H
#define SNUG_TEST_GPU_SIM_ABI_H

#include <cstddef>
#include <cstdint>

namespace snug::sim {

// An op of a kernel that the simulator has to know of: what is constant about it, and where it stands. One an op, so that
// its address tells two ops of one location apart.
struct Site {
  int32_t values[6]; // by the hook, see below
  char location[1];  // "memref.load at kernels.mlir:12:5", zero-terminated
};

// values[2] of an access: what its address was computed from.
enum Object : int32_t {
  kUnknown = -1,
  kFirstParam = 0,           // and on: the kernel's parameters
  kFirstShared = 0x10000,    // and on: its static shared buffers
  kDynamicShared = 0x20000,
};

enum class Element : int32_t { F16, BF16, TF32, S8, U8, F64, F32, S32 };
enum class Vote : int32_t { Any, All, Ballot, Uni };
enum class Reduce : int32_t { Add, And, Max, Min, Or, UMax, UMin, Xor, FMin, FMax };
enum class Shuffle : int32_t { Xor, Down, Up, Idx };

// The functions that kernels call, in the order of Context::hooks. The first argument is the context.
enum Hook : int32_t {
  // (address, site): before an access to memory. Site: bytes, alignment that the code relies on, Object.
  kRead,
  kReadConstant, // through the cache for what no one writes while the kernel runs
  kWrite,
  kAtomic,
  // (site, index, extent): an index of a memref is outside. Site: dim, elements from the index on
  kIndex,
  // (site)
  kBarrier,
  // (site, mask of lanes)
  kWarpBarrier,
  // (site, mask, value, offset, clamp) -> value | valid << 32. Site: Shuffle. The meaning of PTX's shfl.sync.
  kShuffle,
  // (site, mask, predicate) -> value. Site: Vote
  kVote,
  // (site, mask, value) -> value. Site: Reduce, abs, nan
  kReduce,
  // (site, address of this lane's row, its Object, result). Site: tiles, transposed. 16-bit elements.
  kLdMatrix,
  // (site, a, b, c, d: the lane's fragments). Site: m, n, k, Element of a, Element of b, Element of c and d | saturate << 8
  kMma,
  // (site, destination, its Object, source, its Object, bytes of the source; those behind them are zeros). Site: bytes
  kAsyncCopy,
  // (site)
  kAsyncCommit,
  // (site). Site: groups that may still be on their way
  kAsyncWait,
  kNumHooks
};

struct Context {
  const void *const *hooks;
  void *const *shared; // static buffers, in the order of the kernel's attributions
  void *dynamicShared;
  int64_t dynamicSharedBytes;
  int32_t tid[3], bid[3], bdim[3], gdim[3];
  int32_t lane, warp, warps;
};

// Of a library of kernels: `snug_sim_kernels`, below.
struct Param {
  uint32_t bytes;
  uint32_t isPointer;
  uint32_t align;      // of what it points to, as the kernel declares it; 1 if it does not
  uint32_t isReadOnly; // the kernel declares that it is not written through this pointer
};
struct SharedBuffer {
  uint64_t bytes;
  uint64_t align;
};
struct Kernel {
  const char *name;
  void (*entry)(Context *, void *const *params);
  uint32_t numParams, numShared;
  const Param *params;
  const SharedBuffer *shared;
  uint32_t block[3];     // that the kernel is made for; zeros: any
  uint32_t waitsForOthers; // has barriers or ops of a whole warp: each thread needs a stack of its own
};
struct KernelTable {
  uint64_t numKernels;
  const Kernel *kernels;
};

} // namespace snug::sim
#endif
