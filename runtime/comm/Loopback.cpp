// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ranks are threads of one process, which read and write each other's buffers between two barriers.

#include "runtime/comm/Combine.h"
#include "runtime/comm/Comm.h"

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>

using namespace snug;
using namespace snug::comm;
using Clock = std::chrono::steady_clock;

namespace {
struct Call {
  const snug_collective_info *info;
  const void *send;
  void *recv;
  int64_t count;
};

// Ranks that meet; all but the sizes is guarded by Hub::mutex, or written between barriers.
struct Group {
  explicit Group(std::vector<uint32_t> ranks)
      : members(std::move(ranks)), calls(members.size()), sends(members.size() * members.size()), arrived(members.size()) {}

  uint32_t size() const { return uint32_t(members.size()); }

  std::vector<uint32_t> members; // in order of rank
  std::vector<Call> calls;       // of each member
  std::vector<const void *> sends; // [member][size()]: room for the addresses that it combines from
  std::vector<char> arrived;
  uint32_t numArrived = 0;
  uint64_t meetings = 0;
};

// What the ranks share.
struct Hub {
  explicit Hub(uint32_t size) : lost(size), colors(size) {}

  std::mutex mutex;
  std::condition_variable changed;
  std::string failure;         // the first, which all get
  std::vector<char> lost;      // ranks that left, or were waited for in vain
  std::vector<uint32_t> colors; // of the split that is being made
  std::map<uint32_t, std::shared_ptr<Group>> made; // by that split, by color
};

struct Member {
  std::shared_ptr<Group> group;
  uint32_t place;
};

// In snug_pending.
struct Started {
  Member *member;
  Call call;
};

class Rank {
public:
  Rank(std::shared_ptr<Hub> hub, std::shared_ptr<Group> all, uint32_t rank)
      : hub(std::move(hub)), all{std::move(all), rank} {}

  const char *split(uint32_t color, uint64_t timeoutMs, void **outGroup);
  const char *collective(Member &member, const Call &call, uint64_t timeoutMs);
  bool isLost(uint32_t other) {
    std::lock_guard<std::mutex> lock(hub->mutex);
    return hub->lost[other];
  }
  void leave() {
    std::lock_guard<std::mutex> lock(hub->mutex);
    hub->lost[all.place] = true;
    hub->changed.notify_all();
  }

  static Rank &of(void *state) { return *static_cast<Rank *>(state); }
  Member &member(void *group) { return group ? *static_cast<Member *>(group) : all; }

private:
  const char *meet(Member &member, uint64_t timeoutMs);
  const char *fail(const std::string &why);
  void meetForSure(Member &member);
  static void move(const Group &group, uint32_t place);
  static void combine(Group &group, uint32_t place);

  std::shared_ptr<Hub> hub;
  Member all;
};
} // namespace

// Under the mutex. Text of the hub's, which is written once.
const char *Rank::fail(const std::string &why) {
  if (hub->failure.empty())
    hub->failure = why;
  hub->changed.notify_all();
  return hub->failure.c_str();
}

// Waits until all of the group have come, or says why they never will. Once they have, all go on.
const char *Rank::meet(Member &member, uint64_t timeoutMs) {
  Group &group = *member.group;
  std::unique_lock<std::mutex> lock(hub->mutex);
  if (!hub->failure.empty())
    return hub->failure.c_str();
  uint64_t meeting = group.meetings;
  group.arrived[member.place] = true;
  if (++group.numArrived == group.size()) {
    std::fill(group.arrived.begin(), group.arrived.end(), false);
    group.numArrived = 0;
    ++group.meetings;
    hub->changed.notify_all();
    return nullptr;
  }
  auto deadline = Clock::now() + std::chrono::milliseconds(timeoutMs);
  for (bool isLate = false;;) {
    if (group.meetings != meeting)
      return nullptr;
    if (!hub->failure.empty())
      return hub->failure.c_str();
    std::string missing;
    for (uint32_t i = 0; i < group.size(); ++i) {
      if (group.arrived[i])
        continue;
      std::string rank = std::to_string(group.members[i]);
      if (hub->lost[group.members[i]])
        return fail("rank " + rank + " was lost: it destroyed its communicator");
      hub->lost[group.members[i]] = isLate;
      if (isLate)
        missing += (missing.empty() ? "" : ", ") + rank;
    }
    if (isLate)
      return fail("rank " + missing + " did not come within " + std::to_string(timeoutMs) + " ms");
    isLate = hub->changed.wait_until(lock, deadline) == std::cv_status::timeout;
  }
}

