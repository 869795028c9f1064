// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The state of the simulator: one launch at a time, of it one block, of it one thread at any moment.
#ifndef SNUG_TEST_GPU_SIM_MACHINE_H
#define SNUG_TEST_GPU_SIM_MACHINE_H

#include "test/gpu/sim/Abi.h"
#include "test/gpu/sim/Fiber.h"
#include <chrono>
#include <string>
#include <vector>

namespace snug::sim {

inline constexpr int kLanes = 32;
inline constexpr uint32_t kMaxThreads = 1024;
inline constexpr size_t kMaxShared = 227 << 10; // of a block, on sm_90 and sm_100

enum class Status : uint8_t { Ready, Waiting, Done };

// An asynchronous copy on its way.
struct Copy {
  char *to;
  const char *from;
  uint32_t bytes, live;
  const Site *site;
  int group;
};

struct Thread : Context {
  Fiber fiber;
  int linear; // in the block
  Status status;
  Hook hook; // that it waits in, with:
  const Site *site;
  uint32_t mask, value, offset, clamp;
  uint64_t result;
  void *fragments[4];
  std::vector<Copy> copies; // in the order of their groups
  int group;                // that copies are put in now
};

// Memory that may be touched, and what reports call it.
struct Range {
  char *begin = nullptr, *end = nullptr;
  bool isWritable = true;
  std::string name;
  bool holds(const void *p) const { return p >= begin && p < end; }
};

// Time, for what is ordered before what: every barrier is a tick. Ticks never repeat.
struct Clock {
  uint64_t now = 1, launch = 0, block = 0; // now, and when the launch and the block began
  uint64_t blockBarrier = 0;               // the last barrier of the block, and of each warp
  uint64_t warpBarrier[kMaxThreads / kLanes] = {};
  std::vector<uint64_t> blocks; // when each block of the launch began
};

struct Machine {
  const Kernel *kernel = nullptr;
  void *const *params = nullptr;
  uint32_t grid[3] = {}, block[3] = {};
  std::vector<Thread> threads;
  Thread *current = nullptr;
  uint32_t waitingLanes[kMaxThreads / kLanes] = {}; // of each warp, in an op of the warp
  Fiber scheduler;
  bool isProfiled = false;
  uint32_t accesses = 0; // now and then one of them looks at the time
  std::chrono::steady_clock::time_point deadline;
  bool isStopped = false; // a fault that the launch cannot go on after

  std::vector<Range> views;       // that any pointer may touch
  std::vector<Range> paramRanges; // what each parameter may touch
  std::vector<Range> shared;      // static buffers
  std::vector<void *> sharedAddresses;
  Range dynamicShared;
  size_t sharedUsed = 0; // bytes from the arena's begin
  Clock clock;
};
extern Machine machine;

// The shared memory of the block that runs, and more, for what lies between buffers.
char *sharedArena();
size_t sharedArenaBytes();

// Counts a fault of `thread` at `site`, and reports it if it is the first of its kind there.
void report(const char *kind, const Thread &thread, const Site *site, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// Leaves the launch. For a thread: what it would do next makes no sense.
[[noreturn]] void stop();
// "thread (1,0,0)" of the running block.
std::string threadName(int linear);

// --- threads (Block.cpp) ---
void runBlock();
// Lets others run until this thread is made ready.
void yield(Thread &thread);

// --- memory (Memory.cpp) ---
enum class Kind { Read, ReadConstant, Write, Atomic };
// Checks an access, as the kernel is about to make it. Out of bounds or misaligned: does not return.
void access(Thread &thread, const Site *site, const void *address, uint32_t bytes, uint32_t align, int32_t object, Kind kind);
// The bytes are on their way: nobody may touch them before the one who waited for them has them written.
void markPending(const void *address, uint32_t bytes);
void markWritten(const Thread &thread, const void *address, uint32_t bytes);

// --- hooks, in the order of the enum Hook ---
void hookRead(Context *, const Site *, void *address);
void hookReadConstant(Context *, const Site *, void *address);
void hookWrite(Context *, const Site *, void *address);
void hookAtomic(Context *, const Site *, void *address);
void hookIndex(Context *, const Site *, int64_t index, int64_t extent);
void hookBarrier(Context *, const Site *);
void hookWarpBarrier(Context *, const Site *, uint32_t mask);
uint64_t hookShuffle(Context *, const Site *, uint32_t mask, uint32_t value, uint32_t offset, uint32_t clamp);
uint32_t hookVote(Context *, const Site *, uint32_t mask, uint32_t predicate);
uint32_t hookReduce(Context *, const Site *, uint32_t mask, uint32_t value);
void hookLdMatrix(Context *, const Site *, void *row, int32_t object, void *result);
void hookMma(Context *, const Site *, void *a, void *b, void *c, void *d);
void hookAsyncCopy(Context *, const Site *, void *to, int32_t toObject, void *from, int32_t fromObject, uint32_t live);
void hookAsyncCommit(Context *, const Site *);
void hookAsyncWait(Context *, const Site *);
// What is left of a thread's copies when it ends.
void finishCopies(Thread &thread);

} // namespace snug::sim
#endif
