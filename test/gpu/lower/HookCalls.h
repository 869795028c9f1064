// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the lowering for the host is made of: calls of the simulator's hooks, and loads from the thread's context.
#ifndef SNUG_TEST_GPU_LOWER_HOOKCALLS_H
#define SNUG_TEST_GPU_LOWER_HOOKCALLS_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "test/gpu/sim/Abi.h"

namespace snug::sim {

// Loads and stores that are no access of the kernel: of the context, and of fragments on their way to a hook.
inline constexpr llvm::StringLiteral kOwnAccess = "snug.sim.own";
// Where a pointer comes from (Object), on the op that makes it.
inline constexpr llvm::StringLiteral kObject = "snug.sim.object";
// On a kernel's function: a dictionary of what the table says of it.
inline constexpr llvm::StringLiteral kKernel = "snug.sim.kernel";

// The context of the thread: the first argument of the kernel's function.
mlir::Value contextOf(mlir::Operation *op);

// A field of the context, at `offset` bytes. It is the same for as long as the thread runs.
mlir::Value loadField(mlir::OpBuilder &b, mlir::Operation *at, size_t offset, mlir::Type type);

mlir::Value constantI32(mlir::OpBuilder &b, mlir::Location loc, int64_t value);

// Room for a value, in the entry block: the stack of a thread does not grow in loops.
mlir::Value stackSlot(mlir::OpBuilder &b, mlir::Operation *at, mlir::Type type);

// What `pointer` was computed from.
int32_t objectOf(mlir::Value pointer);

// The call of `hook` for the op `at`, which names the place in reports; `values` are the site's. `pointers`: which of the
// arguments are addresses that the argument behind them names the Object of; filled in once that is known.
mlir::Value callHook(mlir::OpBuilder &b, mlir::Operation *at, Hook hook, llvm::ArrayRef<int32_t> values,
                     mlir::ValueRange arguments, mlir::Type result = {}, llvm::ArrayRef<int32_t> pointers = {});
void fillInObjects(mlir::LLVM::CallOp call);

} // namespace snug::sim
#endif
