// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that lanes of a warp do together: all that take part come to the same op, and the last one does it for all.
#include "test/gpu/sim/Machine.h"
#include "test/gpu/sim/Fragments.h"
#include <algorithm>
#include <cmath>
#include <cstring>

using namespace snug::sim;

namespace {
// What the lanes of `mask` do together; lanes[l] is lane l.
using Perform = void (*)(Thread *lanes, uint32_t mask, const Site *site);

template <class Visit> void forLanes(uint32_t mask, Visit visit) {
  for (; mask; mask &= mask - 1)
    visit(__builtin_ctz(mask));
}

void meet(Thread &thread, const Site *site, Hook hook, uint32_t mask, Perform perform) {
  thread.hook = hook;
  thread.site = site;
  thread.mask = mask;
  if (!(mask >> thread.lane & 1)) {
    report("divergence", thread, site, "lane %d is none of the lanes %08x that take part", thread.lane, mask);
    stop();
  }
  Thread *lanes = &thread - thread.lane;
  uint32_t &waiting = machine.waitingLanes[thread.warp];
  waiting |= 1u << thread.lane;
  bool allHere = (waiting & mask) == mask;
  if (allHere)
    forLanes(mask, [&](int lane) { allHere &= lanes[lane].site == site && lanes[lane].mask == mask; });
  if (!allHere)
    return yield(thread);
  waiting &= ~mask;
  perform(lanes, mask, site);
  forLanes(mask, [&](int lane) { lanes[lane].status = Status::Ready; });
}

void performShuffle(Thread *lanes, uint32_t mask, const Site *site) {
  auto mode = static_cast<Shuffle>(site->values[0]);
  forLanes(mask, [&](int lane) {
    Thread &thread = lanes[lane];
    int offset = thread.offset & 31, clamp = thread.clamp & 31, segment = thread.clamp >> 8 & 31;
    int last = (lane & segment) | (clamp & ~segment), first = lane & segment, from = lane;
    bool isValid = false;
    switch (mode) {
    case Shuffle::Up:
      from = lane - offset;
      isValid = from >= last;
      break;
    case Shuffle::Down:
      from = lane + offset;
      isValid = from <= last;
      break;
    case Shuffle::Xor:
      from = lane ^ offset;
      isValid = from <= last;
      break;
    case Shuffle::Idx:
      from = first | (offset & ~segment);
      isValid = from <= last;
      break;
    }
    if (!isValid)
      from = lane;
    if (!(mask >> from & 1)) {
      report("divergence", thread, site, "takes the value of lane %d, which takes no part", from);
      from = lane;
    }
    thread.result = uint64_t(isValid) << 32 | lanes[from].value;
  });
}

void performVote(Thread *lanes, uint32_t mask, const Site *site) {
  uint32_t ballot = 0;
  forLanes(mask, [&](int lane) { ballot |= uint32_t(lanes[lane].value != 0) << lane; });
  uint32_t result = ballot;
  switch (static_cast<Vote>(site->values[0])) {
  case Vote::Any:
    result = ballot != 0;
    break;
  case Vote::All:
    result = ballot == mask;
    break;
  case Vote::Uni:
    result = ballot == 0 || ballot == mask;
    break;
  case Vote::Ballot:
    break;
  }
  forLanes(mask, [&](int lane) { lanes[lane].result = result; });
}

float asFloat(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

uint32_t reduceTwo(Reduce kind, uint32_t a, uint32_t b, bool keepsNan) {
  auto least = [](auto x, auto y) { return static_cast<uint32_t>(std::min(x, y)); };
  auto most = [](auto x, auto y) { return static_cast<uint32_t>(std::max(x, y)); };
  auto i = [](uint32_t x) { return static_cast<int32_t>(x); };
  switch (kind) {
  case Reduce::Add:
    return a + b;
  case Reduce::And:
    return a & b;
  case Reduce::Or:
    return a | b;
  case Reduce::Xor:
    return a ^ b;
  case Reduce::Max:
    return most(i(a), i(b));
  case Reduce::Min:
    return least(i(a), i(b));
  case Reduce::UMax:
    return most(a, b);
  case Reduce::UMin:
    return least(a, b);
  case Reduce::FMin:
  case Reduce::FMax: {
    float x = asFloat(a), y = asFloat(b);
    if (std::isnan(x) || std::isnan(y))
      return std::isnan(x) == keepsNan ? a : b;
    return (x < y) == (kind == Reduce::FMin) ? a : b;
  }
  }
  return a;
}

void performReduce(Thread *lanes, uint32_t mask, const Site *site) {
  auto kind = static_cast<Reduce>(site->values[0]);
  uint32_t sum = 0;
  bool isFirst = true;
  forLanes(mask, [&](int lane) {
    uint32_t value = lanes[lane].value & (site->values[1] ? 0x7fffffffu : ~0u);
    sum = isFirst ? value : reduceTwo(kind, sum, value, site->values[2] != 0);
    isFirst = false;
  });
  forLanes(mask, [&](int lane) { lanes[lane].result = sum; });
}

void performLdMatrix(Thread *lanes, uint32_t, const Site *site) {
  const void *rows[kLanes];
  void *results[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    rows[lane] = lanes[lane].fragments[0];
    results[lane] = lanes[lane].fragments[1];
  }
  loadMatrices(site->values[0], site->values[1] != 0, rows, results);
}

void performMma(Thread *lanes, uint32_t, const Site *site) {
  Fragments fragments;
  for (int lane = 0; lane < kLanes; ++lane) {
    fragments.a[lane] = lanes[lane].fragments[0];
    fragments.b[lane] = lanes[lane].fragments[1];
    fragments.c[lane] = lanes[lane].fragments[2];
    fragments.d[lane] = lanes[lane].fragments[3];
  }
  auto type = [&](int i) { return static_cast<Element>(site->values[i] & 0xff); };
  multiplyMatrices(site->values[2], type(3), type(4), type(5), site->values[5] >> 8 != 0, fragments);
}

void performBarrier(Thread *lanes, uint32_t mask, const Site *) {
  // Lanes that are not in the mask are ordered, too: what races with them only is not found.
  machine.clock.warpBarrier[lanes[__builtin_ctz(mask)].warp] = ++machine.clock.now;
}

constexpr uint32_t kAllLanes = ~0u;
} // namespace

void snug::sim::hookWarpBarrier(Context *context, const Site *site, uint32_t mask) {
  meet(static_cast<Thread &>(*context), site, kWarpBarrier, mask, performBarrier);
}

uint64_t snug::sim::hookShuffle(Context *context, const Site *site, uint32_t mask, uint32_t value, uint32_t offset,
                                uint32_t clamp) {
  Thread &thread = static_cast<Thread &>(*context);
  thread.value = value;
  thread.offset = offset;
  thread.clamp = clamp;
  meet(thread, site, kShuffle, mask, performShuffle);
  return thread.result;
}

uint32_t snug::sim::hookVote(Context *context, const Site *site, uint32_t mask, uint32_t predicate) {
  Thread &thread = static_cast<Thread &>(*context);
  thread.value = predicate;
  meet(thread, site, kVote, mask, performVote);
  return static_cast<uint32_t>(thread.result);
}

uint32_t snug::sim::hookReduce(Context *context, const Site *site, uint32_t mask, uint32_t value) {
  Thread &thread = static_cast<Thread &>(*context);
  thread.value = value;
  meet(thread, site, kReduce, mask, performReduce);
  return static_cast<uint32_t>(thread.result);
}

void snug::sim::hookLdMatrix(Context *context, const Site *site, void *row, int32_t object, void *result) {
  Thread &thread = static_cast<Thread &>(*context);
  if (thread.lane < 8 * site->values[0]) // the addresses of the other lanes are not used
    access(thread, site, row, 16, 16, object, Kind::Read);
  thread.fragments[0] = row;
  thread.fragments[1] = result;
  meet(thread, site, kLdMatrix, kAllLanes, performLdMatrix);
}

void snug::sim::hookMma(Context *context, const Site *site, void *a, void *b, void *c, void *d) {
  Thread &thread = static_cast<Thread &>(*context);
  void *all[] = {a, b, c, d};
  std::copy(std::begin(all), std::end(all), thread.fragments);
  meet(thread, site, kMma, kAllLanes, performMma);
}
