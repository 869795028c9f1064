// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SHARD_LOCALOPS_H
#define SNUG_PASSES_SHARD_LOCALOPS_H

#include "dialects/nn/NnDialect.h"
#include "passes/shard/Layouts.h"
#include "llvm/ADT/DenseMap.h"

namespace snug {

using WholeExtents = llvm::DenseMap<mlir::Value, llvm::SmallVector<mlir::OpFoldResult>>;

/// Ops as one device does them. `extents` are those of tensors as a whole, of which ops may cut open dims.
class LocalOps {
public:
  LocalOps(mlir::OpBuilder &builder, const MeshExtents &mesh, const WholeExtents &extents) : b(builder), mesh(mesh), extents(extents) {}

  /// The op on what one device has of its operands, with results of these types: a copy of it, or what stands for it together
  /// with what the others do.
  llvm::SmallVector<mlir::Value> make(mlir::Operation *op, const ShardRule &rule, const OpCuts &cuts, llvm::ArrayRef<mlir::Type> types,
                                      llvm::ArrayRef<mlir::Value> operands);

private:
  int64_t sizeOf(llvm::ArrayRef<int64_t> axes) const;
  mlir::Value attendInParts(nn::AttentionOp op, const ShardRule &rule, const OpCuts &cuts, llvm::ArrayRef<mlir::Value> operands,
                            llvm::ArrayRef<int64_t> axes);
  mlir::Value attendInRing(nn::AttentionOp op, const ShardRule &rule, const OpCuts &cuts, llvm::ArrayRef<mlir::Value> operands);
  // Of a part of that length which begins there, as filled up: where it begins, and how much of it there is, within the extent.
  std::pair<mlir::OpFoldResult, mlir::OpFoldResult> thereOf(mlir::Location loc, mlir::OpFoldResult start, mlir::OpFoldResult length,
                                                            mlir::OpFoldResult extent);
  mlir::OpFoldResult startOf(mlir::Location loc, const OpCuts &cuts, unsigned dim, mlir::OpFoldResult length,
                             llvm::ArrayRef<int64_t> shifts = {0, 0});
  mlir::OpFoldResult extentOfIterations(mlir::Operation *op, const ShardRule &rule, const IterationCut &cut);
  void placeIterations(mlir::Operation *op, mlir::Operation *copy, const ShardRule &rule, const OpCuts &cuts);

  mlir::OpBuilder &b;
  const MeshExtents &mesh;
  const WholeExtents &extents;
};

} // namespace snug

#endif
