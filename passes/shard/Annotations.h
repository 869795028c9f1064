// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SHARD_ANNOTATIONS_H
#define SNUG_PASSES_SHARD_ANNOTATIONS_H

#include "lib/solver/TensorLayout.h"
#include "mlir/IR/BuiltinOps.h"
#include <optional>

namespace snug {

/// Makes pins (Pins.h) of the annotations of MLIR's dialect `shard` and erases them: `shard.shard` on an argument that nobody else
/// reads is that of the argument, on a returned value that of the result, and any other one that of the value from there on. The
/// grid, of one or two axes, is the mesh; nothing where there is none. Failure and an error where something of it cannot be kept.
mlir::FailureOr<std::optional<MeshExtents>> readAnnotations(mlir::ModuleOp module);

} // namespace snug

#endif
