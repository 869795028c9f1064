// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What combines the terms of a reduction, and whether it may do so in parts.
#ifndef SNUG_LIB_ANALYSIS_COMBINERS_H
#define SNUG_LIB_ANALYSIS_COMBINERS_H

#include "mlir/Dialect/Linalg/IR/LinalgInterfaces.h"

namespace snug {

/// The ops that add an element to each output, if parts of these sums can be made apart from each other: declared
/// reassociable, or exact in any order. None where an output has no such op.
llvm::SmallVector<mlir::Operation *> combinersOf(mlir::linalg::LinalgOp op);

/// Whether the op reduces, has such ops, and an operand has all of the reduced dims, which shows that an index holds their places.
bool reducesInParts(mlir::linalg::LinalgOp op);

} // namespace snug

#endif
