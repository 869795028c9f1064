// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How cuts stand in the IR: module attribute `snug.mesh = array<i64: d1, d2>`, and on an op
// `snug.cuts = [{axis = 0, dim = 2, segments = array<i64: 64, 64>}, ...]`, a dim of its iterations by mesh axis,
// and `ring` beside them where keys go round (IterationCut).
#ifndef SNUG_PASSES_SHARD_LAYOUTS_H
#define SNUG_PASSES_SHARD_LAYOUTS_H

#include "mlir/IR/BuiltinOps.h"
#include "passes/shard/ShardRule.h"

namespace snug {

inline constexpr llvm::StringLiteral kCuts = "snug.cuts";
/// The layout to which a tensor with several readers is brought first, and from which each of them gets it: of an argument, or a list
/// of those of an op's results. By axis {dim = 1, segments = array<i64: 64>}, "partial" or "whole".
inline constexpr llvm::StringLiteral kShared = "snug.shared";
mlir::Attribute sharedAttribute(mlir::MLIRContext *context, const TensorLayout &layout);
/// Nothing where the attribute is none, or says none of a tensor of this type.
std::optional<TensorLayout> readShared(mlir::Attribute attribute, mlir::RankedTensorType type, const MeshExtents &mesh);

/// What the passes make, and the rules that they ask ops for: of upstream ops, too, so that they run in any tool.
void registerShardDialects(mlir::DialectRegistry &registry);

/// 1 x 1 where the module has no mesh; failure and an error where the attribute is none.
mlir::FailureOr<MeshExtents> readMesh(mlir::ModuleOp module);

/// Failure and an error where the attribute is none, or its cuts are none of this op on this mesh.
mlir::FailureOr<OpCuts> readCuts(mlir::Operation *op, const ShardRule &rule, const MeshExtents &mesh);
void writeCuts(mlir::Operation *op, const OpCuts &cuts);

/// A tensor of the op's, and its dim, that has the extent of the cut's dim of iterations.
std::pair<mlir::Value, int64_t> tensorOf(mlir::Operation *op, const ShardRule &rule, const IterationCut &cut);

/// How an operand has to lie where the op is cut so, and how a result does. Nothing where that is no layout.
std::optional<TensorLayout> operandLayout(const ShardRule &rule, unsigned operand, const OpCuts &cuts, const MeshExtents &mesh);
std::optional<TensorLayout> resultLayout(const ShardRule &rule, unsigned result, const OpCuts &cuts, const MeshExtents &mesh);

} // namespace snug

#endif
