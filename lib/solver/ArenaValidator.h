// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checks an arena solution. Shares no code with the packer, so that a fault of one is not a fault of both. Pure and
// thread-safe; never aborts.
#ifndef SNUG_LIB_SOLVER_ARENAVALIDATOR_H
#define SNUG_LIB_SOLVER_ARENAVALIDATOR_H

#include "lib/solver/ArenaProblem.h"

#include <optional>
#include <string>

namespace snug {

/// Returns nullopt if the solution is valid, otherwise one sentence on the first fault: a malformed buffer, a wrong
/// number of offsets, a negative or misaligned offset, an end beyond the capacity, or two buffers that are live at the
/// same time and overlap. Sizes count rounded up to the alignment.
std::optional<std::string> findArenaFault(const ArenaProblem &problem, const ArenaSolution &solution);

} // namespace snug

#endif // SNUG_LIB_SOLVER_ARENAVALIDATOR_H
