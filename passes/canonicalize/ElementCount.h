// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_ELEMENTCOUNT_H
#define SNUG_PASSES_CANONICALIZE_ELEMENTCOUNT_H

#include "mlir/IR/AffineExpr.h"
#include "llvm/Support/MathExtras.h"

namespace snug {

// No memory holds more, and products of extents stay numbers.
constexpr int64_t kMostElements = int64_t(1) << 48;

// Whether the dims that are numbers make more elements than that.
inline bool isTooLarge(llvm::ArrayRef<mlir::AffineExpr> extents) {
  int64_t count = 1;
  for (mlir::AffineExpr extent : extents)
    if (auto number = mlir::dyn_cast<mlir::AffineConstantExpr>(extent); number && number.getValue() > 0)
      if (llvm::MulOverflow(count, number.getValue(), count) || count > kMostElements)
        return true;
  return false;
}

} // namespace snug

#endif
