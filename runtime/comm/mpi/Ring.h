// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Collectives of large tensors as rings of messages between neighbours, and all-to-alls as exchanges with one rank after the other,
// where each rank sends what the time model says: (n-1)/n of the tensor, twice that for an all-reduce (Thakur, Rabenseifner and
// Gropp, IJHPCA 2005). MPI's non-blocking ones do not promise that, nor does Open MPI keep it: a reduce-scatter is a reduction to
// one rank there, and an all-reduce of two or three a tree. A shift is one step of a ring.
#ifndef SNUG_RUNTIME_COMM_MPI_RING_H
#define SNUG_RUNTIME_COMM_MPI_RING_H

#include "runtime/comm/Combine.h"

#include <mpi.h>
#include <vector>

namespace snug::comm {

/// One collective at a time; may be used again when it is done, and allocates 256 KiB for what is combined, once. Of each
/// group one rank after the other combines its part with what it got, so the order is that of ranks, from the one behind the
/// part's owner on.
class Ring {
public:
  /// Of a message: large enough for bandwidth, small enough for a ring's steps to overlap, and below what Open MPI sends over TCP
  /// without asking first (64 KiB): what asks takes turns in the two directions there, and so has half of the bandwidth.
  static constexpr int64_t kPieceBytes = 32 << 10;

  /// Whether the collective is large enough for rings. The same on all ranks of a group.
  static bool takes(const snug_collective_info &info, int size, int64_t count);

  /// As snug_transport.collective has them; `send` and `recv` have to stay until it is done. No two that run at the same time
  /// in one group have the same tag. An MPI error code.
  int start(MPI_Comm group, const snug_collective_info &info, const void *send, void *recv, int64_t count, int tag);

  /// Goes on as far as messages have come. `moved`: something was there to do. An MPI error code.
  int step(bool &done, bool &moved);

private:
  struct Piece {
    uint8_t *at;
    int64_t count; // elements
  };
  int64_t startOf(int64_t part) const;
  Piece piece(uint8_t *base, int64_t part, int64_t index) const;
  int64_t partOf(int64_t step) const; // that is sent at that step
  int64_t arriving(int64_t step) const; // that comes
  bool combines(int64_t index) const;
  Piece source(int64_t index) const, target(int64_t index) const;
  void combineInto(int64_t index);

  static constexpr int kInFlight = 8;
  MPI_Comm group = MPI_COMM_NULL;
  int rank = 0, size = 1, tag = 0;
  uint32_t kind = 0;
  CombineFn combinePair = nullptr;
  uint64_t elementSize = 1;
  const uint8_t *send = nullptr;
  uint8_t *recv = nullptr;
  int64_t count = 0, pieces = 0, total = 0; // of a part; messages of a step, and of all
  int64_t pieceCount = 0;                   // elements of a message
  int64_t sendsPosted = 0, sendsDone = 0, recvsPosted = 0, recvsDone = 0;
  MPI_Request sends[kInFlight], recvs[kInFlight];
  std::vector<uint8_t> incoming; // what is to be combined
};

} // namespace snug::comm

#endif
