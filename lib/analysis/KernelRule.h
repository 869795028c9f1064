// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// KernelRule: what one kernel costs, beside its IndexRule. The only place where chunking and memory planning learn how
// an op is executed.
#ifndef SNUG_LIB_ANALYSIS_KERNELRULE_H
#define SNUG_LIB_ANALYSIS_KERNELRULE_H

#include "dialects/nn/IndexRule.h"

namespace snug {

struct KernelRule {
  double flops = 0;           ///< operations of the whole op
  int64_t workspaceBytes = 0; ///< scratch in the arena while it runs, beside operands and results
  /// For each iteration dim the multiple in which a slice of it is best cut. A kernel gives the same bits for any cut.
  llvm::SmallVector<int64_t> tile;
  bool movesNoData = false; ///< a view
};

/// `extents`: upper bounds of the op's iteration dims, in the order of rule.dims.
KernelRule kernelRule(mlir::Operation *op, const IndexRule &rule, llvm::ArrayRef<int64_t> extents);

/// Whether the kernel is one pass over its input into a buffer of its own: each reader may have its own copy of the op.
bool mayBeRecomputed(mlir::Operation *op);

/// Whether attention of this head size and value size (or ShapedType::kDynamic) has a kernel that streams it.
bool streamsAttention(int64_t headSize, int64_t valueSize);

} // namespace snug

#endif
