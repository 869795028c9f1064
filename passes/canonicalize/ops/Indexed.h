// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_OPS_INDEXED_H
#define SNUG_PASSES_CANONICALIZE_OPS_INDEXED_H

#include "passes/canonicalize/Lowering.h"

namespace snug {

bool isIndexType(mlir::Type type);
// Whether indices are of such a type and, as the caller says, fit the data, which is input 0; else emits an error.
llvm::LogicalResult wantIndices(Lowering &l, const LoweredValue &indices, bool fits);

// Elements written at indices that are data.
llvm::LogicalResult scatterElements(Lowering &l);
llvm::LogicalResult scatterNd(Lowering &l);
llvm::LogicalResult maxUnpool(Lowering &l);

// GatherND at indices that are data.
llvm::LogicalResult gatherSlices(Lowering &l);

} // namespace snug

#endif
