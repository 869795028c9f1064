// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/KernelRule.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/ScatterOp.h"
#include "lib/analysis/KeyBound.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/LoopLikeInterface.h"

using namespace mlir;
using namespace snug;

// Rows that a contraction holds in registers and packs at once; shorter slices waste the tile.
static constexpr int64_t kContractionRows = 16;
// Columns that are computed together, at least.
static constexpr int64_t kColumns = 16;
// Plain operations of attention on a score, beside what its region has.
static constexpr double kScoreOperations = 6;

// A block of rows keeps its weighted values on the stack.
static constexpr int64_t kLargestHead = 512;

bool snug::streamsAttention(int64_t headSize, int64_t valueSize) {
  return !ShapedType::isDynamic(headSize) && !ShapedType::isDynamic(valueSize) && headSize <= kLargestHead &&
         valueSize <= kLargestHead;
}

// Adds what a region computes for one element, `times` times.
static void addRegion(Region &region, double times, KernelRule &kernel) {
  region.walk([&](Operation *op) {
    if (op->hasTrait<OpTrait::IsTerminator>() || op->hasTrait<OpTrait::ConstantLike>())
      return;
    if (isa<math::SqrtOp, math::RsqrtOp, arith::DivFOp>(op))
      kernel.elementwise += 4 * times; // as long as so many others
    else if (isa<math::MathDialect>(op->getDialect()) &&
             !isa<math::AbsFOp, math::FmaOp, math::FloorOp, math::CeilOp, math::RoundEvenOp>(op))
      kernel.transcendental += times;
    else
      kernel.elementwise += times;
  });
}

// Of all scores the share that is computed where later keys are masked.
static double seenShare(nn::AttentionOp op, int64_t rows, int64_t keys) {
  std::optional<KeyBound> bound = keyBound(op);
  if (!bound || rows < 1 || keys < 1)
    return 1;
  int64_t step = 0;
  for (auto [dim, factor] : bound->last.dims)
    if (dim == op.rowDim())
      step = factor;
  // What only the run tells (how much is in a cache) counts as 0. A tile ends at its farthest row's bound.
  double seen = 0;
  for (int64_t first = 0; first < rows; first += kTileRows) {
    int64_t count = std::min(kTileRows, rows - first), row = step > 0 ? first + count - 1 : first;
    seen += static_cast<double>(count * std::clamp<int64_t>(step * row + bound->last.constant + 1, 0, keys));
  }
  return seen / (static_cast<double>(rows) * static_cast<double>(keys));
}

// Whether an element is read along another dim than it is written along.
static bool isTransposed(linalg::LinalgOp op) {
  AffineMap written = op.getMatchingIndexingMap(op.getDpsInitOperand(0));
  if (op.getNumReductionLoops() || written.getNumResults() == 0)
    return false;
  auto last = dyn_cast<AffineDimExpr>(written.getResults().back());
  return last && llvm::any_of(op.getDpsInputOperands(), [&](OpOperand *input) {
           AffineMap map = op.getMatchingIndexingMap(input);
           return map.isFunctionOfDim(last.getPosition()) &&
                  !map.getResults().back().isFunctionOfDim(last.getPosition());
         });
}

static bool isNarrow(Value operand) {
  Type type = getElementTypeOrSelf(operand.getType());
  return isa<FloatType>(type) && type.getIntOrFloatBitWidth() <= 16;
}

