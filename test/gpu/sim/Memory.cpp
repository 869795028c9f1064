// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Who touched which bytes last. Two accesses race if one of them writes, not both are atomic, and no barrier is between them:
// a barrier of the block orders all its threads, one of a warp its lanes; blocks of a launch are never ordered.
//
// A cell stands for 4 bytes, or for less in pages where something smaller was accessed. Its two words name who wrote and
// who read last:
//   bits 0-10: the thread; several lanes of one warp; several threads. Bit 11: several blocks. Bit 12: atomic.
//   bits 13-63: when (Clock), so that what is left from earlier launches, or in shared memory from earlier blocks, is
//   known by being old, and nothing has to be cleared.
// That is exact: as blocks run one after the other and a barrier is everyone's, what two words cannot say does not matter.
#include "test/gpu/sim/Profile.h"
#include <algorithm>
#include <memory>
#include <unordered_map>

using namespace snug::sim;

namespace {
constexpr uint64_t kThreadMask = 0x7ff, kWarpReaders = kMaxThreads, kManyThreads = kMaxThreads + kMaxThreads / kLanes,
                   kPending = kThreadMask, kManyBlocks = 1 << 11, kAtomicBit = 1 << 12;
constexpr int kTimeShift = 13;
constexpr int kPageBits = 12, kCoarse = 2; // bytes of a cell: 1 << kCoarse at first

struct Cell {
  uint64_t write = 0, read = 0;
};
struct Page {
  int grain = kCoarse;
  std::unique_ptr<Cell[]> cells{new Cell[(size_t(1) << kPageBits) >> kCoarse]};

