// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What stands in for NCCL in tests: libnccl.so.2, between devices of the fake driver and threads of one process. What a communicator
// does is done when the streams of all of its ranks have come to it; written from NCCL's documentation ("Collective operations", "Group
// calls", "Fault tolerance"). A fault is what would hang, or give wrong data: ranks that do not do the same in the same order, buffers
// that are not on the communicator's device or overlap otherwise than in place, collectives of a device on two streams
// with nothing that orders them, a use after an abort, the same device twice.
//
// Environment, beside that of the driver (whose SNUG_FAKE_CUDA_FAIL and SNUG_FAKE_CUDA_LOG have these functions, too):
//   SNUG_FAKE_NCCL_BYTES=N      each communicator takes N bytes of its device, which only cuMemGetInfo sees
//   SNUG_FAKE_NCCL_VERSION=N

#include "runtime/comm/Combine.h"
#include "runtime/cuda/Nccl.h"
#include "test/gpu/fake/Fake.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <utility>

using namespace snug;
using namespace snug::fake;

namespace {
enum class Kind { AllReduce, ReduceScatter, AllGather, Exchange };

// One message of a group, or a collective.
struct Message {
  bool isSend;
  void *buffer;
  size_t bytes;
  int peer;
};

struct Given { // what one rank gave
  Kind kind;
  const uint8_t *send = nullptr;
  uint8_t *recv = nullptr;
  size_t count = 0;
  NcclType type{};
  NcclReduction reduction{};
  std::vector<Message> messages = {};
};

struct Clique;
struct Member {
  Clique *clique;
  int rank, device;
  uint64_t made = 0; // calls so far
  bool isAborted = false;
  uint64_t bytes = 0;
};

// One collective of all ranks.
struct Round {
  std::vector<Given> calls;
  std::vector<uint8_t> hasCall, hasCome;
  std::vector<FakeStream *> streams;
  bool isDone = false, isWrong = false;
};

struct Clique {
  std::vector<Member *> members;
  size_t joined = 0;
  std::map<uint64_t, std::shared_ptr<Round>> rounds; // by number, those that are not done
};

std::map<std::string, std::shared_ptr<Clique>> &cliques() {
  static auto *all = new std::map<std::string, std::shared_ptr<Clique>>;
  return *all;
}

// What the ranks of a device have still to come to, in the order in which that was put into its streams.
std::map<int, std::deque<std::shared_ptr<Round>>> &pending() {
  static auto *all = new std::map<int, std::deque<std::shared_ptr<Round>>>;
  return *all;
}

const size_t kSizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2}; // of elements, by NcclType

std::string text(const Member &member) { return "rank " + std::to_string(member.rank) + " of a communicator"; }
} // namespace

//===-- What a round does -----------------------------------------------------------------------------------------===//

static snug_dtype dtypeOf(NcclType type) {
  static const snug_dtype known[] = {{0, 8, 1}, {1, 8, 1}, {0, 32, 1}, {1, 32, 1}, {0, 64, 1}, {1, 64, 1}, {2, 16, 1}, {2, 32, 1}, {2, 64, 1}, {4, 16, 1}};
  return known[type];
}

static void combineAll(Round &round) {
  static const uint32_t reductions[] = {SNUG_REDUCE_SUM, SNUG_REDUCE_PROD, SNUG_REDUCE_MAX, SNUG_REDUCE_MIN};
  const Given &first = round.calls.front();
  size_t ranks = round.calls.size(), bytes = kSizes[first.type], parts = first.kind == Kind::ReduceScatter ? ranks : 1;
  comm::CombineFn combine = comm::combineFn(dtypeOf(first.type), reductions[first.reduction]);
  std::vector<uint8_t> result(first.count * parts * bytes);
  std::vector<const void *> sends;
  for (const Given &call : round.calls)
    sends.push_back(call.send);
  combine(sends.data(), uint32_t(ranks), result.data(), int64_t(first.count * parts));
  for (size_t r = 0; r < ranks; ++r)
    memcpy(round.calls[r].recv, result.data() + (parts > 1 ? r * first.count * bytes : 0), first.count * bytes);
}

static void gatherAll(Round &round) {
  size_t bytes = round.calls.front().count * kSizes[round.calls.front().type];
  std::vector<uint8_t> result;
  for (const Given &call : round.calls)
    result.insert(result.end(), call.send, call.send + bytes);
  for (const Given &call : round.calls)
    memcpy(call.recv, result.data(), result.size());
}

