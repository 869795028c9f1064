// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The window of a convolution or pool.
#ifndef SNUG_PASSES_CANONICALIZE_WINDOW_H
#define SNUG_PASSES_CANONICALIZE_WINDOW_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

struct Window {
  Extents kernel;
  llvm::SmallVector<int64_t> strides, dilations;
  Extents before, after; // pads of the spatial dims, so that every window lies inside
  Extents statedAfter;   // `after` as the node states it; ceil_mode may need more
  Extents out;           // spatial extents of the result
};

// Reads strides, dilations, pads, auto_pad and ceil_mode of the node at hand; emits an error where they do not fit.
std::optional<Window> windowOf(Lowering &l, llvm::ArrayRef<mlir::AffineExpr> spatial,
                               llvm::ArrayRef<mlir::AffineExpr> kernel);

} // namespace snug

#endif
