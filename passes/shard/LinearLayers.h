// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SHARD_LINEARLAYERS_H
#define SNUG_PASSES_SHARD_LINEARLAYERS_H

#include "lib/solver/MeshPrices.h"
#include "passes/shard/CutCandidates.h"
#include "llvm/ADT/MapVector.h"

namespace snug {

/// The linear layers of a block: ops that sum over a dim of a matrix of weights. The families of Adaptive Tensor Parallelism
/// say how these are cut, and nothing of other ops.
///
/// Column-first and row-first take turns from layer to layer. Whose turn it is follows from how deep a layer lies: the most
/// layers that any way to it from the program's inputs passes, itself included. Odd ones are first layers (queries, keys and
/// values; the ways up of an FFN), even ones second layers: residuals, masks and caches go around layers, and so do not count.
class LinearLayers {
public:
  LinearLayers(mlir::Block &block, const CutCandidates &candidates);

  bool contains(mlir::Operation *op) const { return layers.count(op); }
  size_t size() const { return layers.size(); }

  /// Whether a layer that is cut so is of the family. Where an axis has one device, the family asks nothing of it.
  bool isOf(MeshFamily family, mlir::Operation *layer, const OpCuts &cuts, const MeshExtents &mesh) const;

private:
  struct Layer {
    const ShardRule *rule = nullptr;
    unsigned weight = 0; // the operand
    bool isFirst = true;
  };
  llvm::MapVector<mlir::Operation *, Layer> layers;
};

/// Why there is no such family on this mesh, whatever the model; empty if there is.
std::string familyProblem(MeshFamily family, const MeshExtents &mesh);

} // namespace snug

#endif
