// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How the ranks of a mesh are started, and how they speak with one voice.
#ifndef SNUG_TOOLS_SNUG_RUN_RANKS_H
#define SNUG_TOOLS_SNUG_RUN_RANKS_H

#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/Options.h"

#include <functional>
#include <string>

namespace snug {

// How many processes an MPI launcher started, by the variables that it sets; 0: none did, or it does not say.
uint32_t launchedRanks();
// Which of them this is; 0 without a launcher.
uint32_t launchedRank();
// The number of a rank among those of its machine, as the launcher of MPI says it, else its number among all.
uint32_t localRank(const snug_comm *comm);

// Does `body`, and throws on all ranks when it threw on one. `comm` may be NULL: there is one rank.
void together(snug_comm *comm, const std::function<void()> &body);

// The command of rank `rank`: "{rank}" in the name of a file is its number, so the file its own. Inputs that do not have it
// are read by all; outputs and statistics that do not have it are rank 0's.
RunOptions optionsOf(const RunOptions &options, uint32_t rank);

// Runs `body` with this process's communicator over MPI. What it throws is told once, by one rank, before any of them
// ends; the failure that comes out then says so.
void overMpi(const std::function<void(snug_comm *)> &body);

// Prints a failure that is not told yet. It is the same one in all processes that a launcher started; the first tells it.
void tellOnce(const CommandFailure &failure);

// Runs `body` in a thread for each of `size` ranks, and throws what the first of them threw.
void overLoopback(uint32_t size, const std::function<void(snug_comm *)> &body);

} // namespace snug

#endif
