// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_PLAN_PLANDIALECT_H
#define SNUG_DIALECTS_PLAN_PLANDIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/plan/PlanDialect.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/plan/PlanAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/plan/PlanOps.h.inc"

namespace snug {
/// Module attribute: how many bytes at the end of the arena, in any bucket, libraries work in. Absent: none.
inline constexpr llvm::StringLiteral kWorkspaceBytes = "snug.workspace_bytes";
/// Bytes that the workspace starts at a multiple of.
inline constexpr int64_t kWorkspaceAlignment = 256;
/// Of a kernel op: the name of the library that may do it in the place of a kernel.
inline constexpr llvm::StringLiteral kLibrary = "snug.library";
/// What kWorkspaceBytes says, or 0.
int64_t workspaceBytes(mlir::ModuleOp module);
} // namespace snug

#endif
