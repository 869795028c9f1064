// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The transport over MPI: rings for what is large (Ring.h), and its non-blocking collectives, which are tested until they are done,
// a process has ended, or time is up. Reductions are our own, so that elements mean the same on all transports; the order
// depends on the size of group and message alone.

#include "runtime/comm/Combine.h"
#include "runtime/comm/mpi/Exchange.h"
#include "runtime/comm/mpi/Ring.h"
#include "runtime/comm/mpi/Watch.h"
#include "snug/Transport.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdio>
#include <memory>
#include <mpi.h>
#include <new>
#include <sched.h>
#include <time.h>
#include <unistd.h>
#include <vector>

using namespace snug;
using namespace snug::comm;
using Clock = std::chrono::steady_clock;

namespace {
constexpr uint64_t kOpenTimeoutMs = 60000;
constexpr int64_t kMaxCount = INT_MAX;
constexpr int kFirstTag = 16; // of rings; those below are Exchange.cpp's

class Transport {
public:
  const char *open(const void *communicator, snug_transport &out);
  const char *split(uint32_t color, void **outGroup);
  const char *collective(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv, int64_t count,
                         uint64_t timeoutMs);
  // A collective in flight: one of MPI's, or a ring.
  struct Operation {
    MPI_Request request = MPI_REQUEST_NULL;
    Ring *ring = nullptr;
  };
  const char *begin(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv, int64_t count,
                    Operation &operation);
  const char *test(Operation &operation, bool &done, bool &moved);
  const char *wait(Operation &operation, uint64_t timeoutMs);
  const char *exchange(const uint8_t *peers, uint64_t bytes, uint64_t durationMs, uint64_t timeoutMs, uint64_t *messages,
                       double *seconds);
  void destroy(bool failed);

  static Transport &of(void *state) { return *static_cast<Transport *>(state); }

  MPI_Comm all = MPI_COMM_NULL;
  Watch watch;

private:
  const char *start(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv, int count,
                    MPI_Request &request);
  const char *checked(int code);

  std::vector<std::unique_ptr<Ring>> rings; // that nobody uses
  int numRings = 0;                         // that were started, which all ranks do in the same order

  char message[256] = {};
  bool ownsMpi = false, isCrowded = false;
};
} // namespace

static int openTransports = 0; // of those that need the MPI that we initialized

template <class Type, uint32_t reduction> static void combinePair(void *in, void *inout, int *count, MPI_Datatype *) {
  const void *parts[] = {in, inout};
  combine<Type, reduction>(parts, 2, inout, *count);
}

// Elements are moved as integers of their size: what they mean only our reductions know.
static MPI_Datatype datatype(uint64_t bytes) {
  switch (bytes) {
  case 1: return MPI_UINT8_T;
  case 2: return MPI_UINT16_T;
  case 4: return MPI_UINT32_T;
  case 8: return MPI_UINT64_T;
  default: return MPI_C_DOUBLE_COMPLEX; // 16: complex128
  }
}

const char *Transport::checked(int code) {
  if (code == MPI_SUCCESS)
    return nullptr;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  snprintf(message, sizeof(message), "MPI reports '%.*s'", int(std::min<size_t>(size_t(length), 200)), text);
  return message;
}

// Made at first use, once in a process.
static MPI_Op op(const snug_collective_info &info) {
  MPI_Op found = MPI_OP_NULL;
  visitType(info.dtype, [&](auto type) {
    using Type = decltype(type);
    static MPI_User_function *const functions[] = {&combinePair<Type, SNUG_REDUCE_SUM>, &combinePair<Type, SNUG_REDUCE_MAX>,
                                                   &combinePair<Type, SNUG_REDUCE_MIN>, &combinePair<Type, SNUG_REDUCE_PROD>};
    static MPI_Op made[] = {MPI_OP_NULL, MPI_OP_NULL, MPI_OP_NULL, MPI_OP_NULL};
    MPI_Op &mine = made[info.reduction & 3];
    if (mine == MPI_OP_NULL)
      MPI_Op_create(functions[info.reduction & 3], 1, &mine);
    found = mine;
  });
  return found;
}

