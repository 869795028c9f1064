// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/comm/mpi/Ring.h"

#include <algorithm>
#include <cstring>

using namespace snug::comm;

// Smaller parts are better off with the fewer steps of MPI's own.
static constexpr int64_t kLeastPartBytes = 16 << 10;

static int64_t partCount(uint32_t kind, int64_t size, int64_t count) {
  return kind == SNUG_ALL_REDUCE ? (count + size - 1) / size : count;
}

bool Ring::takes(const snug_collective_info &info, int size, int64_t count) {
  return size > 1 && (info.kind == SNUG_SHIFT || partCount(info.kind, size, count) >= kLeastPartBytes / int64_t(elementBytes(info.dtype)));
}

int Ring::start(MPI_Comm inGroup, const snug_collective_info &info, const void *from, void *to, int64_t number, int ownTag) {
  group = inGroup;
  tag = ownTag;
  MPI_Comm_rank(group, &rank);
  MPI_Comm_size(group, &size);
  kind = info.kind;
  combinePair = combineFn(info.dtype, info.reduction);
  elementSize = elementBytes(info.dtype);
  send = static_cast<const uint8_t *>(from);
  recv = static_cast<uint8_t *>(to);
  count = number;
  pieceCount = kPieceBytes / int64_t(elementSize);
  pieces = (partCount(kind, size, count) + pieceCount - 1) / pieceCount;
  total = kind == SNUG_SHIFT ? pieces : pieces * (size - 1) * (kind == SNUG_ALL_REDUCE ? 2 : 1);
  sendsPosted = sendsDone = recvsPosted = recvsDone = 0;
  uint64_t bytes = uint64_t(count) * elementSize;
  if (combines(0) && incoming.empty())
    incoming.resize(uint64_t(kInFlight) * kPieceBytes);
  if (kind == SNUG_ALL_REDUCE && send != recv)
    memcpy(recv, send, bytes);
  if (kind == SNUG_ALL_GATHER)
    memmove(recv + uint64_t(rank) * bytes, send, bytes);
  if (kind == SNUG_ALL_TO_ALL)
    memcpy(recv + uint64_t(rank) * bytes, send + uint64_t(rank) * bytes, bytes);
  bool done = false, moved = false;
  return step(done, moved);
}

int64_t Ring::startOf(int64_t part) const { return kind == SNUG_ALL_REDUCE ? count / size * part + std::min(part, count % size) : count * part; }

// Of a part that begins at its place in `base`.
Ring::Piece Ring::piece(uint8_t *base, int64_t part, int64_t index) const {
  int64_t length = startOf(part + 1) - startOf(part), at = std::min(length, index % pieces * pieceCount);
  return {base + uint64_t(startOf(part) + at) * elementSize, std::min(pieceCount, length - at)};
}

// Each step passes on what came in the one before. In the end a reduce-scatter has the rank's own part.
int64_t Ring::partOf(int64_t step) const {
  if (kind == SNUG_SHIFT)
    return 0;
  if (kind == SNUG_ALL_TO_ALL)
    return (rank + step + 1) % size;
  int64_t part = (rank - step - (kind == SNUG_REDUCE_SCATTER)) % size;
  return part < 0 ? part + size : part;
}

int64_t Ring::arriving(int64_t step) const { return kind == SNUG_ALL_TO_ALL ? (rank + size - step - 1) % size : partOf(step + 1); }

bool Ring::combines(int64_t index) const { return snug::comm::combines(kind) && index < pieces * (size - 1); }

Ring::Piece Ring::source(int64_t index) const {
  int64_t step = index / pieces, part = partOf(step);
  if (kind == SNUG_ALL_REDUCE || kind == SNUG_ALL_GATHER)
    return piece(recv, part, index);
  Piece own = piece(const_cast<uint8_t *>(send), part, index);
  return step == 0 || kind == SNUG_ALL_TO_ALL ? own : Piece{recv + (own.at - send) - uint64_t(startOf(part)) * elementSize, own.count};
}

// Where a message comes to.
Ring::Piece Ring::target(int64_t index) const {
  Piece there = piece(recv, arriving(index / pieces), index);
  if (combines(index))
    there.at = const_cast<uint8_t *>(incoming.data()) + index % kInFlight * kPieceBytes;
  return there;
}

void Ring::combineInto(int64_t index) {
  int64_t step = index / pieces, part = arriving(step);
  const uint8_t *base = kind == SNUG_REDUCE_SCATTER ? send : recv;
  Piece own = piece(const_cast<uint8_t *>(base), part, index);
  const void *both[] = {target(index).at, own.at};
  uint8_t *result = own.at;
  if (kind == SNUG_REDUCE_SCATTER)
    result = recv + (own.at - base) - uint64_t(startOf(part)) * elementSize; // each sum, until it is sent on or the rank's own
  combinePair(both, 2, result, own.count);
}

int Ring::step(bool &done, bool &moved) {
  int code = MPI_SUCCESS, flag = 0;
  moved = false;
  for (bool goes = true; goes;) {
    goes = false;
    for (; sendsDone < sendsPosted; ++sendsDone, goes = true) {
      if ((code = MPI_Test(&sends[sendsDone % kInFlight], &flag, MPI_STATUS_IGNORE)))
        return code;
      if (!flag)
        break;
    }
    for (; recvsDone < recvsPosted; ++recvsDone, goes = true) {
      if ((code = MPI_Test(&recvs[recvsDone % kInFlight], &flag, MPI_STATUS_IGNORE)))
        return code;
      // A sum is written where the one of the step before was, which has to be sent by then.
      if (!flag || (kind == SNUG_REDUCE_SCATTER && recvsDone >= pieces && sendsDone <= recvsDone))
        break;
      if (combines(recvsDone))
        combineInto(recvsDone);
    }
    // What is gathered is written over the sum that was sent on its way.
    auto isFree = [&] { return combines(recvsPosted) || kind != SNUG_ALL_REDUCE || sendsDone > recvsPosted - pieces * (size - 1); };
    for (; recvsPosted < total && recvsPosted - recvsDone < kInFlight && isFree(); ++recvsPosted, goes = true) {
      Piece to = target(recvsPosted);
      int peer = kind == SNUG_ALL_TO_ALL ? int(arriving(recvsPosted / pieces)) : (rank + size - 1) % size;
      if ((code = MPI_Irecv(to.at, int(uint64_t(to.count) * elementSize), MPI_BYTE, peer, tag, group,
                            &recvs[recvsPosted % kInFlight])))
        return code;
    }
    auto isThere = [&] { return kind == SNUG_ALL_TO_ALL || sendsPosted < pieces || recvsDone > sendsPosted - pieces; };
    for (; sendsPosted < total && sendsPosted - sendsDone < kInFlight && isThere(); ++sendsPosted, goes = true) {
      Piece from = source(sendsPosted);
      int peer = kind == SNUG_ALL_TO_ALL ? int(partOf(sendsPosted / pieces)) : (rank + 1) % size;
      if ((code = MPI_Isend(from.at, int(uint64_t(from.count) * elementSize), MPI_BYTE, peer, tag, group,
                            &sends[sendsPosted % kInFlight])))
        return code;
    }
    moved = moved || goes;
  }
  done = recvsDone == total && sendsDone == total;
  return MPI_SUCCESS;
}