  void refine(int to) {
    size_t count = (size_t(1) << kPageBits) >> to;
    std::unique_ptr<Cell[]> finer(new Cell[count]);
    for (size_t i = 0; i < count; ++i)
      finer[i] = cells[i >> (grain - to)];
    cells = std::move(finer);
    grain = to;
  }
};

struct Slot {
  uintptr_t number = 0;
  Page *page = nullptr;
};
Slot slots[4096];
std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;

Page &pageOf(uintptr_t address) {
  uintptr_t number = address >> kPageBits;
  Slot &slot = slots[number % std::size(slots)];
  if (!slot.page || slot.number != number) {
    std::unique_ptr<Page> &page = pages[number];
    if (!page)
      page = std::make_unique<Page>();
    slot = {number, page.get()};
  }
  return *slot.page;
}

// Cells of the bytes, one after the other.
template <class Visit> void forCells(const void *address, uint32_t bytes, Visit visit) {
  auto at = reinterpret_cast<uintptr_t>(address);
  while (bytes != 0) {
    uint32_t offset = at & ((1u << kPageBits) - 1), count = std::min(bytes, (1u << kPageBits) - offset);
    Page &page = pageOf(at);
    if (int fits = __builtin_ctz(offset | count | 1u << kCoarse); fits < page.grain)
      page.refine(fits);
    Cell *cell = &page.cells[offset >> page.grain];
    for (uint32_t i = 0; i < count >> page.grain; ++i)
      if (!visit(cell[i]))
        return;
    at += count;
    bytes -= count;
  }
}

template <Kind kind> struct Check {
  static constexpr bool isAtomic = kind == Kind::Atomic, reads = kind == Kind::Read || kind == Kind::ReadConstant;
  Thread &thread;
  const Site *site;
  bool isShared;
  uint64_t fresh; // words below it are old
  uint64_t me;

  Check(Thread &thread, const Site *site, bool isShared) : thread(thread), site(site), isShared(isShared) {
    const Clock &clock = machine.clock;
    fresh = (isShared ? clock.block : clock.launch) << kTimeShift;
    me = clock.now << kTimeShift | static_cast<uint64_t>(thread.linear);
  }

  // Whether what `word` names is ordered before this access, or is of this thread itself.
  bool isOrdered(uint64_t word) const {
    const Clock &clock = machine.clock;
    uint64_t when = word >> kTimeShift, who = word & kThreadMask;
    if (word < fresh || (who == uint64_t(thread.linear) && when >= clock.block && !(word & kManyBlocks)))
      return true;
    if (when < clock.block || word & kManyBlocks)
      return false;
    uint64_t warp = who < kWarpReaders ? who / kLanes : who - kWarpReaders;
    bool isOwnWarp = who < kManyThreads && warp == uint64_t(thread.warp);
    return when < (isOwnWarp ? std::max(clock.blockBarrier, clock.warpBarrier[thread.warp]) : clock.blockBarrier);
  }

  // This access besides what `word` names.
  uint64_t merge(uint64_t word) const {
    if (word < fresh)
      return me;
    if (word >> kTimeShift < machine.clock.block || word & kManyBlocks)
      return me | kManyBlocks;
    if (isOrdered(word))
      return me;
    uint64_t who = word & kThreadMask;
    uint64_t warp = who < kWarpReaders ? who / kLanes : who - kWarpReaders;
    bool isOwnWarp = who < kManyThreads && warp == uint64_t(thread.warp);
    return (me & ~kThreadMask) | (isOwnWarp ? kWarpReaders + warp : kManyThreads);
  }

  std::string who(uint64_t word) const {
    const Clock &clock = machine.clock;
    if (word & kManyBlocks)
      return "other blocks";
    uint64_t who = word & kThreadMask;
    std::string threads = who < kWarpReaders   ? threadName(static_cast<int>(who))
                          : who < kManyThreads ? "lanes of warp " + std::to_string(who - kWarpReaders)
                                               : "other threads";
    uint64_t when = word >> kTimeShift;
    if (when >= clock.block)
      return threads + " of this block";
    auto block = std::upper_bound(clock.blocks.begin(), clock.blocks.end(), when) - clock.blocks.begin() - 1;
    return threads + " of block " + std::to_string(block);
  }

  bool race(const char *what, uint64_t word) const {
    const char *mine = kind == Kind::Write ? "writes" : kind == Kind::Atomic ? "atomic access" : "reads";
    report("race", thread, site, "%s what %s %s with no barrier between them", mine, who(word).c_str(), what);
    return false;
  }

  // False: reported.
  bool visit(Cell &cell) const {
    bool isUnwritten = cell.write < fresh;
    bool ownWrite = isUnwritten || cell.write == me, ownRead = cell.read < fresh || cell.read == me;
    // The cases that nearly all accesses are.
    if (kind == Kind::Write && ownWrite && ownRead) {
      cell.write = me;
      return true;
    }
    if (kind == Kind::Read && ownRead && (isUnwritten ? !isShared : ownWrite)) {
      cell.read = me;
      return true;
    }
    if (kind == Kind::ReadConstant && isUnwritten && !isShared) {
      cell.read = me | kManyBlocks; // no one may write it in this launch
      return true;
    }
    if (cell.write >= fresh && (cell.write & kThreadMask) == kPending) {
      report("missing-wait", thread, site, "touches what an asynchronous copy brings that nobody waited for yet");
      return false;
    }
    if (reads && isShared && isUnwritten) {
      report("uninitialised", thread, site, "reads shared memory that the block has not written yet");
      cell.read = merge(cell.read); // a later write shows that a barrier is missing
      return false;
    }
    if (kind == Kind::ReadConstant && cell.write >= fresh) {
      report("race", thread, site, "reads through a parameter of constant memory what %s wrote in the same launch",
             who(cell.write).c_str());
      return false;
    }
    if (!ownWrite && !(isAtomic && cell.write & kAtomicBit) && !isOrdered(cell.write))
      return race("wrote", cell.write);
    if (reads) {
      cell.read = cell.read == me ? me : merge(cell.read);
      return true;
    }
    if (!ownRead && !isOrdered(cell.read))
      return race("read", cell.read);
    cell.write = isAtomic ? merge(cell.write & kAtomicBit ? cell.write : 0) | kAtomicBit : me;
    return true;
  }
};

std::string describe(const Range &range, const char *address) {
  return "offset " + std::to_string(address - range.begin) + " of " + range.name + " (" +
         std::to_string(range.end - range.begin) + " bytes)";
}

const Range *rangeOf(int32_t object, const void *address, bool isShared) {
  if (object == kDynamicShared)
    return &machine.dynamicShared;
  if (object >= kFirstShared)
    return &machine.shared[object - kFirstShared];
  if (object >= kFirstParam)
    return &machine.paramRanges[object];
  const std::vector<Range> &ranges = isShared ? machine.shared : machine.views;
  for (const Range &range : ranges)
    if (range.holds(address))
      return &range;
  if (isShared && machine.dynamicShared.holds(address))
    return &machine.dynamicShared;
  if (!isShared)
    for (const Range &range : machine.paramRanges)
      if (range.holds(address))
        return &range;
  return nullptr;
}
} // namespace

