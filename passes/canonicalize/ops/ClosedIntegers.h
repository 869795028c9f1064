// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Arithmetic on integers that are known up to named dims.
#ifndef SNUG_PASSES_CANONICALIZE_OPS_CLOSEDINTEGERS_H
#define SNUG_PASSES_CANONICALIZE_OPS_CLOSEDINTEGERS_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

enum class Arithmetic { Add, Sub, Mul, Div };

// Integers of shape lists, element by element, where `fold` can tell each; std::nullopt otherwise. Grids of positions
// are left alone: a list of selects would be worse than their expression.
std::optional<LoweredValue>
foldLists(Lowering &l, llvm::ArrayRef<LoweredValue *> inputs, mlir::Type type,
          llvm::function_ref<std::optional<mlir::AffineExpr>(llvm::ArrayRef<mlir::AffineExpr>)> fold);

// The result in closed form where both sides have one and it stays affine; std::nullopt otherwise.
std::optional<LoweredValue> closedBinary(Lowering &l, Arithmetic kind, LoweredValue &x, LoweredValue &y);

// Whether a relation holds for all values of the dims (true), for none (false), or it depends (std::nullopt).
std::optional<bool> decide(Lowering &l, mlir::arith::CmpIPredicate predicate, mlir::AffineExpr left,
                           mlir::AffineExpr right);

} // namespace snug

#endif
