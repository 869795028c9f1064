// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Extents as polynomials of dims and quotients: one way to write each, so that equal ones are seen to be.
#ifndef SNUG_PASSES_CANONICALIZE_EXTENTS_H
#define SNUG_PASSES_CANONICALIZE_EXTENTS_H

#include "mlir/IR/AffineExpr.h"
#include <optional>

namespace snug {

// Sums of products, terms in a fixed order; quotients of quotients are one quotient: ((h - 1) / 2 + 1 - 1) / 2 is
// (h - 1) / 4.
mlir::AffineExpr sumOfProducts(mlir::AffineExpr expr);

// The same, but what would have a dim taken off another is left as it is: bounds of differences are wide.
mlir::AffineExpr normalExtent(mlir::AffineExpr expr);

// Whether both are the same for all values of the dims, as far as that can be seen.
bool areEqualExtents(mlir::AffineExpr left, mlir::AffineExpr right);

// The expression q with left = q * right, if there is one.
std::optional<mlir::AffineExpr> exactQuotient(mlir::AffineExpr left, mlir::AffineExpr right);

} // namespace snug

#endif
