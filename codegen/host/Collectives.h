// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Collectives in the host function: calls of snug_runtime_table.
#ifndef SNUG_CODEGEN_HOST_COLLECTIVES_H
#define SNUG_CODEGEN_HOST_COLLECTIVES_H

#include "dialects/mesh/MeshDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace snug::codegen {

// The address of a memref's first element, as an index.
mlir::Value addressOfFirst(mlir::ImplicitLocOpBuilder &b, mlir::Value memref);

// Collective `number` of the header's as a call of `function` with `state`, in place of the op.
void lowerCollective(mesh::CollectiveOpInterface op, int64_t number, mlir::Value function, mlir::Value state);
// The end of the one of that number, as a call of `function` with `state`, in place of the op.
void lowerWait(mesh::WaitOp op, int64_t number, mlir::Value function, mlir::Value state);
// The device's place along an axis, from snug_run_args.mesh_index, in place of the op.
void lowerMeshIndex(mesh::IndexOp op, mlir::Value meshIndex);

} // namespace snug::codegen
#endif
