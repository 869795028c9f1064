// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the first iterations of a loop show of all of them: how the values that it carries change from one to the next, and
// how many there can be where a condition ends it. It is a guess until the loop's body has been lowered with it.
#ifndef SNUG_PASSES_CANONICALIZE_OPS_LOOPCOURSE_H
#define SNUG_PASSES_CANONICALIZE_OPS_LOOPCOURSE_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

// Of one carried value: in iteration i its extents are those before the loop plus i * growth, and its elements, where they
// are known, those before the loop plus i * steps.
struct Course {
  Extents growth; // empty: it keeps its shape
  Extents steps;  // empty: its elements are not known
  bool isKnown() const { return !steps.empty(); }
  bool grows() const { return !growth.empty(); }
};

// Of a value before iterations 0, 1 and 2; neither where it does not go on as it began.
Course courseOf(Lowering &l, const LoweredValue &before, const LoweredValue &after, const LoweredValue &next);

// A comparison of two integers that must hold after an iteration for another one to run, as what must be at least 0.
struct Continuation {
  mlir::Value comparison; // the node's result
  mlir::AffineExpr slack;
};
// Those in the terms of `condition`, a value in the loop's body, whose sides are known as the body was lowered last.
llvm::SmallVector<Continuation> continuations(Lowering &l, mlir::Value condition);

// An upper bound, at least 1, of the number of iterations where the slack after iteration i is slack - i * decrease.
std::optional<mlir::AffineExpr> iterationsUntil(Lowering &l, mlir::AffineExpr slack, int64_t decrease);

} // namespace snug

#endif
