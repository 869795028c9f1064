// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SHARD_CUTCANDIDATES_H
#define SNUG_PASSES_SHARD_CUTCANDIDATES_H

#include "passes/shard/ShardRule.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"

namespace snug {

/// A value of which somebody has said how it lies along an axis.
using KnownLayout = std::pair<mlir::Value, AxisLayout>;

/// The cuts that each op of a block may have: those of contractions, along each of their dims, those of what is known to be in
/// parts, and all that follow from them where values are handed on, forward and backward, through whatever their layout goes along with (as that of
/// attention's heads does through reshapes and slices to the columns of the matrix that makes them).
class CutCandidates {
public:
  CutCandidates(mlir::Block &block, llvm::ArrayRef<KnownLayout> known);

  /// The rule of an op of the block.
  const ShardRule &ruleOf(mlir::Operation *op) const { return entries.find(op)->second.rule; }
  llvm::ArrayRef<IterationCut> of(mlir::Operation *op) const { return entries.find(op)->second.cuts; }

private:
  struct Entry {
    ShardRule rule;
    std::vector<IterationCut> cuts;
  };
  void add(mlir::Operation *op, IterationCut cut);
  void spread(mlir::Operation *op, const IterationCut &cut);
  void follow(mlir::Value value, const AxisLayout &layout);
  void spreadAll();

  llvm::DenseMap<mlir::Operation *, Entry> entries;
  std::vector<std::pair<mlir::Operation *, IterationCut>> work;
};

} // namespace snug

#endif
