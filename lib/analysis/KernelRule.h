// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// KernelRule: what one kernel costs, beside its IndexRule. The only place where chunking and memory planning learn how
// an op is executed.
#ifndef SNUG_LIB_ANALYSIS_KERNELRULE_H
#define SNUG_LIB_ANALYSIS_KERNELRULE_H

#include "dialects/nn/IndexRule.h"

namespace snug {

/// Tiles of contractions and of attention's rows, as code generation cuts them for threads.
constexpr int64_t kTileRows = 96, kTileColumns = 128;

struct KernelRule {
  /// Operations of the whole op by what bounds their rate: the products of contractions and of attention (a multiply-add
  /// counts two), elements through exp and the like, plain operations on elements, elements of rows that are normalized
  /// or summed, and elements that are moved across the order in which they lie in memory.
  double contraction = 0, attention = 0, transcendental = 0, elementwise = 0, reduction = 0, strided = 0;
  bool isNarrow = false; ///< contractions and attention are of floats of 16 bits
  double packed = 0; ///< elements that each tile of rows brings into order for itself
  double seen = 1;   ///< share of keys and values that a row of attention looks at, on average
  llvm::SmallVector<unsigned> panels; ///< operands that are read for each tile of rows
  /// Of each iteration dim: whether it belongs to the rows or to the columns of tiles.
  llvm::SmallVector<bool> rows, columns;
  int64_t workspaceBytes = 0; ///< scratch in the arena while it runs, beside operands and results
  /// For each iteration dim the multiple in which a slice of it is best cut. A kernel gives the same bits for any cut.
  llvm::SmallVector<int64_t> tile;
  bool movesNoData = false; ///< a view
};

/// What a kernel computes that does not wait for each other.
struct KernelPieces {
  double outer = 1; ///< pairs of rows and columns
  int64_t rows = 1, columns = 1; ///< of a contraction or attention
  bool hasRows = false, hasColumns = false;
};
KernelPieces kernelPieces(const IndexRule &rule, const KernelRule &kernel, llvm::ArrayRef<int64_t> extents);

/// `extents`: upper bounds of the op's iteration dims, in the order of rule.dims.
KernelRule kernelRule(mlir::Operation *op, const IndexRule &rule, llvm::ArrayRef<int64_t> extents);

/// Whether the kernel is one pass over its input into a buffer of its own: each reader may have its own copy of the op.
bool mayBeRecomputed(mlir::Operation *op);

/// Whether attention of this head size and value size (or ShapedType::kDynamic) has a kernel that streams it.
bool streamsAttention(int64_t headSize, int64_t valueSize);

} // namespace snug

#endif