const char *Transport::start(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv, int count,
                             MPI_Request &request) {
  MPI_Datatype type = datatype(elementBytes(info.dtype));
  switch (info.kind) {
  case SNUG_ALL_REDUCE:
    return checked(MPI_Iallreduce(send == recv ? MPI_IN_PLACE : send, recv, count, type, op(info), group, &request));
  case SNUG_REDUCE_SCATTER:
    return checked(MPI_Ireduce_scatter_block(send, recv, count, type, op(info), group, &request));
  case SNUG_ALL_GATHER:
    return checked(MPI_Iallgather(send, count, type, recv, count, type, group, &request));
  default:
    return checked(MPI_Ialltoall(send, count, type, recv, count, type, group, &request));
  }
}

const char *Transport::begin(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv, int64_t count,
                             Operation &operation) {
  constexpr int kTags = 1 << 14; // MPI promises 32767
  int size = 1;
  MPI_Comm_size(group, &size);
  if (!Ring::takes(info, size, count)) {
    if (count <= kMaxCount)
      return start(group, info, send, recv, int(count), operation.request);
    snprintf(message, sizeof(message), "MPI sends at most %lld elements at once, and %lld are to be sent",
             (long long)kMaxCount, (long long)count);
    return message;
  }
  if (rings.empty())
    rings.push_back(std::make_unique<Ring>());
  operation.ring = rings.back().release();
  rings.pop_back();
  return checked(operation.ring->start(group, info, send, recv, count, kFirstTag + numRings++ % kTags));
}

const char *Transport::test(Operation &operation, bool &done, bool &moved) {
  int isDone = 0;
  moved = false;
  const char *failure = operation.ring ? checked(operation.ring->step(done, moved))
                                       : checked(MPI_Test(&operation.request, &isDone, MPI_STATUS_IGNORE));
  done = !failure && (operation.ring ? done : isDone != 0);
  if (done && operation.ring) {
    rings.emplace_back(operation.ring);
    operation.ring = nullptr;
  }
  return failure;
}

// Spins a little, as most collectives are short, where each rank has a core; then lets others run.
const char *Transport::wait(Operation &operation, uint64_t timeoutMs) {
  using std::chrono::milliseconds;
  auto begin = Clock::now(), looked = begin, ended = Clock::time_point::max();
  for (;;) {
    bool done = false, moved = false;
    if (const char *failure = test(operation, done, moved))
      return failure;
    if (done)
      return nullptr;
    auto now = Clock::now();
    if (moved) // the next message may be there soon, and all others are alive
      begin = now;
    if (now - begin > milliseconds(timeoutMs)) {
      snprintf(message, sizeof(message), "%llu ms passed without an answer of all ranks", (unsigned long long)timeoutMs);
      return message;
    }
    // What a process sent before it ended may still be on its way.
    if (now > ended)
      return watch.describe(message, sizeof(message));
    if (now - looked > milliseconds(10)) {
      looked = now;
      if (ended == Clock::time_point::max() && watch.look())
        ended = now + milliseconds(100);
    }
    if (!isCrowded && now - begin < milliseconds(1)) {
      sched_yield();
      continue;
    }
    timespec pause = {0, 20000};
    nanosleep(&pause, nullptr);
  }
}

const char *Transport::collective(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv,
                                  int64_t count, uint64_t timeoutMs) {
  Operation operation;
  const char *failure = begin(group, info, send, recv, count, operation);
  return failure ? failure : wait(operation, timeoutMs); // of one that failed MPI may still write to the buffers: they stay
}

const char *Transport::split(uint32_t color, void **outGroup) {
  auto group = std::make_unique<MPI_Comm>(MPI_COMM_NULL);
  if (const char *failure = checked(MPI_Comm_split(all, int(color), 0, group.get())))
    return failure;
  *outGroup = group.release();
  return nullptr;
}

