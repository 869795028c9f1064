// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a user asks to be in parts. `snug.pin = array<i64: 1, -1>` names a dim for each axis of the mesh, or none: of an argument
// or result of a function, which is whole along the other axes; of a snug_nn.data, of which each reader takes a part; and
// snug_mesh.pin stands for any other value. The search may cut those along other axes as well.
#ifndef SNUG_PASSES_SHARD_PINS_H
#define SNUG_PASSES_SHARD_PINS_H

#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "passes/shard/CutCandidates.h"
#include "llvm/ADT/StringMap.h"

namespace snug {

inline constexpr llvm::StringLiteral kPin = "snug.pin";
using PinnedDims = std::array<int64_t, kMeshAxes>; ///< -1: not pinned
/// In place of a dim: all devices along the axis have the same.
inline constexpr int64_t kWholeAlong = -2;

/// The layout with these dims cut along the axes, each in one segment, and whole where there is none. Nothing where that cannot be, and `why`. An axis of one
/// device cuts nothing.
std::optional<TensorLayout> layoutAlong(llvm::ArrayRef<int64_t> dims, mlir::RankedTensorType type, const MeshExtents &mesh,
                                        std::string &why);

/// Whether a tensor that lies so is in parts as the pin says.
bool isPinnedTo(const TensorLayout &layout, const PinnedDims &dims, const MeshExtents &mesh);

/// The first pin that cannot be kept on this mesh, whatever is chosen for the ops around it, with its reason; empty: none.
std::string pinProblem(mlir::ModuleOp module, const MeshExtents &mesh);

/// The pins of a module's weights and values.
class Pins {
public:
  explicit Pins(mlir::ModuleOp module);

  /// Of a weight as it is read: its recipe may have moved dims.
  std::optional<PinnedDims> ofWeight(nn::WeightOp weight) const;

  /// How the values in a block lie that have pins, along each axis.
  std::vector<KnownLayout> known(mlir::Block &block, const MeshExtents &mesh) const;

private:
  llvm::StringMap<PinnedDims> data;
  llvm::StringMap<llvm::SmallVector<int64_t>> shapes; // of this data
};

} // namespace snug

#endif
