// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What ops and changes of layout take, in seconds.
#ifndef SNUG_PASSES_SHARD_LAYOUTCOSTS_H
#define SNUG_PASSES_SHARD_LAYOUTCOSTS_H

#include "lib/analysis/IndexBounds.h"
#include "lib/solver/TimeModel.h"
#include "lib/solver/Topology.h"
#include "passes/shard/Layouts.h"

namespace snug {

/// So many devices at one switch, of links that are fast for processes of one machine or of machines with network cards, and
/// slow for GPUs: what is assumed where no topology is given.
Topology uniformTopology(int64_t devices);

class LayoutCosts {
public:
  LayoutCosts(mlir::ModuleOp module, const MeshExtents &mesh, const Topology &topology, const Machine &machine, int threads);

  /// A tensor as a whole, for the largest dims.
  struct Size {
    double bytes = 0;
    std::vector<int64_t> extents; ///< 0 where nothing bounds one
  };
  Size sizeOf(mlir::Value tensor);

  /// Of a tensor that a device keeps from run to run: of reading what it has of it once.
  double holding(const Size &size, const TensorLayout &layout) const;

  /// Of bringing a tensor of that size from one layout to another.
  double resharding(const Size &size, const TensorLayout &from, const TensorLayout &to) const;

  /// Of what devices tell each other of rows that they have parts of.
  double joiningRows(mlir::Operation *op, const ShardRule &rule, const OpCuts &cuts);

  /// Of so many bytes of matrices that a device holds beyond what it has to. Not a time: a model is cut so that its weights fit, so
  /// that this is more than whatever is sent instead.
  double replicating(double bytes) const;

  /// Of the op on one device, by the roofline of its products and elements.
  double computing(mlir::Operation *op, const ShardRule &rule, const OpCuts &cuts);

  /// The bytes of a tensor as a whole, for the largest dims.
  double bytesOf(mlir::Value value);

  const MeshExtents mesh;

private:
  double rowsOf(mlir::Value tensor, int64_t length);
  double shareOfOp(mlir::Operation *op, const ShardRule &rule, const OpCuts &cuts);

  IndexBounds bounds;
  // The ring of a mesh axis, as MeshPlanner prices it.
  struct Link {
    double bytes_per_s = 0, latency_s = 0;
  };
  std::array<Link, kMeshAxes> links;
  Machine machine;
  int threads;
};

} // namespace snug

#endif
