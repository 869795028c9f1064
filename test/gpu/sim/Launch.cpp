// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "test/gpu/sim/Profile.h"
#include "test/gpu/sim/Sim.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <set>

using namespace snug::sim;

Machine snug::sim::machine;

namespace {
std::mutex mutex;
std::vector<std::string> reports;
std::set<std::pair<const Site *, std::string>> reported;
int faults = 0;

alignas(4096) char arena[512 << 10];
constexpr size_t kGap = 64; // between shared buffers: what runs over the end of one is in none

void addReport(const char *kind, const std::string &place, const std::string &details) {
  const char *limit = getenv("SNUG_SIM_REPORTS");
  if (reports.size() >= static_cast<size_t>(limit ? atoi(limit) : 8))
    return;
  std::string name = machine.kernel ? machine.kernel->name : "a launch";
  reports.push_back(std::string(kind) + " in " + name + place + ": " + details);
  fprintf(stderr, "snug-sim: %s\n", reports.back().c_str());
}

std::string coordinates(uint32_t linear, const uint32_t extents[3]) {
  uint32_t x = linear % extents[0], y = linear / extents[0] % extents[1], z = linear / extents[0] / extents[1];
  return "(" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")";
}

std::string format(const char *text, va_list arguments) {
  char buffer[512];
  vsnprintf(buffer, sizeof buffer, text, arguments);
  return buffer;
}

__attribute__((format(printf, 1, 2))) int refuse(const char *text, ...) {
  va_list arguments;
  va_start(arguments, text);
  addReport("launch", "", format(text, arguments));
  va_end(arguments);
  return ++faults;
}

// The kernel's row of its library's table.
const Kernel *findKernel(snug_sim_kernel entry) {
  Dl_info info;
  if (!entry || !dladdr(reinterpret_cast<void *>(entry), &info))
    return nullptr;
  void *library = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  if (!library)
    return nullptr;
  auto table = static_cast<const KernelTable *>(dlsym(library, "snug_sim_kernels"));
  dlclose(library); // the caller's handle keeps it
  for (uint64_t i = 0; table && i < table->numKernels; ++i)
    if (reinterpret_cast<void *>(table->kernels[i].entry) == reinterpret_cast<void *>(entry))
      return &table->kernels[i];
  return nullptr;
}

// What hardware takes (compute capability 8.0 to 10.x) and what the kernel is made for.
int checkShape(const Kernel &kernel, const uint32_t grid[3], const uint32_t block[3]) {
  const uint32_t gridLimit[] = {0x7fffffff, 65535, 65535}, blockLimit[] = {1024, 1024, 64};
  for (int i = 0; i < 3; ++i) {
    if (grid[i] == 0 || grid[i] > gridLimit[i])
      return refuse("a grid of %u x %u x %u blocks", grid[0], grid[1], grid[2]);
    if (block[i] == 0 || block[i] > blockLimit[i])
      return refuse("a block of %u x %u x %u threads", block[0], block[1], block[2]);
  }
  if (uint64_t(block[0]) * block[1] * block[2] > kMaxThreads)
    return refuse("a block of %u x %u x %u threads, more than %u", block[0], block[1], block[2], kMaxThreads);
  if (kernel.block[0] != 0 && !std::equal(block, block + 3, kernel.block))
    return refuse("blocks of %u x %u x %u threads, but the kernel is made for %u x %u x %u", block[0], block[1], block[2],
                  kernel.block[0], kernel.block[1], kernel.block[2]);
  return 0;
}

void *pointerOf(const Kernel &kernel, void *const *params, uint32_t index) {
  void *pointer = nullptr;
  if (kernel.params[index].isPointer)
    memcpy(&pointer, params[index], sizeof pointer);
  return pointer;
}

// Which memory each parameter may touch.
int setParams(const Kernel &kernel, void *const *params, const snug_sim_view *views, int numViews) {
  machine.params = params;
  machine.views.clear();
  machine.paramRanges.assign(kernel.numParams, {});
  std::vector<const snug_sim_view *> own(kernel.numParams);
  for (int i = 0; i < numViews; ++i) {
    const snug_sim_view &view = views[i];
    char *base = static_cast<char *>(const_cast<void *>(view.base));
    if (view.param < 0)
      machine.views.push_back({base, base + view.bytes, view.writable != 0, view.name ? view.name : "memory"});
    else if (static_cast<uint32_t>(view.param) < kernel.numParams)
      own[view.param] = &view;
  }
  for (uint32_t i = 0; i < kernel.numParams; ++i) {
    if (!kernel.params[i].isPointer)
      continue;
    char *pointer = static_cast<char *>(pointerOf(kernel, params, i));
    Range &range = machine.paramRanges[i];
    std::string name = "parameter " + std::to_string(i);
    range = {pointer, pointer, false, name + ", which points to no memory of the launch"};
    if (const snug_sim_view *view = own[i]) {
      char *base = static_cast<char *>(const_cast<void *>(view->base));
      range = {base, base + view->bytes, view->writable != 0, name + (view->name ? std::string(", ") + view->name : "")};
    } else {
      for (const Range &view : machine.views)
        if (view.holds(pointer))
          range = {view.begin, view.end, view.isWritable, name + ", " + view.name};
    }
    range.isWritable &= !kernel.params[i].isReadOnly;
    if (reinterpret_cast<uintptr_t>(pointer) % kernel.params[i].align != 0)
      return refuse("parameter %u is no multiple of %u, as the kernel declares it", i, kernel.params[i].align);
  }
  return 0;
}

// Buffers start at a multiple of what they are aligned to, but not of twice that: one that says less than its accesses need
// is found.
Range placeShared(uint64_t bytes, uint64_t align, const std::string &name) {
  uint64_t begin = (machine.sharedUsed + 2 * align - 1) / (2 * align) * (2 * align) + align;
  machine.sharedUsed = begin + bytes + kGap;
  return {arena + begin, arena + begin + bytes, true, name};
}

int setShared(const Kernel &kernel, uint32_t dynamicBytes) {
  machine.sharedUsed = 0;
  machine.shared.clear();
  machine.sharedAddresses.clear();
  machine.dynamicShared = {};
  uint64_t total = dynamicBytes;
  for (uint32_t i = 0; i < kernel.numShared; ++i)
    total += kernel.shared[i].bytes;
  if (total > kMaxShared)
    return refuse("%llu bytes of shared memory, more than %zu", static_cast<unsigned long long>(total), kMaxShared);
  for (uint32_t i = 0; i < kernel.numShared; ++i) {
    machine.shared.push_back(placeShared(kernel.shared[i].bytes, kernel.shared[i].align, "shared buffer " + std::to_string(i)));
    machine.sharedAddresses.push_back(machine.shared.back().begin);
    if (machine.shared.back().end + kGap > arena + sizeof arena)
      return refuse("shared buffers of such alignments have no room in the simulator");
  }
  machine.dynamicShared = placeShared(dynamicBytes, 16, "dynamic shared memory");
  if (machine.dynamicShared.end + kGap > arena + sizeof arena)
    return refuse("shared buffers of such alignments have no room in the simulator");
  return 0;
}

void hookNothing(Context *, const Site *, void *) {}

template <class T> const void *addressOf(T *function) { return reinterpret_cast<const void *>(function); }

const void *const *hooks() {
  static const void *checked[kNumHooks] = {
      addressOf(hookRead),        addressOf(hookReadConstant), addressOf(hookWrite),   addressOf(hookAtomic),
      addressOf(hookIndex),       addressOf(hookBarrier),      addressOf(hookWarpBarrier), addressOf(hookShuffle),
      addressOf(hookVote),        addressOf(hookReduce),       addressOf(hookLdMatrix), addressOf(hookMma),
      addressOf(hookAsyncCopy),   addressOf(hookAsyncCommit),  addressOf(hookAsyncWait)};
  static const void *unchecked[kNumHooks];
  const char *wanted = getenv("SNUG_SIM_CHECKS");
  if (!wanted || strcmp(wanted, "0") != 0)
    return checked;
  std::copy(std::begin(checked), std::end(checked), unchecked);
  for (Hook hook : {kRead, kReadConstant, kWrite, kAtomic})
    unchecked[hook] = addressOf(hookNothing);
  return unchecked;
}

void setThreads(const uint32_t grid[3], const uint32_t block[3]) {
  uint32_t count = block[0] * block[1] * block[2];
  machine.threads.resize(count);
  const void *const *table = hooks();
  for (uint32_t i = 0; i < count; ++i) {
    Thread &thread = machine.threads[i];
    thread.hooks = table;
    thread.shared = machine.sharedAddresses.data();
    thread.dynamicShared = machine.dynamicShared.begin;
    thread.dynamicSharedBytes = machine.dynamicShared.end - machine.dynamicShared.begin;
    thread.linear = static_cast<int>(i);
    thread.lane = i % kLanes;
    thread.warp = i / kLanes;
    thread.warps = (count + kLanes - 1) / kLanes;
    const uint32_t place[] = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
    for (int d = 0; d < 3; ++d) {
      thread.tid[d] = static_cast<int32_t>(place[d]);
      thread.bdim[d] = static_cast<int32_t>(block[d]);
      thread.gdim[d] = static_cast<int32_t>(grid[d]);
    }
  }
}

void runGrid(const uint32_t grid[3]) {
  Clock &clock = machine.clock;
  clock.launch = ++clock.now;
  clock.blocks.clear();
  uint64_t count = uint64_t(grid[0]) * grid[1] * grid[2];
  for (uint64_t i = 0; i < count && !machine.isStopped; ++i) {
    clock.block = clock.blockBarrier = ++clock.now;
    std::fill(std::begin(clock.warpBarrier), std::end(clock.warpBarrier), clock.now);
    clock.blocks.push_back(clock.now);
    memset(arena, 0xff, machine.sharedUsed); // not a number: nothing is zero by luck
    const uint64_t place[] = {i % grid[0], i / grid[0] % grid[1], i / grid[0] / grid[1]};
    for (Thread &thread : machine.threads)
      for (int d = 0; d < 3; ++d)
        thread.bid[d] = static_cast<int32_t>(place[d]);
    runBlock();
    if (machine.isProfiled)
      endBlockOfProfile();
  }
}
} // namespace

