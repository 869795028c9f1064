// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How the elements of a tensor will lie in memory, for ops that want them side by side.
#ifndef SNUG_DIALECTS_NN_CONTIGUOUS_H
#define SNUG_DIALECTS_NN_CONTIGUOUS_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"

namespace snug {

/// The memref that a tensor becomes, by the rules that bufferization goes by: a view of its source's, or what its kernel
/// writes into; anything else has a row-major buffer of its own.
mlir::MemRefType layoutOf(mlir::Value tensor);

/// Whether the elements lie side by side in row-major order, from any first one on: as far as the type says.
bool isContiguous(mlir::MemRefType type);
/// Whether they do not, whatever is dynamic in the type.
bool isScattered(mlir::MemRefType type);

/// Whether the elements of the tensor will, whatever its dims are.
bool isContiguous(mlir::Value tensor);

/// A new tensor of the same type, and a copy of the elements in one.
mlir::Value emptyLike(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value tensor);
mlir::Value contiguousCopy(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value tensor);

} // namespace snug

#endif
