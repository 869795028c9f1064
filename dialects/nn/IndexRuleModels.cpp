// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Index rules of upstream ops: linalg by its indexing maps, and the tensor ops that move no data.
#include "dialects/nn/NnDialect.h"
#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug;

namespace {
Combiner combinerOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, Combiner>(op)
      .Case<arith::AddFOp, arith::AddIOp>([](auto) { return Combiner::Sum; })
      .Case<arith::MulFOp, arith::MulIOp>([](auto) { return Combiner::Prod; })
      .Case<arith::MaximumFOp, arith::MaxNumFOp, arith::MaxSIOp, arith::MaxUIOp>([](auto) { return Combiner::Max; })
      .Case<arith::MinimumFOp, arith::MinNumFOp, arith::MinSIOp, arith::MinUIOp>([](auto) { return Combiner::Min; })
      .Default([](Operation *) { return Combiner::None; });
}

// One combiner for all results, as reduction dims are the op's and not a result's.
Combiner combinerOf(linalg::LinalgOp op) {
  Combiner all = Combiner::None;
  for (unsigned i = 0, e = op.getNumDpsInits(); i < e; ++i) {
    SmallVector<Operation *, 4> combiners;
    if (!matchReduction(op.getRegionOutputArgs(), i, combiners) || combiners.size() != 1)
      return Combiner::None;
    Combiner one = combinerOf(combiners.front());
    if (i > 0 && one != all)
      return Combiner::None;
    all = one;
  }
  return all;
}

template <class OpT> struct LinalgRule : IndexRuleOpInterface::ExternalModel<LinalgRule<OpT>, OpT> {
  FailureOr<IndexRule> getIndexRule(Operation *operation) const {
    auto op = cast<linalg::LinalgOp>(operation);
    IndexRule rule;
    Combiner combiner = Combiner::None;
    if (op.getNumReductionLoops() > 0)
      combiner = combinerOf(op);
    for (utils::IteratorType type : op.getIteratorTypesArray()) {
      if (type == utils::IteratorType::parallel)
        rule.dims.push_back({});
      else if (type == utils::IteratorType::reduction && combiner != Combiner::None)
        rule.dims.push_back({IterKind::Reduction, combiner});
      else
        rule.dims.push_back({IterKind::Whole, Combiner::None});
    }
    for (OpOperand &init : op.getDpsInitsMutable())
      rule.keepsDestinations = rule.keepsDestinations || op.payloadUsesValueFromOperand(&init);
    llvm::append_range(rule.operands, op.getIndexingMapsArray());
    for (OpOperand &init : op.getDpsInitsMutable())
      rule.results.push_back(op.getMatchingIndexingMap(&init));
    keepWindows(rule);
    return rule;
  }

  bool mayOverwrite(Operation *operation, OpOperand &operand, OpOperand &init) const {
    auto op = cast<linalg::LinalgOp>(operation);
    return op.getNumLoops() == op.getNumParallelLoops() && op.getMatchingIndexingMap(&operand).isIdentity() &&
           op.getMatchingIndexingMap(&init).isIdentity() && !op.payloadUsesValueFromOperand(&init);
  }

  void placeSlice(Operation *operation, OpBuilder &builder, unsigned dim, Value offset) const {
    placeLinalgIndices(operation, builder, dim, offset);
  }
};

struct SoftmaxRule : IndexRuleOpInterface::ExternalModel<SoftmaxRule, linalg::SoftmaxOp> {
  FailureOr<IndexRule> getIndexRule(Operation *operation) const {
    auto op = cast<linalg::SoftmaxOp>(operation);
    int64_t rank = op.getInputOperandRank();
    IndexRule rule;
    rule.dims.assign(rank, IterDim{});
    rule.dims[op.getDimension()].kind = IterKind::Whole;
    AffineMap identity = AffineMap::getMultiDimIdentityMap(rank, op.getContext());
    rule.operands.assign(2, identity);
    rule.results.assign(operation->getNumResults(), identity);
    return rule;
  }
};

SmallVector<int64_t> staticSizes(ArrayRef<OpFoldResult> sizes) {
  return llvm::map_to_vector(
      sizes, [](OpFoldResult size) { return getConstantIntValue(size).value_or(ShapedType::kDynamic); });
}

