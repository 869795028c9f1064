// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_OPS_ROWS_H
#define SNUG_PASSES_CANONICALIZE_OPS_ROWS_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

// log(softmax x) along a dim; emits an error where the elements are no floats.
llvm::FailureOr<LoweredValue> logSoftmaxAlong(Lowering &l, LoweredValue &in, int64_t axis);
// softmax(x) along a dim.
llvm::FailureOr<LoweredValue> softmaxAlong(Lowering &l, LoweredValue &in, int64_t axis);

} // namespace snug

#endif
