// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The transport over MPI: its non-blocking collectives, which are tested until they are done, a process has ended, or time
// is up. Reductions are our own, so that elements mean the same on all transports; MPI chooses the order, by the size of
// group and message alone.

#include "runtime/comm/Combine.h"
#include "runtime/comm/mpi/Exchange.h"
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

class Transport {
public:
  const char *open(const void *communicator, snug_transport &out);
  const char *split(uint32_t color, void **outGroup);
  const char *collective(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv, int64_t count,
                         uint64_t timeoutMs);
  const char *begin(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv, int64_t count,
                    uint64_t timeoutMs, MPI_Request &request);
  const char *test(MPI_Request &request, int &done) { return checked(MPI_Test(&request, &done, MPI_STATUS_IGNORE)); }
  const char *wait(MPI_Request &request, uint64_t timeoutMs);
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

// Spins a little, as most collectives are short, where each rank has a core; then lets others run.
const char *Transport::wait(MPI_Request &request, uint64_t timeoutMs) {
  using std::chrono::milliseconds;
  auto begin = Clock::now(), looked = begin, ended = Clock::time_point::max();
  for (;;) {
    int done = 0;
    if (const char *failure = test(request, done))
      return failure;
    if (done)
      return nullptr;
    auto now = Clock::now();
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
  uint64_t bytes = elementBytes(info.dtype);
  // MPI counts with int. Only what is combined by element can be cut in pieces.
  if (count > kMaxCount && info.kind != SNUG_ALL_REDUCE) {
    snprintf(message, sizeof(message), "MPI sends at most %lld elements at once, and %lld are to be sent",
             (long long)kMaxCount, (long long)count);
    return message;
  }
  for (int64_t at = 0; at < count;) {
    int piece = int(std::min(kMaxCount, count - at));
    MPI_Request request;
    const char *failure = start(group, info, static_cast<const uint8_t *>(send) + uint64_t(at) * bytes,
                                static_cast<uint8_t *>(recv) + uint64_t(at) * bytes, piece, request);
    if (!failure)
      failure = wait(request, timeoutMs);
    if (failure)
      return failure;
    at += piece;
  }
  return nullptr;
}

// What MPI does not take at once is done here: pieces that were started later would come in another order on each rank.
const char *Transport::begin(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv, int64_t count,
                             uint64_t timeoutMs, MPI_Request &request) {
  request = MPI_REQUEST_NULL;
  if (count > kMaxCount)
    return collective(group, info, send, recv, count, timeoutMs);
  return start(group, info, send, recv, int(count), request);
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
  static_assert(sizeof(MPI_Request) <= sizeof(snug_pending));
  out->start = [](void *state, void *group, const snug_collective_info *info, const void *send, void *recv, int64_t count,
                  uint64_t timeoutMs, snug_pending *pending) {
    Transport &self = Transport::of(state);
    auto *request = new (pending) MPI_Request;
    return self.begin(group ? *static_cast<MPI_Comm *>(group) : self.all, *info, send, recv, count, timeoutMs, *request);
  };
  out->test = [](void *state, snug_pending *pending, int *done) {
    return Transport::of(state).test(*reinterpret_cast<MPI_Request *>(pending), *done);
  };
  out->wait = [](void *state, snug_pending *pending, uint64_t timeoutMs) {
    return Transport::of(state).wait(*reinterpret_cast<MPI_Request *>(pending), timeoutMs);
  };
  out->exchange = [](void *state, const uint8_t *peers, uint64_t bytes, uint64_t durationMs, uint64_t timeoutMs, uint64_t *messages,
                     double *seconds) { return Transport::of(state).exchange(peers, bytes, durationMs, timeoutMs, messages, seconds); };
  out->is_lost = [](void *state, uint32_t rank) { return int(Transport::of(state).watch.isLost(rank)); };
  out->destroy = [](void *state, int failed) {
    Transport::of(state).destroy(failed != 0);
    delete &Transport::of(state);
  };
  transport.release();
  return nullptr;
}
