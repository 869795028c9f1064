// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The threads of a block take turns: one runs until it waits for others or ends.
#include "test/gpu/sim/Machine.h"
#include <cstdlib>
#include <cstring>

using namespace snug::sim;

namespace {
void runThread(Thread &thread) {
  machine.kernel->entry(&thread, machine.params);
  finishCopies(thread);
  thread.status = Status::Done;
}

// The life of a fiber: one thread, where threads wait for each other; all of them one after the other, where they do not.
[[noreturn]] void runOne() {
  Thread &thread = *machine.current;
  runThread(thread);
  switchFiber(thread.fiber, machine.scheduler);
  abort();
}
[[noreturn]] void runAll() {
  for (Thread &thread : machine.threads) {
    machine.current = &thread;
    runThread(thread);
  }
  switchFiber(machine.threads.front().fiber, machine.scheduler);
  abort();
}

// Nobody can run, and not because all are at one barrier: says who waits for whom.
void reportStall() {
  auto where = [](const Thread &thread) -> std::string {
    return thread.status == Status::Done ? "has left the kernel" : std::string("waits in ") + thread.site->location;
  };
  for (const Thread &thread : machine.threads) {
    if (thread.status != Status::Waiting || thread.hook == kBarrier)
      continue;
    for (int lane = 0; lane < kLanes; ++lane) {
      if (!(thread.mask >> lane & 1))
        continue;
      size_t linear = thread.linear - thread.lane + lane;
      if (linear >= machine.threads.size())
        return report("divergence", thread, thread.site, "lane %d of the warp does not exist, in a block of %zu threads",
                      lane, machine.threads.size());
      const Thread &other = machine.threads[linear];
      if (other.status == Status::Done || other.site != thread.site || other.mask != thread.mask)
        return report("divergence", thread, thread.site, "lane %d of the warp takes no part: it %s%s", lane,
                      where(other).c_str(), other.site == thread.site ? ", with another mask of lanes" : "");
    }
  }
  const Thread *first = nullptr;
  for (const Thread &thread : machine.threads)
    if (!first && thread.status == Status::Waiting)
      first = &thread;
  for (const Thread &thread : machine.threads)
    if (thread.status == Status::Done || thread.site != first->site)
      return report("divergence", *first, first->site, "%s %s", threadName(thread.linear).c_str(), where(thread).c_str());
}

bool allAtOneBarrier() {
  const Thread &first = machine.threads.front();
  for (const Thread &thread : machine.threads)
    if (thread.status != Status::Waiting || thread.hook != kBarrier || thread.site != first.site)
      return false;
  return true;
}
} // namespace

void snug::sim::yield(Thread &thread) {
  thread.status = Status::Waiting;
  switchFiber(thread.fiber, machine.scheduler);
}

void snug::sim::runBlock() {
  bool waits = machine.kernel->waitsForOthers;
  for (Thread &thread : machine.threads) {
    thread.status = Status::Ready;
    thread.site = nullptr;
    thread.copies.clear();
    thread.group = 0;
    if (waits)
      prepareFiber(thread.fiber, thread.linear, runOne);
  }
  memset(machine.waitingLanes, 0, sizeof machine.waitingLanes);
  if (!waits) {
    Fiber &fiber = machine.threads.front().fiber;
    prepareFiber(fiber, 0, runAll);
    switchFiber(machine.scheduler, fiber);
    return;
  }
  for (;;) {
    bool someoneRan = false, someoneLives = false;
    for (Thread &thread : machine.threads) {
      if (thread.status == Status::Ready) {
        machine.current = &thread;
        switchFiber(machine.scheduler, thread.fiber);
        if (machine.isStopped)
          return;
        someoneRan = true;
      }
      someoneLives |= thread.status != Status::Done;
    }
    if (!someoneLives)
      return;
    if (someoneRan)
      continue;
    if (!allAtOneBarrier()) {
      reportStall();
      machine.isStopped = true;
      return;
    }
    machine.clock.blockBarrier = ++machine.clock.now;
    for (Thread &thread : machine.threads)
      thread.status = Status::Ready;
  }
}

void snug::sim::hookBarrier(Context *context, const Site *site) {
  Thread &thread = static_cast<Thread &>(*context);
  thread.hook = kBarrier;
  thread.site = site;
  thread.mask = 0;
  yield(thread);
}
