// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the host function does with kernels: starts them, and on a GPU reads what they have made.
#ifndef SNUG_CODEGEN_HOST_LAUNCHES_H
#define SNUG_CODEGEN_HOST_LAUNCHES_H

#include "dialects/plan/PlanDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace snug::codegen {
struct KernelCode;

// Launch `index` as a call of `start` with `state`, which is parallel_for, or launch of a GPU; `slots` is the array its arguments are
// stored to, after its index. In place of the op.
mlir::LogicalResult lowerLaunch(plan::LaunchOp launch, int64_t index, const KernelCode &code, mlir::Value slots,
                                mlir::Value start, mlir::Value state);
// An element of memory that the host does not see, by a call of `read` with `state`, in place of the op.
void lowerRead(mlir::memref::LoadOp load, mlir::Value read, mlir::Value state);

} // namespace snug::codegen
#endif
