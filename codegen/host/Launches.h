// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the host function does with kernels: starts them, and on a GPU reads what they have made.
#ifndef SNUG_CODEGEN_HOST_LAUNCHES_H
#define SNUG_CODEGEN_HOST_LAUNCHES_H

#include "dialects/plan/PlanDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace snug::codegen {
struct KernelCode;

// How launches are started: by `start` with `state`, which is parallel_for, or launch of a GPU, and `contract` those that libraries
// may do. `slots` is the array that arguments are stored to, after the launch's index, and `shape` that of what a library is told.
struct LaunchCalls {
  mlir::Value slots, start, state, contract, shape;
};
// Launch `index` as a call, in place of the op; `contraction` is the number of what a library may do of it.
mlir::LogicalResult lowerLaunch(plan::LaunchOp launch, int64_t index, int64_t contraction, const KernelCode &code, const LaunchCalls &calls);
// An element of memory that the host does not see, by a call of `read` with `state`, in place of the op.
void lowerRead(mlir::memref::LoadOp load, mlir::Value read, mlir::Value state);

} // namespace snug::codegen
#endif