KernelRule snug::kernelRule(Operation *op, const IndexRule &rule, ArrayRef<int64_t> extents) {
  KernelRule kernel;
  kernel.tile.assign(rule.dims.size(), 1);
  kernel.rows.assign(rule.dims.size(), false);
  kernel.columns.assign(rule.dims.size(), false);
  if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ExtractSliceOp>(op)) {
    kernel.movesNoData = true;
    return kernel;
  }
  if (isa<mesh::CollectiveOpInterface>(op))
    return kernel; // it computes next to nothing; what the links take is not modelled here
  auto productOf = [&](function_ref<bool(unsigned)> includes) {
    double product = 1;
    for (auto [dim, extent] : llvm::enumerate(extents))
      product *= includes(dim) ? static_cast<double>(extent) : 1.0;
    return product;
  };
  auto partial = dyn_cast<nn::PartialReduceOp>(op);
  double iterations = productOf([&](unsigned dim) { return !partial || dim != partial.partDim(); }); // a term is in one part
  if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
    unsigned d = attention.headSizeDim(), e = attention.valueSizeDim();
    double seen = seenShare(attention, extents[attention.rowDim()], extents[attention.keyDim()]);
    double scores = seen * productOf([&](unsigned dim) { return dim != d && dim != e && dim != attention.partDim(); });
    // Both products. Keys are the columns of one, values of the other: half a tile is computed as a whole.
    int64_t keys = std::max<int64_t>(extents[attention.keyDim()], 1);
    double padded = static_cast<double>(llvm::alignTo(keys, kColumns)) / static_cast<double>(keys);
    kernel.attention =
        2 * scores *
        (padded * static_cast<double>(extents[d]) + static_cast<double>(llvm::alignTo(extents[e], kColumns)));
    kernel.transcendental = scores;
    kernel.elementwise = kScoreOperations * scores;
    // Keys are transposed; values are mostly read where they are.
    kernel.packed = seen * productOf([&](unsigned dim) { return dim != e && dim != attention.rowDim() && dim != attention.partDim(); });
    kernel.seen = seen;
    kernel.panels = {1, 2};
    kernel.isNarrow = isNarrow(attention.getQ());
    addRegion(attention.getScore(), scores, kernel);
    kernel.tile[attention.rowDim()] = kContractionRows;
    kernel.rows[attention.rowDim()] = true;
    return kernel;
  }
  if (auto scalar = dyn_cast<nn::ScalarKernelOp>(op)) {
    // How often its loops turn is data. A turn an element of the longest dim that it walks along is a guess.
    int64_t longest = 1;
    bool loops = false;
    scalar.getBody().walk([&](LoopLikeOpInterface) { loops = true; });
    for (unsigned dim = scalar.getNumParallelDims(); loops && dim < extents.size(); ++dim)
      longest = std::max(longest, extents[dim]);
    double points = productOf([&](unsigned dim) { return dim < scalar.getNumParallelDims(); });
    addRegion(scalar.getBody(), points * static_cast<double>(longest), kernel);
    return kernel;
  }
  if (auto scatter = dyn_cast<nn::ScatterOp>(op)) { // an element and its place
    double updates = productOf([&](unsigned dim) { return dim < scatter.getPlace().getNumDims(); });
    kernel.elementwise = 2 * updates;
    addRegion(scatter.getCombiner(), updates, kernel);
    return kernel;
  }
  auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
  auto contract = dyn_cast<nn::ContractOp>(op);
  if (isa<nn::ScanOp>(op)) {
    kernel.reduction = iterations;
    return kernel;
  }
  if (isa<nn::TopKOp>(op)) { // kept ones are an extent of their own; a guess of how often a row is gone through
    constexpr double passes = 8;
    kernel.reduction = passes * iterations / static_cast<double>(std::max<int64_t>(1, extents.back()));
    return kernel;
  }
  if (!contract && !(!partial && linalgOp && linalgOp.getNumDpsInputs() == 2 && linalg::isaContractionOpInterface(linalgOp))) {
    if (isa<nn::GatherOp>(op)) // one element of the gathered dim each
      iterations /= static_cast<double>(std::max<int64_t>(1, extents.back()));
    if (isa<nn::SoftmaxOp, linalg::SoftmaxOp>(op)) {
      kernel.transcendental = iterations;
      kernel.reduction = iterations;
    } else if (isa<nn::NormOp>(op)) {
      kernel.reduction = iterations;
    } else {
      (linalgOp && linalgOp.getNumReductionLoops() ? kernel.reduction : kernel.elementwise) = iterations;
      if (linalgOp)
        addRegion(*linalgOp.getBlock()->getParent(), iterations, kernel);
      if (linalgOp && isTransposed(linalgOp))
        kernel.strided = iterations;
    }
    return kernel;
  }
  kernel.contraction = 2 * iterations;
  kernel.isNarrow = isNarrow(op->getOperand(0)) && isNarrow(op->getOperand(1));
  kernel.panels = {1};
  if (contract)
    addRegion(contract.getEpilogue(),
              productOf([&](unsigned dim) { return rule.dims[dim].kind != IterKind::Reduction; }), kernel);
  if (!contract || !contract.getPacked())
    kernel.packed = productOf([&](unsigned dim) { return rule.operands[1] && rule.operands[1].isFunctionOfDim(dim); });
  // Rows and columns, but not the batch: in one factor and the result only. Several dims of one factor are the rows
  // together, so that a step of an outer one is as many rows as the inner ones have.
  for (unsigned factor : {0, 1}) {
    int64_t inner = 1;
    for (int64_t dim = rule.dims.size() - 1; dim >= 0; --dim) {
      auto has = [&](AffineMap map) { return map && map.isFunctionOfDim(dim); };
      if (rule.dims[dim].kind == IterKind::Reduction || !has(rule.operands[factor]) || has(rule.operands[1 - factor]))
        continue;
      (factor == 0 ? kernel.rows : kernel.columns)[dim] = true;
      if (rule.dims[dim].kind == IterKind::Parallel)
        kernel.tile[dim] = std::max<int64_t>(1, kContractionRows / inner);
      inner *= std::clamp<int64_t>(extents[dim], 1, kContractionRows);
    }
  }
  return kernel;
}

KernelPieces snug::kernelPieces(const IndexRule &rule, const KernelRule &kernel, ArrayRef<int64_t> extents) {
  KernelPieces pieces;
  for (auto [dim, extent] : llvm::enumerate(extents)) {
    pieces.hasRows |= kernel.rows[dim];
    pieces.hasColumns |= kernel.columns[dim];
    if (kernel.rows[dim])
      pieces.rows *= extent;
    else if (kernel.columns[dim])
      pieces.columns *= extent;
    else if (rule.dims[dim].kind == IterKind::Parallel)
      pieces.outer *= static_cast<double>(extent);
  }
  return pieces;
}

bool snug::mayBeRecomputed(Operation *op) {
  auto dps = dyn_cast<DestinationStyleOpInterface>(op);
  if (!dps || op->getNumResults() != 1 || !dps.getDpsInitOperand(0)->get().getDefiningOp<tensor::EmptyOp>())
    return false;
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
    return linalgOp.getNumParallelLoops() == linalgOp.getNumLoops();
  return isa<nn::NormOp>(op);
}
