// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_OPS_INDEXED_H
#define SNUG_PASSES_CANONICALIZE_OPS_INDEXED_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

// GatherND at indices that are data.
llvm::LogicalResult gatherSlices(Lowering &l);

} // namespace snug

#endif
