// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// IndexRule as sharding reads it: which operand and result dims are cut with a dim of an op's iterations.
#ifndef SNUG_PASSES_SHARD_SHARDRULE_H
#define SNUG_PASSES_SHARD_SHARDRULE_H

#include "dialects/nn/IndexRule.h"
#include "lib/solver/TensorLayout.h"
#include "llvm/ADT/SmallBitVector.h"
#include <optional>

namespace snug {

/// A dim of an op's iterations that is cut: in segments, as AxisLayout has them; or none, behind the dims of the iterations, of
/// which devices do all, each with its summands of some operands (Summands.h).
struct IterationCut {
  unsigned dim = 0;
  std::vector<int64_t> segments;
  /// Of an attention whose rows are cut: each device has a part of the keys and values, too, which go round the devices (ring
  /// attention: Liu, Zaharia and Abbeel, arXiv 2310.01889), so that none ever has all of them.
  bool isRing = false;
  bool operator==(const IterationCut &o) const { return dim == o.dim && segments == o.segments && isRing == o.isRing; }
};

/// By mesh axis; nothing where all devices along it do the same.
using OpCuts = std::array<std::optional<IterationCut>, kMeshAxes>;

class ShardRule {
public:
  /// The rule of an op; one without dims where the op takes all of its operands as a whole.
  static ShardRule of(mlir::Operation *op);

  /// Extents of the iteration dims that may be cut, AxisLayout::kOpen for open ones; 0 for others.
  llvm::ArrayRef<int64_t> extents() const { return dimExtents; }
  /// Whether the dim may be cut where it has to be filled up for that: iterations that nobody asked for do no harm.
  bool mayBeFilled(unsigned dim) const { return fillable[dim]; }
  bool isReduction(unsigned dim) const { return reductions[dim]; }
  /// Whether the dim is a row that devices compute together (RowsInParts.h).
  bool isRow(unsigned dim) const { return rowDim == dim; }
  /// Whether the dim are the keys of an attention, of which devices may have parts each (KeysInParts.h).
  bool isKeys(unsigned dim) const { return keyDim == dim; }
  /// The cut of keys that goes with one of rows by which they go round; nothing where they cannot.
  std::optional<IterationCut> keysOfRing(const IterationCut &cut) const;
  /// Whether the dim is none, but a set of operands of which devices have summands.
  bool isSummands(unsigned dim) const { return dim >= dimExtents.size() - summands.size(); }
  /// Whether the op asks for the place of an iteration along the dim.
  bool isPlaced(unsigned dim) const { return placed[dim]; }

  /// The cuts of the op with which an operand, or result, lies so. Several where dims are merged.
  std::vector<IterationCut> cutsOfOperand(unsigned operand, const AxisLayout &layout) const;
  std::vector<IterationCut> cutsOfResult(unsigned result, const AxisLayout &cut) const { return cutsOf(results[result], cut); }

  /// How an operand has to lie, and a result lies, where the op is cut so. Nothing where the segments cannot be had.
  std::optional<AxisLayout> operandLayout(unsigned operand, const IterationCut &cut) const;
  std::optional<AxisLayout> resultLayout(unsigned result, const IterationCut &cut) const;

  /// Whether the op can be cut so at all: what depends on the place of an iteration needs parts that are in a row.
  bool allows(const IterationCut &cut) const;

private:
  // How a dim of a tensor follows a dim of the iterations.
  struct Link {
    unsigned iteration = 0;
    int64_t dim = 0;
    // The tensor's dim merges `outer` times the iteration dim times `inner`.
    int64_t outer = 1, inner = 1;
    // The iteration dim is [offset, offset + its extent) of the tensor's, which others take apart at `boundaries`.
    int64_t offset = 0;
    std::vector<int64_t> boundaries;
  };
  using Links = std::vector<Link>;

  std::vector<IterationCut> cutsOf(const Links &links, const AxisLayout &cut) const;
  static std::optional<Link> mergedLink(mlir::AffineExpr expr, llvm::ArrayRef<IterDim> dims);
  bool isBare(unsigned dim) const;
  void reset(size_t numDims);
  std::optional<std::vector<int64_t>> toTensor(const Link &link, const std::vector<int64_t> &segments) const;
  std::optional<std::vector<int64_t>> toIteration(const Link &link, const std::vector<int64_t> &segments) const;
  void readMaps(mlir::Operation *op);
  void readReshape(mlir::Operation *op, mlir::RankedTensorType expanded, llvm::ArrayRef<llvm::SmallVector<int64_t, 2>> groups,
                   bool expands);
  void readExtractSlice(mlir::Operation *op);
  void readInsertSlice(mlir::Operation *op);
  void readSummands(mlir::Operation *op);

  llvm::SmallVector<int64_t> dimExtents;
  llvm::SmallVector<bool> reductions, placed, fillable;
  std::optional<unsigned> rowDim, keyDim, ringDim;
  llvm::SmallVector<llvm::SmallBitVector> summands; // by dim behind those of the iterations
  std::vector<Links> operands, results;
};

} // namespace snug

#endif