// Messages between two ranks in the order in which they were given.
static bool exchangeAll(Round &round) {
  std::vector<std::pair<void *, std::vector<uint8_t>>> arriving;
  size_t sends = 0;
  for (size_t to = 0; to < round.calls.size(); ++to) {
    std::map<int, size_t> taken;
    for (const Message &message : round.calls[to].messages) {
      sends += message.isSend;
      if (message.isSend)
        continue;
      const Message *found = nullptr;
      size_t number = taken[message.peer]++;
      for (const Message &other : round.calls[size_t(message.peer)].messages)
        if (other.isSend && other.peer == int(to) && number-- == 0)
          found = &other;
      if (!found || found->bytes != message.bytes)
        return false;
      auto *from = static_cast<const uint8_t *>(found->buffer);
      arriving.emplace_back(message.buffer, std::vector<uint8_t>(from, from + found->bytes));
    }
  }
  for (auto &[to, content] : arriving)
    memcpy(to, content.data(), content.size());
  return sends == arriving.size();
}

static bool isAlike(const Given &a, const Given &b) {
  return a.kind == b.kind && a.count == b.count && a.type == b.type && a.reduction == b.reduction;
}

static Result perform(Round &round) {
  round.isDone = true;
  for (const Given &call : round.calls)
    round.isWrong |= !isAlike(call, round.calls.front());
  if (!round.isWrong) {
    state().memory.open();
    switch (round.calls.front().kind) {
    case Kind::AllReduce:
    case Kind::ReduceScatter: combineAll(round); break;
    case Kind::AllGather: gatherAll(round); break;
    case Kind::Exchange: round.isWrong = !exchangeAll(round); break;
    }
    round.isWrong |= !state().memory.close();
  }
  if (round.isWrong)
    reportFault("the ranks of a communicator do not do the same: their collectives differ in kind, type, size or peers");
  return round.isWrong ? kLaunchFailed : kSuccess;
}

namespace {
struct RoundOfMember : Meeting {
  RoundOfMember(std::shared_ptr<Round> round, Member *member) : round(std::move(round)), member(member), clique(*member->clique), rank(size_t(member->rank)) {}
  Result arrive() override {
    auto &ofDevice = pending()[member->device];
    auto at = std::find(ofDevice.begin(), ofDevice.end(), round);
    if (at != ofDevice.end() && at != ofDevice.begin())
      reportFault("nothing orders two collectives of a device: on another one they may be done the other way round, and wait for each other");
    if (at != ofDevice.end())
      ofDevice.erase(at);
    round->hasCome[rank] = true;
    bool isLast = std::all_of(round->hasCome.begin(), round->hasCome.end(), [](uint8_t has) { return has != 0; });
    // Without a rank that has come and then aborted, whose buffers may be gone, the others wait until they abort, too.
    bool hasAll = std::none_of(clique.members.begin(), clique.members.end(), [](const Member *other) { return other->isAborted; });
    return isLast && hasAll ? perform(*round) : Result(kSuccess);
  }
  // An abort ends what is on the device, too.
  bool isDone() const override { return round->isDone || member->isAborted; }
  FakeStream *next() const override {
    for (size_t r = 0; r < round->streams.size(); ++r) {
      FakeStream *stream = round->streams[r];
      auto isIt = [&](const Work &work) {
        auto *other = dynamic_cast<RoundOfMember *>(work.meeting.get());
        return other && other->round == round;
      };
      if (stream && !round->hasCome[r] && state().streams.count(stream) && std::any_of(stream->queue.begin(), stream->queue.end(), isIt))
        return stream;
    }
    return nullptr;
  }
  std::shared_ptr<Round> round;
  Member *member; // never freed: an aborted one is still asked
  Clique &clique;
  size_t rank;
};
} // namespace

// The next round of the rank, with what it gives.
static std::shared_ptr<Meeting> join(Member *member, const Given &call, FakeStream &stream) {
  Clique &clique = *member->clique;
  uint64_t number = member->made++;
  std::shared_ptr<Round> &round = clique.rounds[number];
  size_t size = clique.members.size(), rank = size_t(member->rank);
  if (!round) {
    round = std::make_shared<Round>();
    round->calls.resize(size);
    round->hasCall.resize(size);
    round->hasCome.resize(size);
    round->streams.resize(size);
  }
  round->calls[rank] = call;
  round->hasCall[rank] = true;
  round->streams[rank] = &stream;
  pending()[member->device].push_back(round);
  auto meeting = std::make_shared<RoundOfMember>(round, member);
  if (std::all_of(round->hasCall.begin(), round->hasCall.end(), [](uint8_t has) { return has != 0; }))
    clique.rounds.erase(number);
  return meeting;
}

//===-- The API ---------------------------------------------------------------------------------------------------===//

#define API extern "C" __attribute__((visibility("default"))) NcclResult

namespace {
// Of NcclGroupStart: what it has so far, of one communicator and one stream at a time.
struct Open {
  Member *member;
  FakeStream *stream;
  Given call;
};
thread_local int depth = 0;
thread_local std::vector<Open> open;
} // namespace

