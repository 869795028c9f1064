// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_MEMORY_CHOOSEBUCKETS_H
#define SNUG_PASSES_MEMORY_CHOOSEBUCKETS_H

#include "dialects/plan/Buckets.h"

namespace snug {

/// Buckets whose bounds are powers of two of each bounded dim of `snug.dims`, and its largest value. At most `limit`:
/// where there are more, of the dim with the most bounds every second one is left out, the smallest first, until there
/// are not. Arenas are not set.
Buckets chooseBuckets(mlir::ModuleOp module, size_t limit);

} // namespace snug

#endif