// After a meeting nobody can get lost: all are in code of this file. Nothing ends early, as others use the buffers.
void Rank::meetForSure(Member &member) {
  Group &group = *member.group;
  std::unique_lock<std::mutex> lock(hub->mutex);
  uint64_t meeting = group.meetings;
  if (++group.numArrived == group.size()) {
    group.numArrived = 0;
    ++group.meetings;
    hub->changed.notify_all();
    return;
  }
  hub->changed.wait(lock, [&] { return group.meetings != meeting; });
}

const char *Rank::split(uint32_t color, uint64_t timeoutMs, void **outGroup) {
  hub->colors[all.place] = color; // each its own
  if (const char *failure = meet(all, timeoutMs))
    return failure;
  auto member = std::make_unique<Member>();
  {
    std::lock_guard<std::mutex> lock(hub->mutex);
    std::shared_ptr<Group> &group = hub->made[color];
    if (!group) {
      std::vector<uint32_t> ranks;
      for (uint32_t r = 0; r < hub->colors.size(); ++r)
        if (hub->colors[r] == color)
          ranks.push_back(r);
      group = std::make_shared<Group>(std::move(ranks));
    }
    member->group = group;
    auto &members = group->members;
    member->place = uint32_t(std::lower_bound(members.begin(), members.end(), all.place) - members.begin());
  }
  meetForSure(all);
  { // each drops its own, so that the next split begins with none
    std::lock_guard<std::mutex> lock(hub->mutex);
    hub->made.erase(color);
  }
  meetForSure(all);
  *outGroup = member.release();
  return nullptr;
}

// Member `place` does its share: of what is combined for all, a range of the elements, in the buffers of all.
void Rank::combine(Group &group, uint32_t place) {
  const Call &mine = group.calls[place];
  const snug_collective_info &info = *mine.info;
  CombineFn combine = combineFn(info.dtype, info.reduction);
  uint64_t bytes = elementBytes(info.dtype);
  const void **sends = &group.sends[size_t(place) * group.size()];
  auto from = [&](int64_t element) {
    for (uint32_t i = 0; i < group.size(); ++i)
      sends[i] = static_cast<const uint8_t *>(group.calls[i].send) + uint64_t(element) * bytes;
    return sends;
  };
  if (info.kind == SNUG_REDUCE_SCATTER) {
    combine(from(int64_t(place) * mine.count), group.size(), mine.recv, mine.count);
    return;
  }
  constexpr int64_t kBlock = 256; // elements, of at most 8 bytes
  uint8_t block[kBlock * 8];
  int64_t share = mine.count / group.size(), longer = mine.count % group.size();
  int64_t lo = share * place + std::min<int64_t>(place, longer), hi = lo + share + (place < longer);
  for (; lo < hi; lo += kBlock) {
    int64_t size = std::min(kBlock, hi - lo);
    combine(from(lo), group.size(), block, size);
    for (const Call &call : group.calls)
      memcpy(static_cast<uint8_t *>(call.recv) + uint64_t(lo) * bytes, block, uint64_t(size) * bytes);
  }
}