char *snug::sim::sharedArena() { return arena; }
size_t snug::sim::sharedArenaBytes() { return sizeof arena; }

std::string snug::sim::threadName(int linear) { return "thread " + coordinates(linear, machine.block); }

void snug::sim::report(const char *kind, const Thread &thread, const Site *site, const char *text, ...) {
  ++faults;
  if (!reported.insert({site, kind}).second)
    return;
  va_list arguments;
  va_start(arguments, text);
  const int32_t *b = thread.bid;
  addReport(kind,
            ", block (" + std::to_string(b[0]) + "," + std::to_string(b[1]) + "," + std::to_string(b[2]) + "), " +
                threadName(thread.linear) + ", " + site->location,
            format(text, arguments));
  va_end(arguments);
}

void snug::sim::stop() {
  machine.isStopped = true;
  // Where threads do not wait for each other, all of them run on the first one's stack.
  Thread &stack = machine.kernel->waitsForOthers ? *machine.current : machine.threads.front();
  switchFiber(stack.fiber, machine.scheduler);
  abort();
}

#define SNUG_EXPORT extern "C" __attribute__((visibility("default")))

SNUG_EXPORT int snug_sim_launch(snug_sim_kernel entry, const uint32_t grid[3], const uint32_t block[3],
                                uint32_t dynamicShared, void **params, const snug_sim_view *views, int numViews) {
  std::lock_guard<std::mutex> lock(mutex);
  reports.clear();
  reported.clear();
  faults = 0;
  machine.isStopped = false;
  machine.kernel = findKernel(entry);
  if (!machine.kernel)
    return refuse("the function is no kernel of a library of snug-gpu-sim-build");
  std::copy(grid, grid + 3, machine.grid);
  std::copy(block, block + 3, machine.block);
  if (checkShape(*machine.kernel, grid, block) || setParams(*machine.kernel, params, views, numViews) ||
      setShared(*machine.kernel, dynamicShared))
    return faults;
  setThreads(grid, block);
  const char *seconds = getenv("SNUG_SIM_SECONDS");
  machine.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds ? atoi(seconds) : 300);
  beginProfile();
  runGrid(grid);
  if (machine.isProfiled)
    endProfile();
  return faults;
}

SNUG_EXPORT int snug_sim_num_reports(void) { return static_cast<int>(reports.size()); }

SNUG_EXPORT const char *snug_sim_report(int i) {
  return i >= 0 && i < static_cast<int>(reports.size()) ? reports[i].c_str() : nullptr;
}

SNUG_EXPORT int snug_sim_num_params(snug_sim_kernel entry) {
  const Kernel *kernel = findKernel(entry);
  return kernel ? static_cast<int>(kernel->numParams) : -1;
}
