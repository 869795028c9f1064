// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/comm/mpi/Exchange.h"

#include <algorithm>
#include <chrono>
#include <time.h>
#include <vector>

using namespace snug;
using Clock = std::chrono::steady_clock;

namespace {
enum Tag { kData = 1, kLast = 2 };

// One peer. Both send, and send again once they have what the other sent; so each is at most one message ahead, and pairs
// that are slow do not hold up those that are fast. Who is out of time sends an empty last message instead, gets what the peer
// sent meanwhile, and both are done.
struct Pair {
  int peer;
  std::vector<uint8_t> out, in;
  MPI_Request sent = MPI_REQUEST_NULL, got = MPI_REQUEST_NULL;
  bool hasEnded = false, isDone = false; // we sent our last message; both have
  uint64_t messages = 0;
  double seconds = 0;
};
} // namespace

static double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

static int send(MPI_Comm all, Pair &pair, bool isLast) {
  pair.hasEnded = isLast;
  if (int code = MPI_Irecv(pair.in.data(), int(pair.in.size()), MPI_BYTE, pair.peer, MPI_ANY_TAG, all, &pair.got))
    return code;
  return MPI_Isend(pair.out.data(), isLast ? 0 : int(pair.out.size()), MPI_BYTE, pair.peer, isLast ? kLast : kData, all, &pair.sent);
}

// Goes on where both messages have arrived.
static int step(MPI_Comm all, Pair &pair, Clock::time_point start, bool isOver, bool &moved) {
  MPI_Status status;
  int hasSent = 0, hasGot = 0;
  if (int code = MPI_Request_get_status(pair.got, &hasGot, &status))
    return code;
  if (int code = MPI_Request_get_status(pair.sent, &hasSent, MPI_STATUS_IGNORE))
    return code;
  if (!hasGot || !hasSent)
    return MPI_SUCCESS;
  moved = true;
  if (int code = MPI_Wait(&pair.sent, MPI_STATUS_IGNORE))
    return code;
  if (int code = MPI_Wait(&pair.got, &status))
    return code;
  if (status.MPI_TAG == kData) {
    ++pair.messages;
    pair.seconds = since(start);
  }
  pair.isDone = pair.hasEnded || status.MPI_TAG == kLast;
  return pair.isDone ? MPI_SUCCESS : send(all, pair, isOver);
}

int comm::exchange(MPI_Comm all, const uint8_t *peers, uint64_t bytes, uint64_t durationMs, uint64_t timeoutMs,
                   uint64_t *messages, double *seconds, bool &isLate) {
  int size = 0, rank = 0;
  MPI_Comm_size(all, &size);
  MPI_Comm_rank(all, &rank);
  std::vector<Pair> pairs;
  for (int r = 0; r < size; ++r) {
    messages[r] = 0;
    seconds[r] = 0;
    if (peers[r] && r != rank) {
      pairs.push_back({r, std::vector<uint8_t>(bytes, 1), std::vector<uint8_t>(bytes)});
    }
  }
  auto start = Clock::now();
  for (Pair &pair : pairs)
    if (int code = send(all, pair, false))
      return code;
  auto isOpen = [](const Pair &pair) { return !pair.isDone; };
  while (std::any_of(pairs.begin(), pairs.end(), isOpen)) {
    double now = since(start);
    bool isOver = now * 1000 > double(durationMs), moved = false;
    if ((isLate = now * 1000 > double(durationMs + timeoutMs)))
      return MPI_SUCCESS;
    for (Pair &pair : pairs)
      if (!pair.isDone)
        if (int code = step(all, pair, start, isOver, moved))
          return code;
    if (!moved && now > 0.001) { // others may need the core
      timespec pause = {0, 1000};
      nanosleep(&pause, nullptr);
    }
  }
  for (const Pair &pair : pairs) {
    messages[pair.peer] = pair.messages;
    seconds[pair.peer] = pair.seconds;
  }
  return MPI_SUCCESS;
}
