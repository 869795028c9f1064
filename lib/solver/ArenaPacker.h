// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packs buffers with known live ranges into one arena. Small problems are solved to the optimum by branch and bound,
// large ones by first-fit orders and a step-limited search that aims at the schedule's lower bound.
//
// All functions are pure: no state between calls, safe to call from any number of threads. They never abort on bad
// input: they return nullopt and, where `error` is not null, one sentence in *error.
#ifndef SNUG_LIB_SOLVER_ARENAPACKER_H
#define SNUG_LIB_SOLVER_ARENAPACKER_H

#include "lib/solver/ArenaProblem.h"

#include <optional>
#include <string>

namespace snug {

struct ArenaOptions {
  /// Bound on the search after the first-fit orders, in elementary steps of about a nanosecond each. Steps are counted
  /// instead of time so that equal input gives equal output on every machine. 0: first-fit orders only.
  int64_t maxSteps = 200'000'000;
  /// Bytes that will do: a packing that takes no more is not improved. 0: as few as can be found.
  int64_t enough = 0;
};

/// LB_sched: the largest sum of live sizes (each rounded up to its alignment) at any time, in bytes. No packing of this
/// schedule is smaller. Errors: a malformed buffer (negative size, empty live range, alignment < 1, repeated id), or
/// sizes whose sum does not fit into 63 bits.
std::optional<int64_t> schedLowerBound(const ArenaProblem &problem, std::string *error = nullptr);

/// Packs the problem. Deterministic: the result depends on the problem and the options alone. Errors as in
/// schedLowerBound. The empty problem has capacity 0.
std::optional<ArenaSolution> packArena(const ArenaProblem &problem, const ArenaOptions &options = {},
                                       std::string *error = nullptr);

} // namespace snug

#endif // SNUG_LIB_SOLVER_ARENAPACKER_H
