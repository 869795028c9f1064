// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reductions of many terms to few results, in parts side by side, so that there is work for a whole target; and what makes such
// reductions of softmax and norms of few long rows.
#ifndef SNUG_PASSES_FUSE_SPLITSUMS_H
#define SNUG_PASSES_FUSE_SPLITSUMS_H

#include "dialects/nn/NnDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace snug {

/// In how many parts a reduction is done on a target that has room for `blocks` blocks of threads at once, by the upper bounds of
/// its extents: 1 where its results alone are as many, or its terms are too few to be worth more.
int64_t partsOf(mlir::linalg::GenericOp op, int64_t blocks, IndexBounds &bounds);

/// Replaces `op`, of which reducesInParts() holds, by a snug_nn.partial_reduce and the reductions over its parts.
void splitSums(mlir::linalg::GenericOp op, int64_t parts);

} // namespace snug

#endif
