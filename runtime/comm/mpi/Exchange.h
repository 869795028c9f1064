// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Messages between pairs of ranks, to measure what connects them.
#ifndef SNUG_RUNTIME_COMM_MPI_EXCHANGE_H
#define SNUG_RUNTIME_COMM_MPI_EXCHANGE_H

#include <cstdint>
#include <mpi.h>

namespace snug::comm {

// snug_transport.exchange over `all`; returns MPI's error code, and whether time ran out.
int exchange(MPI_Comm all, const uint8_t *peers, uint64_t bytes, uint64_t durationMs, uint64_t timeoutMs,
             uint64_t *messages, double *seconds, bool &isLate);

} // namespace snug::comm

#endif
