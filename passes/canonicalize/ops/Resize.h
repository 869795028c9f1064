// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_OPS_RESIZE_H
#define SNUG_PASSES_CANONICALIZE_OPS_RESIZE_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

// One dim that is resized.
struct ResizedAxis {
  int64_t dim;
  mlir::AffineExpr from, to;
  std::optional<double> scale; // none: the smallest of the ratios to / from, or the largest
  llvm::SmallVector<std::pair<mlir::AffineExpr, mlir::AffineExpr>> ratios;
  bool isLargest = false;
  double first = 0, last = 1; // region of interest
};

// Of the node at hand; `old`: inputs are the image and scales. Emits an error where extents do not follow from dims.
mlir::FailureOr<llvm::SmallVector<ResizedAxis>> resizedAxes(Lowering &l, bool old, bool hasRegion);

} // namespace snug

#endif
