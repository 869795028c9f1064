// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a transport gives to the runtime: the collectives between the devices of a mesh. Read by runtime/comm. Only who
// writes a transport needs this header; snug/Runtime.h has communicators over those that Snug brings along. C only.
//
// A transport is a struct of functions and its state, one for each rank. The runtime calls it from one thread at a time.
// Functions that can fail return NULL when they succeeded, else what happened, as the end of a sentence ("rank 1 was lost:
// its process has ended"): text of the transport's, which stays until its next call. After a failure the runtime calls
// `is_lost` and `destroy` only.
#ifndef SNUG_TRANSPORT_H
#define SNUG_TRANSPORT_H

#include "snug/ModelABI.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_TRANSPORT_ABI_VERSION 1u

// What a transport keeps of a collective that is in flight.
typedef struct snug_pending {
  uint64_t words[8];
} snug_pending;

typedef struct snug_transport {
  uint32_t abi_version; // SNUG_TRANSPORT_ABI_VERSION
  uint32_t struct_size; // sizeof(snug_transport); fields are only ever appended
  const char *name;     // "MPI"; stays as long as the transport
  void *state;          // first argument of each function
  uint32_t rank, size;
  // Makes the group of all ranks that give the same color, in order of rank. All ranks call it, in the same order.
  const char *(*split)(void *state, uint32_t color, uint64_t timeout_ms, void **out_group);
  void (*free_group)(void *state, void *group);
  // Does what `info` says (kind, reduction, dtype; not its axes) over a group, or over all ranks where `group` is NULL;
  // returns when `recv` is written and `send` may be. Sizes and order as snug_collective_kind has them. Each element is
  // combined in an order that depends on the group alone, and has the same bits on all ranks. Fails when a rank is lost,
  // at the latest `timeout_ms` after anything of it moved. Should allocate nothing.
  const char *(*collective)(void *state, void *group, const snug_collective_info *info, const void *send, void *recv,
                            int64_t count, uint64_t timeout_ms);
  // Whether that rank is known to be lost, as far as can be seen without waiting: also asked while the GPUs of ranks wait for each
  // other.
  int (*is_lost)(void *state, uint32_t rank);
  // Frees all that the transport has. `failed`: one of its functions did, so nobody may be waited for.
  void (*destroy)(void *state, int failed);
  // As snug_comm_exchange; NULL where there is nothing to measure.
  const char *(*exchange)(void *state, const uint8_t *peers, uint64_t bytes, uint64_t duration_ms, uint64_t timeout_ms,
                          uint64_t *messages, double *seconds);
  // Collectives that run while the ranks compute; all three are NULL where a transport has none, and each is then done when it
  // is started. `start` begins what `collective` does, and writes what it has to keep to `pending`, the runtime's, which stays in
  // its place. Others may be started and done meanwhile; all ranks start and wait in the same order. `send` and `recv` are
  // the transport's until it said that it is done. Should allocate nothing.
  const char *(*start)(void *state, void *group, const snug_collective_info *info, const void *send, void *recv, int64_t count,
                       uint64_t timeout_ms, snug_pending *pending);
  // Moves it on, and says whether it is done; does not wait. May be called again when it is.
  const char *(*test)(void *state, snug_pending *pending, int *done);
  // Returns when it is done; fails as `collective` does, at the latest `timeout_ms` after this call.
  const char *(*wait)(void *state, snug_pending *pending, uint64_t timeout_ms);
} snug_transport;

// A transport in a library of its own exports this function: makes the transport over the given communicator of its own
// kind (MPI: a pointer to an MPI_Comm; NULL for all processes), or returns why it cannot.
#define SNUG_TRANSPORT_OPEN_SYMBOL "snug_transport_open"
typedef const char *(*snug_transport_open_fn)(const void *communicator, snug_transport *out_transport);

#ifdef __cplusplus
}
#endif
#endif
