// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_MESH_MESHDIALECT_H
#define SNUG_DIALECTS_MESH_MESHDIALECT_H

#include "dialects/nn/IndexRule.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <array>
#include <optional>

#include "dialects/mesh/MeshDialect.h.inc"
#include "dialects/mesh/MeshEnums.h.inc"
#include "dialects/mesh/CollectiveInterface.h.inc"
#define GET_OP_CLASSES
#include "dialects/mesh/MeshOps.h.inc"

namespace snug {
/// Module attribute: devices along the axes of the mesh that the program is cut for. Absent: one device.
inline constexpr llvm::StringLiteral kMesh = "snug.mesh";
/// Module attribute: the name of a value that was to be pinned, but is a number or a row of integers.
inline constexpr llvm::StringLiteral kPinnedSizes = "snug.pinned_sizes";

/// The mesh that a program is cut for.
struct Mesh {
  std::array<int64_t, 2> extents{1, 1}; ///< devices along axes 0 and 1

  int64_t size() const { return extents[0] * extents[1]; }
  /// Devices of a group whose members differ along these axes only.
  int64_t groupSize(llvm::ArrayRef<int64_t> axes) const;
  /// Of a rank, its places along the axes.
  std::array<int64_t, 2> placeOf(int64_t rank) const { return {rank / extents[1], rank % extents[1]}; }

  /// Of the module around the op, or of the op itself. nullopt where the program is for one device; failure where the
  /// attribute does not say a mesh of 1 to 2^20 devices (no error is emitted).
  static mlir::FailureOr<std::optional<Mesh>> of(mlir::Operation *op);
};

/// Registers the dialect with its bufferization models.
void registerMeshDialect(mlir::DialectRegistry &registry);
} // namespace snug

#endif
