// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_OPS_LAYOUT_H
#define SNUG_PASSES_CANONICALIZE_OPS_LAYOUT_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

// The value in parts of the given lengths along `axis`; emits an error where they are not as long as it together.
mlir::FailureOr<LoweredValues> cut(Lowering &l, LoweredValue &in, int64_t axis, llvm::ArrayRef<mlir::AffineExpr> lengths);

} // namespace snug

#endif