static NcclResult toNccl(Result result) { return result == kSuccess ? kNcclSuccess : 1; } // "unhandled CUDA error"

// Logged, and failing at will, as the driver's functions; those errors are NCCL's.
template <class Body> static NcclResult called(const char *function, Body &&body) {
  Call call(function);
  Result planned = call.refused(false);
  return call.done(planned != kSuccess ? planned : body(call));
}

// Whether a buffer is where it has to be.
static bool isThere(const Member &member, const void *buffer, size_t bytes) {
  const Allocation *found = bytes ? state().memory.find(buffer, bytes) : nullptr;
  if (bytes == 0 || (found && found->device == member.device))
    return true;
  reportFault("a buffer of " + text(member) + " is not in an allocation on its device");
  return false;
}

static bool isApart(const Member &member, const void *a, size_t aBytes, const void *b, size_t bBytes, const void *inPlace) {
  auto *first = static_cast<const uint8_t *>(a), *second = static_cast<const uint8_t *>(b);
  if (a == inPlace || first + aBytes <= second || second + bBytes <= first)
    return true;
  reportFault("buffers of " + text(member) + " overlap");
  return false;
}

static NcclResult enqueueCall(Member *member, FakeStream &stream, const Given &call) {
  Work work{nullptr, nullptr};
  work.meet = [member, call](FakeStream &on) { return join(member, call, on); };
  return toNccl(enqueue(stream, std::move(work)));
}

static NcclResult collective(const char *function, Kind kind, const void *send, void *recv, size_t count, NcclType type, NcclReduction reduction,
                             NcclComm comm, Stream handle) {
  return called(function, [&](Call &call) -> NcclResult {
    auto *member = static_cast<Member *>(comm);
    FakeStream *stream = streamOf(handle);
    call.at("comm", comm).with("count", count).with("type", uint64_t(type)).at("stream", handle);
    if (!stream || stream->device != member->device || member->isAborted) {
      reportFault(text(*member) + (member->isAborted ? " is used after it was aborted" : " is used with a stream of another device"));
      return kNcclInvalidUsage;
    }
    if (count == 0)
      return kNcclSuccess;
    size_t bytes = count * kSizes[type], ranks = member->clique->members.size(), rank = size_t(member->rank);
    size_t sent = kind == Kind::ReduceScatter ? ranks * bytes : bytes, received = kind == Kind::AllGather ? ranks * bytes : bytes;
    const uint8_t *inPlace = static_cast<uint8_t *>(recv) + (kind == Kind::AllGather ? rank * bytes : 0);
    inPlace -= kind == Kind::ReduceScatter ? rank * bytes : 0;
    if (!isThere(*member, send, sent) || !isThere(*member, recv, received) || !isApart(*member, send, sent, recv, received, inPlace))
      return kNcclInvalidArgument;
    if (depth) {
      reportFault("a collective in a group: this stand-in has messages there only");
      return kNcclInvalidUsage;
    }
    return enqueueCall(member, *stream, {kind, static_cast<const uint8_t *>(send), static_cast<uint8_t *>(recv), count, type, reduction});
  });
}

API ncclAllReduce(const void *send, void *recv, size_t count, NcclType type, NcclReduction op, NcclComm comm, Stream stream) {
  return collective("ncclAllReduce", Kind::AllReduce, send, recv, count, type, op, comm, stream);
}
API ncclReduceScatter(const void *send, void *recv, size_t count, NcclType type, NcclReduction op, NcclComm comm, Stream stream) {
  return collective("ncclReduceScatter", Kind::ReduceScatter, send, recv, count, type, op, comm, stream);
}
API ncclAllGather(const void *send, void *recv, size_t count, NcclType type, NcclComm comm, Stream stream) {
  return collective("ncclAllGather", Kind::AllGather, send, recv, count, type, kNcclSum, comm, stream);
}

static NcclResult message(const char *function, bool isSend, void *buffer, size_t count, NcclType type, int peer, NcclComm comm, Stream handle) {
  return called(function, [&](Call &call) -> NcclResult {
    auto *member = static_cast<Member *>(comm);
    FakeStream *stream = streamOf(handle);
    size_t bytes = count * kSizes[type];
    call.at("comm", comm).with("bytes", bytes).with("peer", uint64_t(peer)).at("stream", handle);
    if (depth == 0 || !stream || stream->device != member->device || member->isAborted || peer < 0 || size_t(peer) >= member->clique->members.size()) {
      reportFault("a message of " + text(*member) + " is outside of a group, to nobody, on a stream of another device, or after an abort");
      return kNcclInvalidUsage;
    }
    if (!isThere(*member, buffer, bytes))
      return kNcclInvalidArgument;
    auto at = std::find_if(open.begin(), open.end(), [&](const Open &one) { return one.member == member && one.stream == stream; });
    if (at == open.end()) {
      Given fresh;
      fresh.kind = Kind::Exchange;
      at = open.insert(at, {member, stream, fresh});
    }
    for (const Message &other : at->call.messages)
      if ((!isSend || !other.isSend) && !isApart(*member, buffer, bytes, other.buffer, other.bytes, nullptr))
        return kNcclInvalidArgument;
    at->call.messages.push_back({isSend, buffer, bytes, peer});
    return kNcclSuccess;
  });
}

