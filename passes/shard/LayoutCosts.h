// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What ops and changes of layout take, in seconds.
#ifndef SNUG_PASSES_SHARD_LAYOUTCOSTS_H
#define SNUG_PASSES_SHARD_LAYOUTCOSTS_H

#include "lib/analysis/IndexBounds.h"
#include "lib/solver/MeshPrices.h"
#include "lib/solver/TimeModel.h"
#include "passes/shard/Layouts.h"

namespace snug {

/// A kind of run: how often, and the most of each of the program's dims (`snug.dims`); none: their largest.
struct PhasePoint {
  double runs = 1;
  std::vector<int64_t> atMost;
};

/// What is allowed.
struct LayoutRules {
  RingAttention ring = RingAttention::Auto;
  bool overlaps = true;          ///< what goes round is sent while devices compute
  bool replicatesWeights = false; ///< matrices may be on several devices as a whole
};

class LayoutCosts {
public:
  LayoutCosts(mlir::ModuleOp module, const MeshExtents &mesh, const Topology &topology, const Machine &machine, int threads,
              llvm::ArrayRef<PhasePoint> phases = PhasePoint(), const LayoutRules &rules = {});

  size_t numPhases() const { return phases.size(); }

  /// A tensor as a whole.
  struct Size {
    double bytes = 0;
    std::vector<int64_t> extents; ///< 0 where nothing bounds one
  };
  Size sizeOf(size_t phase, mlir::Value tensor);
  /// By phase.
  using Sizes = llvm::SmallVector<Size, 1>;
  Sizes sizesOf(mlir::Value tensor);

  /// What a device sends and copies to bring a tensor of that size from one layout to another.
  StatedTraffic resharding(const Size &size, const TensorLayout &from, const TensorLayout &to) const;

  /// Of a tensor that a device keeps from run to run: reading what it has of it once.
  StatedTraffic holding(const Size &size, const TensorLayout &layout) const;

  /// What a device computes of the op, by the roofline of its products and elements, and tells others of rows or keys that
  /// they have parts of.
  StatedTraffic doing(size_t phase, mlir::Operation *op, const ShardRule &rule, const OpCuts &cuts);

  /// Of all phases, as often as they run, where `trafficOf` says what a run of each spends.
  double seconds(llvm::function_ref<StatedTraffic(size_t phase)> trafficOf) const;

  /// Of so many bytes of matrices that a device holds beyond what it has to. Not a time: a model is cut so that its weights fit, so
  /// that this is more than whatever is sent instead.
  double replicating(double bytes) const;

  const MeshExtents mesh;
  const LayoutRules rules;

private:
  void addRing(size_t phase, mlir::Operation *op, const ShardRule &rule, const OpCuts &cuts, StatedTraffic &traffic);
  double rowsOf(size_t phase, mlir::Value tensor, int64_t length);
  double shareOfOp(size_t phase, mlir::Operation *op, const ShardRule &rule, const OpCuts &cuts);
  double computing(size_t phase, mlir::Operation *op, double share);

  struct Phase {
    double runs;
    IndexBounds bounds;
  };
  std::vector<Phase> phases;
  std::array<MeshRing, kRings> rings;
  Machine machine;
  int threads;
};

} // namespace snug

#endif
