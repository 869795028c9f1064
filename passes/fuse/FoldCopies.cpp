// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/fuse/Patterns.h"

using namespace mlir;
using namespace snug;

bool snug::isElementwise(linalg::GenericOp op) {
  return op.getNumParallelLoops() == op.getNumLoops() && op.getNumResults() == 1 &&
         op.getIndexingMapsArray().back().isIdentity();
}

std::optional<AffineMap> snug::copiedMap(linalg::GenericOp op) {
  if (!op || !isElementwise(op) || op.getNumDpsInputs() != 1 || !op.hasPureTensorSemantics())
    return std::nullopt;
  auto yield = cast<linalg::YieldOp>(op.getBody()->getTerminator());
  AffineMap source = op.getIndexingMapsArray()[0];
  if (yield.getOperand(0) != op.getBody()->getArgument(0) || !source.isProjectedPermutation(/*allowZeroInResults=*/true))
    return std::nullopt;
  return source;
}

namespace {
bool isUnit(Value value, unsigned position) { return cast<ShapedType>(value.getType()).getDimSize(position) == 1; }

// The iteration dim along which neighbours in memory are read; nullopt for a single element.
std::optional<unsigned> innermostDim(Value operand, AffineMap map) {
  for (unsigned position = map.getNumResults(); position-- > 0;)
    if (auto dim = dyn_cast<AffineDimExpr>(map.getResult(position)); dim && !isUnit(operand, position))
      return dim.getPosition();
  return std::nullopt;
}

// Contractions and attention work on one element of each batch dim at a time: an operand whose neighbours differ in a
// batch dim would be read at a stride everywhere, so there the copy is worth its while.
bool isBatchDim(Operation *op, unsigned dim) {
  if (auto contract = dyn_cast<nn::ContractOp>(op)) {
    SmallVector<AffineMap> maps = contract.getMaps();
    return maps[0].isFunctionOfDim(dim) && maps[1].isFunctionOfDim(dim) && maps.back().isFunctionOfDim(dim);
  }
  return dim < cast<nn::AttentionOp>(op).getNumBatchDims();
}

// Reads the source of a copy in place of the copy.
template <typename OpT> struct FoldCopyIntoMaps : OpRewritePattern<OpT> {
  using OpRewritePattern<OpT>::OpRewritePattern;

  LogicalResult matchAndRewrite(OpT op, PatternRewriter &rewriter) const override {
    SmallVector<AffineMap> maps = op.getMaps();
    for (OpOperand *operand : cast<DestinationStyleOpInterface>(op.getOperation()).getDpsInputOperands()) {
      unsigned index = operand->getOperandNumber();
      if constexpr (std::is_same_v<OpT, nn::ContractOp>)
        if (index == 1 && op.getPacked())
          continue;
      auto copy = operand->get().template getDefiningOp<linalg::GenericOp>();
      std::optional<AffineMap> source = copiedMap(copy);
      if (!source)
        continue;
      AffineMap composed = source->compose(maps[index]);
      if (!composed.isProjectedPermutation(/*allowZeroInResults=*/true))
        continue;
      Value read = copy.getDpsInputOperand(0)->get();
      std::optional<unsigned> before = innermostDim(operand->get(), maps[index]), after = innermostDim(read, composed);
      if (after && before != after && isBatchDim(op, *after))
        continue;
      maps[index] = composed;
      rewriter.modifyOpInPlace(op, [&] {
        op->setOperand(index, read);
        op.setIndexingMapsAttr(rewriter.getAffineMapArrayAttr(maps));
      });
      return success();
    }
    return failure();
  }
};

// Writes the result of a copy in place of what is copied.
template <typename OpT> struct WriteThroughCopy : OpRewritePattern<linalg::GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(linalg::GenericOp copy, PatternRewriter &rewriter) const override {
    std::optional<AffineMap> source = copiedMap(copy);
    if (!source || !source->isPermutation())
      return failure();
    auto op = copy.getDpsInputOperand(0)->get().getDefiningOp<OpT>();
    if (!op || !op->hasOneUse() || op->getBlock() != copy->getBlock())
      return failure();
    SmallVector<AffineMap> maps = op.getMaps();
    AffineMap written = inversePermutation(*source).compose(maps.back());
    std::optional<unsigned> before = innermostDim(op->getResult(0), maps.back());
    std::optional<unsigned> after = innermostDim(copy.getResult(0), written);
    if (after && before != after && isBatchDim(op, *after))
      return failure();
    maps.back() = written;
    // At the copy's place, where its destination is known.
    rewriter.setInsertionPoint(copy);
    Operation *moved = rewriter.clone(*op);
    moved->setLoc(rewriter.getFusedLoc({op.getLoc(), copy.getLoc()}));
    auto init = cast<DestinationStyleOpInterface>(moved).getDpsInitsMutable()[0].getOperandNumber();
    moved->setOperand(init, copy.getDpsInits()[0]);
    cast<OpT>(moved).setIndexingMapsAttr(rewriter.getAffineMapArrayAttr(maps));
    moved->getResult(0).setType(copy.getResult(0).getType());
    rewriter.replaceOp(copy, moved->getResults());
    rewriter.eraseOp(op);
    return success();
  }
};

// A slice of a permuted copy is a permuted copy of a slice, which is a view.
struct SliceOfCopy : OpRewritePattern<tensor::ExtractSliceOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(tensor::ExtractSliceOp op, PatternRewriter &rewriter) const override {
    auto copy = op.getSource().getDefiningOp<linalg::GenericOp>();
    std::optional<AffineMap> source = copiedMap(copy);
    if (!source || !source->isPermutation() || op.getType().getRank() != op.getSourceType().getRank())
      return failure();
    SmallVector<OpFoldResult> offsets, sizes, strides;
    for (AffineExpr expr : source->getResults()) {
      unsigned dim = cast<AffineDimExpr>(expr).getPosition();
      offsets.push_back(op.getMixedOffsets()[dim]);
      sizes.push_back(op.getMixedSizes()[dim]);
      strides.push_back(op.getMixedStrides()[dim]);
    }
    Value slice = tensor::ExtractSliceOp::create(rewriter, op.getLoc(), copy.getDpsInputOperand(0)->get(), offsets, sizes,
                                                 strides);
    Value empty = tensor::EmptyOp::create(rewriter, op.getLoc(), op.getMixedSizes(), op.getType().getElementType());
    if (empty.getType() != op.getType())
      return failure();
    auto moved = linalg::GenericOp::create(rewriter, copy.getLoc(), op.getType(), slice, empty,
                                           copy.getIndexingMapsArray(), copy.getIteratorTypesArray());
    rewriter.cloneRegionBefore(copy.getRegion(), moved.getRegion(), moved.getRegion().begin());
    rewriter.replaceOp(op, moved.getResults());
    return success();
  }
};
} // namespace

void snug::populateFoldCopyPatterns(RewritePatternSet &patterns) {
  patterns.add<FoldCopyIntoMaps<nn::ContractOp>, FoldCopyIntoMaps<nn::AttentionOp>, SliceOfCopy>(patterns.getContext());
}

void snug::populateWriteThroughPatterns(RewritePatternSet &patterns) {
  patterns.add<WriteThroughCopy<nn::ContractOp>, WriteThroughCopy<nn::AttentionOp>>(patterns.getContext());
}
