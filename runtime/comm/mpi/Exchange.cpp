// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/comm/mpi/Exchange.h"
#include "runtime/comm/mpi/Ring.h"

#include <algorithm>
#include <chrono>
#include <time.h>
#include <vector>

using namespace snug;
using comm::Ring;
using Clock = std::chrono::steady_clock;

namespace {
enum Tag { kData = 1, kLast = 2 };

// One peer. Both send, and send again once they have what the other sent; so each is at most one message ahead, and pairs
// that are slow do not hold up those that are fast. Who is out of time sends an empty last message instead, gets what the peer
// sent meanwhile, and both are done.
struct Pair {
  int peer;
  std::vector<uint8_t> out, in;
  std::vector<MPI_Request> sent, got;    // of each piece; pieces after the first are asked for when that is there
  bool hasEnded = false, isDone = false; // we sent our last message; both have
  bool hasFirst = false, isLast = false; // of the message that comes: its first piece is there; it is the peer's last
  uint64_t messages = 0;
  double seconds = 0;
};
} // namespace

static double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Messages go in pieces like those of rings (Ring.h), so what is measured is what rings reach.
template <class Each> static int forPieces(std::vector<uint8_t> &buffer, size_t first, std::vector<MPI_Request> &requests, Each each) {
  for (size_t at = first; at < buffer.size(); at += Ring::kPieceBytes) {
    requests.push_back(MPI_REQUEST_NULL);
    if (int code = each(buffer.data() + at, int(std::min(size_t(Ring::kPieceBytes), buffer.size() - at)), &requests.back()))
      return code;
  }
  return MPI_SUCCESS;
}

static int send(MPI_Comm all, Pair &pair, bool isLast) {
  pair.hasEnded = isLast;
  pair.sent.clear();
  pair.got.assign(1, MPI_REQUEST_NULL);
  int first = int(std::min(size_t(Ring::kPieceBytes), pair.in.size()));
  if (int code = MPI_Irecv(pair.in.data(), first, MPI_BYTE, pair.peer, MPI_ANY_TAG, all, &pair.got[0]))
    return code;
  if (!isLast)
    return forPieces(pair.out, 0, pair.sent, [&](uint8_t *at, int bytes, MPI_Request *request) {
      return MPI_Isend(at, bytes, MPI_BYTE, pair.peer, kData, all, request);
    });
  pair.sent.assign(1, MPI_REQUEST_NULL);
  return MPI_Isend(pair.out.data(), 0, MPI_BYTE, pair.peer, kLast, all, &pair.sent[0]);
}

// Goes on where both messages have arrived.
static int step(MPI_Comm all, Pair &pair, Clock::time_point start, bool isOver, bool &moved) {
  MPI_Status status;
  int hasSent = 0, hasGot = 0;
  if (!pair.hasFirst) {
    if (int code = MPI_Test(&pair.got[0], &hasGot, &status))
      return code;
    if (!hasGot)
      return MPI_SUCCESS;
    moved = pair.hasFirst = true;
    pair.isLast = status.MPI_TAG == kLast;
    if (int code = pair.isLast ? MPI_SUCCESS
                               : forPieces(pair.in, Ring::kPieceBytes, pair.got, [&](uint8_t *at, int bytes, MPI_Request *request) {
                                   return MPI_Irecv(at, bytes, MPI_BYTE, pair.peer, kData, all, request);
                                 }))
      return code;
  }
  if (int code = MPI_Testall(int(pair.got.size()), pair.got.data(), &hasGot, MPI_STATUSES_IGNORE))
    return code;
  if (int code = MPI_Testall(int(pair.sent.size()), pair.sent.data(), &hasSent, MPI_STATUSES_IGNORE))
    return code;
  if (!hasGot || !hasSent)
    return MPI_SUCCESS;
  moved = true;
  pair.hasFirst = false;
  if (!pair.isLast) {
    ++pair.messages;
    pair.seconds = since(start);
  }
  pair.isDone = pair.hasEnded || pair.isLast;
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
      pairs.push_back({r, std::vector<uint8_t>(bytes, 1), std::vector<uint8_t>(bytes), {}, {}});
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