const char *Transport::open(const void *communicator, snug_transport &out) {
  int isFinalized = 0, isInitialized = 0, provided = 0, rank = 0, size = 0;
  MPI_Finalized(&isFinalized);
  if (isFinalized)
    return "it was finalized before in this process, and starts only once";
  MPI_Initialized(&isInitialized);
  if (!isInitialized) {
    if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS)
      return "MPI_Init_thread failed";
    ownsMpi = true;
  } else {
    ownsMpi = openTransports > 0;
  }
  openTransports += ownsMpi;
  MPI_Comm from = communicator ? *static_cast<const MPI_Comm *>(communicator) : MPI_COMM_WORLD;
  if (MPI_Comm_dup(from, &all) != MPI_SUCCESS)
    return "the communicator could not be duplicated";
  MPI_Comm_set_errhandler(all, MPI_ERRORS_RETURN);
  MPI_Comm_rank(all, &rank);
  MPI_Comm_size(all, &size);
  // Who runs on this machine, and can be seen to end.
  std::vector<Watch::Place> places(static_cast<size_t>(size));
  Watch::Place mine = Watch::here();
  static const snug_collective_info gather = {SNUG_ALL_GATHER, 3, SNUG_REDUCE_SUM, {1, 8, 1}, ""};
  if (const char *failure = collective(all, gather, &mine, places.data(), sizeof(mine), kOpenTimeoutMs)) {
    static char text[sizeof(message)];
    snprintf(text, sizeof(text), "%s", failure);
    return text;
  }
  watch.start(places, uint32_t(rank));
  isCrowded = long(watch.numLocal()) > sysconf(_SC_NPROCESSORS_ONLN);
  out = {SNUG_TRANSPORT_ABI_VERSION, sizeof(snug_transport), "MPI", this, uint32_t(rank), uint32_t(size),
         nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
  return nullptr;
}

const char *Transport::exchange(const uint8_t *peers, uint64_t bytes, uint64_t durationMs, uint64_t timeoutMs,
                                uint64_t *messages, double *seconds) {
  bool isLate = false;
  if (const char *failure = checked(comm::exchange(all, peers, bytes, durationMs, timeoutMs, messages, seconds, isLate)))
    return failure;
  if (isLate && watch.look())
    return watch.describe(message, sizeof(message));
  return isLate ? "a message was not answered in time" : nullptr;
}

void Transport::destroy(bool failed) {
  if (failed) // MPI would wait for all
    return;
  if (all != MPI_COMM_NULL)
    MPI_Comm_free(&all);
  if (ownsMpi && --openTransports == 0)
    MPI_Finalize();
}

extern "C" __attribute__((visibility("default"))) const char *snug_transport_open(const void *communicator,
                                                                                  snug_transport *out) {
  std::unique_ptr<Transport> transport(new (std::nothrow) Transport);
  if (!transport)
    return "out of memory";
  if (const char *why = transport->open(communicator, *out))
    return why;
  out->split = [](void *state, uint32_t color, uint64_t, void **outGroup) { return Transport::of(state).split(color, outGroup); };
  out->free_group = [](void *, void *group) {
    std::unique_ptr<MPI_Comm> owned(static_cast<MPI_Comm *>(group));
    MPI_Comm_free(owned.get());
  };
  out->collective = [](void *state, void *group, const snug_collective_info *info, const void *send, void *recv, int64_t count,
                       uint64_t timeoutMs) {
    Transport &self = Transport::of(state);
    return self.collective(group ? *static_cast<MPI_Comm *>(group) : self.all, *info, send, recv, count, timeoutMs);
  };
  static_assert(sizeof(Transport::Operation) <= sizeof(snug_pending));
  out->start = [](void *state, void *group, const snug_collective_info *info, const void *send, void *recv, int64_t count, uint64_t,
                  snug_pending *pending) {
    Transport &self = Transport::of(state);
    auto *operation = new (pending) Transport::Operation;
    return self.begin(group ? *static_cast<MPI_Comm *>(group) : self.all, *info, send, recv, count, *operation);
  };
  out->test = [](void *state, snug_pending *pending, int *done) {
    bool isDone = false, moved = false;
    const char *failure = Transport::of(state).test(*reinterpret_cast<Transport::Operation *>(pending), isDone, moved);
    *done = isDone;
    return failure;
  };
  out->wait = [](void *state, snug_pending *pending, uint64_t timeoutMs) {
    return Transport::of(state).wait(*reinterpret_cast<Transport::Operation *>(pending), timeoutMs);
  };
  out->exchange = [](void *state, const uint8_t *peers, uint64_t bytes, uint64_t durationMs, uint64_t timeoutMs, uint64_t *messages,
                     double *seconds) { return Transport::of(state).exchange(peers, bytes, durationMs, timeoutMs, messages, seconds); };
  out->is_lost = [](void *state, uint32_t rank) {
    Watch &watch = Transport::of(state).watch;
    watch.look();
    return int(watch.isLost(rank));
  };
  out->destroy = [](void *state, int failed) {
    Transport::of(state).destroy(failed != 0);
    delete &Transport::of(state);
  };
  transport.release();
  return nullptr;
}