API ncclSend(const void *send, size_t count, NcclType type, int peer, NcclComm comm, Stream stream) {
  return message("ncclSend", true, const_cast<void *>(send), count, type, peer, comm, stream);
}
API ncclRecv(void *recv, size_t count, NcclType type, int peer, NcclComm comm, Stream stream) {
  return message("ncclRecv", false, recv, count, type, peer, comm, stream);
}

API ncclGroupStart() {
  return called("ncclGroupStart", [](Call &) { return ++depth, kNcclSuccess; });
}

API ncclGroupEnd() {
  return called("ncclGroupEnd", [](Call &) -> NcclResult {
    if (depth == 0)
      return kNcclInvalidUsage;
    NcclResult result = kNcclSuccess;
    if (--depth == 0)
      for (const Open &one : std::exchange(open, {}))
        if (result == kNcclSuccess)
          result = enqueueCall(one.member, *one.stream, one.call);
    return result;
  });
}

API ncclGetVersion(int *version) {
  *version = int(setting("SNUG_FAKE_NCCL_VERSION", 22809));
  return kNcclSuccess;
}

extern "C" __attribute__((visibility("default"))) const char *ncclGetErrorString(NcclResult result) {
  static const char *const texts[] = {"no error", "unhandled cuda error", "unhandled system error", "internal error", "invalid argument", "invalid usage",
                                      "remote process exited or there was a network error", "NCCL operation in progress"};
  return result >= 0 && result <= 7 ? texts[result] : "unknown result code";
}
extern "C" __attribute__((visibility("default"))) const char *ncclGetLastError(NcclComm) { return ""; }

API ncclGetUniqueId(NcclId *id) {
  return called("ncclGetUniqueId", [&](Call &) {
    static uint64_t next = 0;
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "clique %llu", static_cast<unsigned long long>(++next));
    return kNcclSuccess;
  });
}

API ncclCommInitRank(NcclComm *comm, int ranks, NcclId id, int rank) {
  return called("ncclCommInitRank", [&](Call &call) -> NcclResult {
    call.with("ranks", uint64_t(ranks)).with("rank", uint64_t(rank)).with("id", std::string(id.internal));
    if (forbidWhileCapturing() || currentDevice() < 0 || ranks < 1 || rank < 0 || rank >= ranks)
      return kNcclInvalidUsage;
    std::shared_ptr<Clique> &clique = cliques()[id.internal];
    if (!clique)
      clique = std::make_shared<Clique>();
    clique->members.resize(size_t(ranks));
    for (const Member *other : clique->members)
      if (other && (other->device == currentDevice() || other->rank == rank)) {
        reportFault("two ranks of a communicator have the same number, or the same device");
        return kNcclInvalidUsage;
      }
    auto *member = new Member{clique.get(), rank, currentDevice()};
    clique->members[size_t(rank)] = member;
    ++clique->joined;
    state().changed.notify_all();
    bool hasAll = state().changed.wait_for(state().mutex, std::chrono::seconds(60), [&] { return clique->joined == size_t(ranks); });
    if (!hasAll)
      return 2; // ncclSystemError
    member->bytes = setting("SNUG_FAKE_NCCL_BYTES", 0);
    state().libraries[member->device] += member->bytes;
    ++state().stats.handles;
    *comm = member;
    return kNcclSuccess;
  });
}

static NcclResult leave(const char *function, NcclComm comm, bool aborts) {
  return called(function, [&](Call &call) {
    call.at("comm", comm);
    auto *member = static_cast<Member *>(comm);
    if (member->isAborted) {
      reportFault(text(*member) + " is destroyed twice");
      return kNcclInvalidArgument;
    }
    if (!aborts)
      drainDevice();
    member->isAborted = true;
    pending()[member->device].clear();
    state().libraries[member->device] -= member->bytes;
    --state().stats.handles;
    state().changed.notify_all();
    return kNcclSuccess;
  });
}

API ncclCommDestroy(NcclComm comm) { return leave("ncclCommDestroy", comm, false); }
API ncclCommAbort(NcclComm comm) { return leave("ncclCommAbort", comm, true); }

static std::atomic<int> asyncError{0};

API ncclCommGetAsyncError(NcclComm, NcclResult *error) {
  *error = asyncError;
  return kNcclSuccess;
}

void snug_fake_nccl_fail(int error) { asyncError = error; }