// Reshapes iterate over the expanded dims. Of a group only the outermost dim that is not 1 can be split: a slice of it
// is a contiguous slice of the merged dim, as many times longer as the inner dims have elements.
template <class OpT> struct ReshapeRule : IndexRuleOpInterface::ExternalModel<ReshapeRule<OpT>, OpT> {
  FailureOr<IndexRule> getIndexRule(Operation *operation) const {
    auto op = cast<OpT>(operation);
    constexpr bool expands = std::is_same_v<OpT, tensor::ExpandShapeOp>;
    RankedTensorType expanded = expands ? op.getResultType() : op.getSrcType();
    MLIRContext *context = operation->getContext();
    int64_t rank = expanded.getRank();
    IndexRule rule;
    rule.dims.assign(rank, IterDim{IterKind::Whole, Combiner::None});
    SmallVector<AffineExpr> merged;
    for (const auto &group : op.getReassociationIndices()) {
      int64_t stride = 1;
      std::optional<int64_t> outermost;
      AffineExpr expr = getAffineConstantExpr(0, context);
      for (int64_t dim : llvm::reverse(group)) {
        int64_t size = expanded.getDimSize(dim);
        if (size == 1)
          continue;
        outermost = dim;
        if (stride > 0) // behind a dynamic inner dim the stride is no constant
          expr = expr + getAffineDimExpr(dim, context) * stride;
        else
          outermost = std::nullopt;
        stride = ShapedType::isDynamic(size) ? 0 : stride * size;
      }
      if (outermost && expr.isFunctionOfDim(*outermost))
        rule.dims[*outermost].kind = IterKind::Parallel;
      merged.push_back(expr);
    }
    AffineMap identity = AffineMap::getMultiDimIdentityMap(rank, context);
    AffineMap linear = AffineMap::get(rank, 0, merged, context);
    rule.operands.assign(operation->getNumOperands(), AffineMap());
    rule.operands[0] = expands ? linear : identity;
    rule.results.assign(1, expands ? identity : linear);
    return rule;
  }

  SmallVector<Value> cloneSlice(Operation *operation, OpBuilder &builder, const OpSlice &slice,
                                ValueRange operands) const {
    auto op = cast<OpT>(operation);
    Location loc = operation->getLoc();
    if constexpr (std::is_same_v<OpT, tensor::CollapseShapeOp>) {
      return {OpT::create(builder, loc, operands[0], op.getReassociationIndices())};
    } else {
      SmallVector<OpFoldResult> sizes = op.getMixedOutputShape();
      sizes[slice.dim] = slice.results[0].size; // its dims are the op's
      auto type = RankedTensorType::get(staticSizes(sizes), op.getResultType().getElementType());
      return {OpT::create(builder, loc, type, operands[0], op.getReassociationIndices(), sizes)};
    }
  }
};

// Whether dim `dim` of `whole` is covered by a slice of it.
template <class OpT> bool isFull(OpT op, Value whole, int64_t dim) {
  if (getConstantIntValue(op.getMixedOffsets()[dim]) != 0 || getConstantIntValue(op.getMixedStrides()[dim]) != 1)
    return false;
  OpFoldResult size = op.getMixedSizes()[dim];
  int64_t extent = cast<RankedTensorType>(whole.getType()).getDimSize(dim);
  if (std::optional<int64_t> constant = getConstantIntValue(size))
    return *constant == extent;
  FailureOr<bool> equal = ValueBoundsConstraintSet::areEqual(ValueBoundsConstraintSet::Variable(size),
                                                             ValueBoundsConstraintSet::Variable(whole, dim));
  return succeeded(equal) && *equal;
}

// Of one element there is no stride. Upstream's expand-strided-metadata crashes on one where dims of 1 are dropped and kept:
// it tells them apart by their strides.
template <class OpT> SmallVector<OpFoldResult> stridesOf(OpT op, ArrayRef<OpFoldResult> sizes) {
  SmallVector<OpFoldResult> strides = op.getMixedStrides();
  for (auto [size, stride] : llvm::zip_equal(sizes, strides))
    if (getConstantIntValue(size) == 1)
      stride = IntegerAttr::get(IndexType::get(op.getContext()), 1);
  return strides;
}

// Result dims, of which dim i takes i * stride + offset of the source. Those that are dropped are not cut.
struct ExtractSliceRule : IndexRuleOpInterface::ExternalModel<ExtractSliceRule, tensor::ExtractSliceOp> {
  FailureOr<IndexRule> getIndexRule(Operation *operation) const {
    auto op = cast<tensor::ExtractSliceOp>(operation);
    RankedTensorType source = op.getSourceType();
    MLIRContext *context = op.getContext();
    IndexRule rule;
    rule.dims.assign(source.getRank(), IterDim{IterKind::Whole, Combiner::None});
    SmallVector<AffineExpr> kept, taken;
    llvm::SmallBitVector dropped = op.getDroppedDims();
    for (int64_t dim = 0; dim < source.getRank(); ++dim) {
      taken.push_back(getAffineDimExpr(dim, context));
      if (dropped.test(dim))
        continue;
      kept.push_back(taken.back());
      std::optional<int64_t> offset = getConstantIntValue(op.getMixedOffsets()[dim]);
      std::optional<int64_t> stride = getConstantIntValue(op.getMixedStrides()[dim]);
      if (!isFull(op, op.getSource(), dim)) {
        if (!offset || !stride || *stride < 1)
          continue;
        taken.back() = taken.back() * *stride + *offset;
      }
      rule.dims[dim].kind = IterKind::Parallel;
    }
    rule.operands.assign(operation->getNumOperands(), AffineMap());
    rule.operands[0] = AffineMap::get(source.getRank(), 0, taken, context);
    rule.results.assign(1, AffineMap::get(source.getRank(), 0, kept, context));
    return rule;
  }