void snug::sim::access(Thread &thread, const Site *site, const void *address, uint32_t bytes, uint32_t align, int32_t object,
                       Kind kind) {
  auto at = static_cast<char *>(const_cast<void *>(address));
  bool isShared = at >= sharedArena() && at < sharedArena() + sharedArenaBytes();
  const Range *range = rangeOf(object, address, isShared);
  const char *verb = kind == Kind::Write ? "a write" : kind == Kind::Atomic ? "an atomic access" : "a read";
  if (!range || at < range->begin || at + bytes > range->end) {
    report("out-of-bounds", thread, site, "%s of %u bytes at %s", verb, bytes,
           range ? describe(*range, at).c_str() : isShared ? "shared memory between buffers" : "no memory of the launch");
    stop();
  }
  if (reinterpret_cast<uintptr_t>(at) & (align - 1)) {
    report("misaligned", thread, site, "%s of %u bytes, which needs a multiple of %u, at %s", verb, bytes, align,
           describe(*range, at).c_str());
    stop();
  }
  bool reads = kind == Kind::Read || kind == Kind::ReadConstant;
  if (!reads && !range->isWritable) {
    report("read-only", thread, site, "%s at %s", verb, describe(*range, at).c_str());
    stop();
  }
  if ((++machine.accesses & 0xffff) == 0 && std::chrono::steady_clock::now() > machine.deadline) {
    report("endless", thread, site, "the launch takes too long; a block never waits for what a later one does");
    stop();
  }
  if (machine.isProfiled)
    countAccess(thread, site, reinterpret_cast<uintptr_t>(at), bytes, isShared, !reads);
  auto visit = [&](const auto &check) { forCells(at, bytes, [&](Cell &cell) { return check.visit(cell); }); };
  switch (kind) {
  case Kind::Read:
    return visit(Check<Kind::Read>(thread, site, isShared));
  case Kind::ReadConstant:
    return visit(Check<Kind::ReadConstant>(thread, site, isShared));
  case Kind::Write:
    return visit(Check<Kind::Write>(thread, site, isShared));
  case Kind::Atomic:
    return visit(Check<Kind::Atomic>(thread, site, isShared));
  }
}

void snug::sim::markPending(const void *address, uint32_t bytes) {
  forCells(address, bytes, [](Cell &cell) {
    cell.write = machine.clock.now << kTimeShift | kPending;
    return true;
  });
}

void snug::sim::markWritten(const Thread &thread, const void *address, uint32_t bytes) {
  forCells(address, bytes, [&](Cell &cell) {
    cell.write = machine.clock.now << kTimeShift | static_cast<uint64_t>(thread.linear);
    return true;
  });
}

namespace {
void check(Context *context, const Site *site, void *address, Kind kind) {
  access(static_cast<Thread &>(*context), site, address, site->values[0], site->values[1], site->values[2], kind);
}
} // namespace

void snug::sim::hookRead(Context *context, const Site *site, void *address) { check(context, site, address, Kind::Read); }
void snug::sim::hookReadConstant(Context *context, const Site *site, void *address) {
  check(context, site, address, Kind::ReadConstant);
}
void snug::sim::hookWrite(Context *context, const Site *site, void *address) { check(context, site, address, Kind::Write); }
void snug::sim::hookAtomic(Context *context, const Site *site, void *address) { check(context, site, address, Kind::Atomic); }

void snug::sim::hookIndex(Context *context, const Site *site, int64_t index, int64_t extent) {
  std::string last = site->values[1] > 1 ? " to " + std::to_string(index + site->values[1] - 1) : "";
  report("out-of-bounds", static_cast<Thread &>(*context), site, "index %lld%s in dim %d, which has %lld",
         static_cast<long long>(index), last.c_str(), site->values[0], static_cast<long long>(extent));
  stop();
}
