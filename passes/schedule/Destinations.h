// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which tensor each kernel writes into: nobody else's, and where results of functions, loops and branches have to be in
// the end, that at once.
#ifndef SNUG_PASSES_SCHEDULE_DESTINATIONS_H
#define SNUG_PASSES_SCHEDULE_DESTINATIONS_H

#include "lib/analysis/Order.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace snug {

/// Gives each destination in the block a buffer of its own where it has none: a copy of tensor.empty and of linalg.fill
/// for each user (CSE merges equal ones), a new tensor.empty for what is overwritten blindly, a copy where the old
/// content counts.
void separateDestinations(mlir::Block &block);

/// The tensor.empty that the value is made in, by kernels that write in place and views that can be undone, which are
/// listed from the value back. Null where there is none, or where the value is in `there` already.
mlir::tensor::EmptyOp madeIn(mlir::Value value, llvm::SmallVectorImpl<mlir::Operation *> &views, mlir::Value there,
                             bool &isThere);
/// Whether the value is made in the buffer of `destination`.
bool isIn(mlir::Value value, mlir::Value destination);
/// Where the value comes from a tensor.empty, puts the destination in place of that. True also where the value is there
/// already.
bool produceInto(mlir::Value value, mlir::Value destination);

/// Results become destination arguments.
void addDestinationArguments(mlir::func::FuncOp function);
/// What the function returns is made in, or copied to, its destination arguments.
void assignDestinations(mlir::func::FuncOp function);

/// Where the tensors that a loop's or branch's block hands on have to be: what the loop carries, or for a branch one tensor
/// for both of its blocks, which may be made for it. Null for values that are no tensors. Failure: an error was emitted.
mlir::FailureOr<llvm::SmallVector<mlir::Value>> bodyDestinations(mlir::Operation *op);
/// Lets kernels of the block make what it hands on in these places, where an order exists that keeps what others read
/// there; `facts` says which.
void tieYields(mlir::Block &block, llvm::ArrayRef<mlir::Value> destinations, OrderFacts &facts);
/// Copies what is not in its place after all else.
void copyYields(mlir::Block &block, llvm::ArrayRef<mlir::Value> destinations);

} // namespace snug

#endif