  SmallVector<Value> cloneSlice(Operation *operation, OpBuilder &builder, const OpSlice &slice,
                                ValueRange operands) const {
    auto op = cast<tensor::ExtractSliceOp>(operation);
    SmallVector<OpFoldResult> sizes = op.getMixedSizes(), offsets = op.getMixedOffsets(), kept;
    sizes[slice.dim] = slice.results[0].size;       // its dims are the source's
    offsets[slice.dim] = builder.getIndexAttr(0); // the operand begins there
    llvm::SmallBitVector dropped = op.getDroppedDims();
    for (auto [dim, size] : llvm::enumerate(sizes))
      if (!dropped.test(dim))
        kept.push_back(size);
    auto type = RankedTensorType::get(staticSizes(kept), op.getType().getElementType());
    return {tensor::ExtractSliceOp::create(builder, op.getLoc(), type, operands[0], offsets, sizes,
                                           stridesOf(op, sizes))};
  }
};

// Dims of the whole, of which dim i takes i - offset of the part, where there is such an index.
struct InsertSliceRule : IndexRuleOpInterface::ExternalModel<InsertSliceRule, tensor::InsertSliceOp> {
  FailureOr<IndexRule> getIndexRule(Operation *operation) const {
    auto op = cast<tensor::InsertSliceOp>(operation);
    MLIRContext *context = op.getContext();
    int64_t rank = op.getDestType().getRank();
    IndexRule rule;
    rule.dims.assign(rank, IterDim{IterKind::Whole, Combiner::None});
    SmallVector<AffineExpr> kept;
    llvm::SmallBitVector dropped = op.getDroppedDims();
    for (int64_t dim = 0; dim < rank; ++dim) {
      if (dropped.test(dim))
        continue;
      kept.push_back(getAffineDimExpr(dim, context));
      if (!isFull(op, op.getDest(), dim)) {
        std::optional<int64_t> offset = getConstantIntValue(op.getMixedOffsets()[dim]);
        if (!offset || getConstantIntValue(op.getMixedStrides()[dim]) != 1)
          continue;
        kept.back() = kept.back() - *offset;
      }
      rule.dims[dim].kind = IterKind::Parallel;
    }
    AffineMap identity = AffineMap::getMultiDimIdentityMap(rank, context);
    rule.operands.assign(operation->getNumOperands(), AffineMap());
    rule.operands[0] = AffineMap::get(rank, 0, kept, context);
    rule.operands[1] = identity;
    rule.results.assign(1, identity);
    rule.keepsDestinations = true;
    return rule;
  }

  // Its dims are the destination's. The part ends up where it is in the whole, less where the slice begins.
  SmallVector<Value> cloneSlice(Operation *operation, OpBuilder &builder, const OpSlice &slice,
                                ValueRange operands) const {
    auto op = cast<tensor::InsertSliceOp>(operation);
    SmallVector<OpFoldResult> sizes = op.getMixedSizes(), offsets = op.getMixedOffsets();
    AffineExpr part = builder.getAffineSymbolExpr(0), begin = builder.getAffineSymbolExpr(1);
    int64_t place = *getConstantIntValue(offsets[slice.dim]);
    sizes[slice.dim] = slice.operands[0].size;
    offsets[slice.dim] = affine::makeComposedFoldedAffineApply(
        builder, op.getLoc(), part + place - begin, {slice.operands[0].offset, slice.iterations.offset});
    return {tensor::InsertSliceOp::create(builder, op.getLoc(), operands[0], operands[1], offsets, sizes,
                                          stridesOf(op, sizes))};
  }
};

template <class... OpTs> void attachLinalg(MLIRContext *context) {
  (OpTs::template attachInterface<LinalgRule<OpTs>>(*context), ...);
}
} // namespace

void snug::registerIndexRuleModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, linalg::LinalgDialect *) {
    attachLinalg<
#define GET_OP_LIST
#include "mlir/Dialect/Linalg/IR/LinalgStructuredOps.cpp.inc"
        >(context);
    linalg::SoftmaxOp::attachInterface<SoftmaxRule>(*context);
  });
  registry.addExtension(+[](MLIRContext *context, tensor::TensorDialect *) {
    tensor::ExpandShapeOp::attachInterface<ReshapeRule<tensor::ExpandShapeOp>>(*context);
    tensor::CollapseShapeOp::attachInterface<ReshapeRule<tensor::CollapseShapeOp>>(*context);
    tensor::ExtractSliceOp::attachInterface<ExtractSliceRule>(*context);
    tensor::InsertSliceOp::attachInterface<InsertSliceRule>(*context);
  });
}