void Rank::move(const Group &group, uint32_t place) {
  const Call &mine = group.calls[place];
  uint64_t bytes = uint64_t(mine.count) * elementBytes(mine.info->dtype);
  if (bytes == 0)
    return;
  if (mine.info->kind == SNUG_SHIFT) {
    memcpy(mine.recv, group.calls[(place + group.size() - 1) % group.size()].send, bytes);
    return;
  }
  uint64_t from = mine.info->kind == SNUG_ALL_TO_ALL ? place * bytes : 0;
  for (uint32_t i = 0; i < group.size(); ++i)
    memcpy(static_cast<uint8_t *>(mine.recv) + i * bytes, static_cast<const uint8_t *>(group.calls[i].send) + from, bytes);
}

const char *Rank::collective(Member &member, const Call &call, uint64_t timeoutMs) {
  Group &group = *member.group;
  group.calls[member.place] = call;
  if (const char *failure = meet(member, timeoutMs))
    return failure;
  bool isSame = true;
  for (const Call &other : group.calls)
    isSame = isSame && other.info->kind == call.info->kind && other.count == call.count &&
             other.info->reduction == call.info->reduction && memcmp(&other.info->dtype, &call.info->dtype, sizeof(snug_dtype)) == 0;
  if (!isSame) { // all members see it, and touch nothing
    std::lock_guard<std::mutex> lock(hub->mutex);
    return fail("the ranks do not do the same: their collectives differ in kind, type or size");
  }
  if (combines(call.info->kind))
    combine(group, member.place);
  else
    move(group, member.place);
  meetForSure(member);
  return nullptr;
}

std::vector<snug_transport> comm::openLoopback(uint32_t size) {
  auto hub = std::make_shared<Hub>(size);
  std::vector<uint32_t> ranks(size);
  for (uint32_t r = 0; r < size; ++r)
    ranks[r] = r;
  auto all = std::make_shared<Group>(std::move(ranks));
  std::vector<std::unique_ptr<Rank>> states;
  for (uint32_t r = 0; r < size; ++r)
    states.push_back(std::make_unique<Rank>(hub, all, r));
  std::vector<snug_transport> transports(size);
  for (uint32_t r = 0; r < size; ++r) {
    snug_transport &transport = transports[r];
    transport = {SNUG_TRANSPORT_ABI_VERSION, sizeof(snug_transport), "loopback", states[r].release(), r, size,
                 nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
    transport.split = [](void *state, uint32_t color, uint64_t timeoutMs, void **outGroup) {
      return Rank::of(state).split(color, timeoutMs, outGroup);
    };
    transport.free_group = [](void *, void *group) { delete static_cast<Member *>(group); };
    transport.collective = [](void *state, void *group, const snug_collective_info *info, const void *send, void *recv,
                              int64_t count, uint64_t timeoutMs) {
      Rank &rank = Rank::of(state);
      return rank.collective(rank.member(group), {info, send, recv, count}, timeoutMs);
    };
    // What is in flight is done at its wait: whoever looks at it before then, or writes over it, is found out.
    transport.start = [](void *state, void *group, const snug_collective_info *info, const void *send, void *recv, int64_t count,
                         uint64_t, snug_pending *pending) -> const char * {
      static_assert(sizeof(Started) <= sizeof(snug_pending));
      new (pending) Started{&Rank::of(state).member(group), {info, send, recv, count}};
      return nullptr;
    };
    transport.test = [](void *, snug_pending *, int *done) -> const char * {
      *done = 0;
      return nullptr;
    };
    transport.wait = [](void *state, snug_pending *pending, uint64_t timeoutMs) {
      auto *started = reinterpret_cast<Started *>(pending);
      return Rank::of(state).collective(*started->member, started->call, timeoutMs);
    };
    transport.is_lost = [](void *state, uint32_t rank) { return int(Rank::of(state).isLost(rank)); };
    transport.destroy = [](void *state, int) {
      Rank::of(state).leave();
      delete &Rank::of(state);
    };
  }
  return transports;
}
