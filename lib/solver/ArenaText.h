// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The text form of an arena problem and its solution: CSV with one header line
//   id,lower,upper,size,alignment[,offset]
// and one buffer a line. Integers only, no quoting. Pure and thread-safe; never aborts.
#ifndef SNUG_LIB_SOLVER_ARENATEXT_H
#define SNUG_LIB_SOLVER_ARENATEXT_H

#include "lib/solver/ArenaProblem.h"

#include <optional>
#include <string>
#include <string_view>

namespace snug {

struct ArenaText {
  ArenaProblem problem;
  /// Present where the text has the offset column. Its capacity is the highest end of a buffer (size rounded
  /// up to the alignment), because the text does not state one.
  std::optional<ArenaSolution> solution;
};

/// Parses the text form. On failure returns nullopt and puts "line N: ..." in *error. Empty lines are skipped; values
/// are checked to be integers, their meaning is checked by the packer and the validator.
std::optional<ArenaText> parseArenaText(std::string_view text, std::string *error = nullptr);

/// Prints the problem, with the offset column if `solution` is not null (it must have one offset a buffer, else the
/// column is left out).
std::string printArenaText(const ArenaProblem &problem, const ArenaSolution *solution = nullptr);

} // namespace snug

#endif // SNUG_LIB_SOLVER_ARENATEXT_H
