// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SHARD_RESHARDING_H
#define SNUG_PASSES_SHARD_RESHARDING_H

#include "lib/solver/TensorLayout.h"
#include "mlir/IR/Builders.h"

namespace snug {

/// The type of what one device has of a tensor that lies so.
mlir::RankedTensorType localType(mlir::RankedTensorType whole, const TensorLayout &layout, const MeshExtents &mesh);

/// How much one device has of a dim of the tensor's of which there is `whole` in all.
mlir::OpFoldResult localExtent(mlir::OpBuilder &builder, mlir::Location loc, mlir::OpFoldResult whole, int64_t dim,
                               const TensorLayout &layout, const MeshExtents &mesh);

/// `local`, which lies as `from` says, as `to` says: the collectives of planResharding(), each with the copies that lay
/// tensors out for it. `extents` are those of the tensor as a whole; null where no layout of it cuts an open dim.
mlir::Value reshard(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value local, llvm::ArrayRef<mlir::OpFoldResult> extents,
                    const TensorLayout &from, const TensorLayout &to, const MeshExtents &mesh);

} // namespace snug

#endif
