// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_OPS_CONVOLUTION_H
#define SNUG_PASSES_CANONICALIZE_OPS_CONVOLUTION_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

// The convolution that the attributes of the node at hand describe, of any numbers; `bias` may be null.
mlir::FailureOr<LoweredValue> convolve(Lowering &l, LoweredValue x, LoweredValue weight, const LoweredValue *bias);

} // namespace snug

#endif
