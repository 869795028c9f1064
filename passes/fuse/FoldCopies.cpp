// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/fuse/Patterns.h"
#include "llvm/ADT/TypeSwitch.h"

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
  if (yield.getOperand(0) != op.getBody()->getArgument(0) ||
      !source.isProjectedPermutation(/*allowZeroInResults=*/true))
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

// Whether a result written by this map can be computed in the buffer of an operand that has the same, as a residual is.
bool updatesAnOperand(nn::ContractOp op, AffineMap written) {
  SmallVector<AffineMap> maps = op.getMaps();
  for (unsigned index = 2; index + 1 < maps.size(); ++index)
    if (maps[index] == written && getElementTypeOrSelf(op->getOperand(index)) == getElementTypeOrSelf(op.getInit()))
      return true;
  return false;
}

// Whether the kernel may write what a permuted copy makes of its result: not where it would no longer find neighbours in
// memory, nor where it would then need a buffer of its own.
bool mayWrite(Operation *op, linalg::GenericOp copy, AffineMap source) {
  if (op->getNumResults() != 1)
    return false;
  auto contract = dyn_cast<nn::ContractOp>(op);
  AffineMap now = contract ? contract.getMaps().back() : cast<nn::AttentionOp>(op).getMaps().back();
  AffineMap written = inversePermutation(source).compose(now);
  std::optional<unsigned> before = innermostDim(op->getResult(0), now);
  std::optional<unsigned> after = innermostDim(copy.getResult(0), written);
  if (after && before != after && isBatchDim(op, *after))
    return false;
  return !contract || !updatesAnOperand(contract, now) || updatesAnOperand(contract, written);
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

// Writes the result of a copy in place of what is copied. Others that read what is copied, by maps of theirs, read the
// copy.
template <typename OpT> struct WriteThroughCopy : OpRewritePattern<linalg::GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(linalg::GenericOp copy, PatternRewriter &rewriter) const override {
    std::optional<AffineMap> source = copiedMap(copy);
    if (!source || !source->isPermutation())
      return failure();
    auto op = copy.getDpsInputOperand(0)->get().getDefiningOp<OpT>();
    if (!op || op->getBlock() != copy->getBlock() || !mayWrite(op, copy, *source))
      return failure();
    AffineMap moves = inversePermutation(*source);
    SmallVector<AffineMap> maps = op.getMaps();
    SmallVector<OpOperand *> readers;
    for (OpOperand &use : op->getResult(0).getUses()) {
      if (use.getOwner() == copy)
        continue;
      if (!readsByMap(use, copy, moves))
        return failure();
      readers.push_back(&use);
    }
    for (OpOperand *use : readers) {
      Operation *reader = use->getOwner();
      TypeSwitch<Operation *>(reader).template Case<nn::ContractOp, nn::AttentionOp>([&](auto kernel) {
        SmallVector<AffineMap> read = kernel.getMaps();
        read[use->getOperandNumber()] = moves.compose(read[use->getOperandNumber()]);
        rewriter.modifyOpInPlace(reader, [&] {
          use->set(copy.getResult(0));
          kernel.setIndexingMapsAttr(rewriter.getAffineMapArrayAttr(read));
        });
      });
    }
    maps.back() = moves.compose(maps.back());
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

private:
  // Whether the use is an input that can be read through `moves` after the copy was made, its neighbours in memory no
  // further apart.
  static bool readsByMap(OpOperand &use, Operation *copy, AffineMap moves) {
    Operation *reader = use.getOwner();
    auto contract = dyn_cast<nn::ContractOp>(reader);
    if ((!contract && !isa<nn::AttentionOp>(reader)) || reader->getBlock() != copy->getBlock() ||
        !copy->isBeforeInBlock(reader) || cast<DestinationStyleOpInterface>(reader).isDpsInit(&use))
      return false;
    AffineMap map = contract ? contract.getMaps()[use.getOperandNumber()]
                             : cast<nn::AttentionOp>(reader).getMaps()[use.getOperandNumber()];
    AffineMap read = moves.compose(map);
    if (!map.isProjectedPermutation(/*allowZeroInResults=*/true))
      return false;
    std::optional<unsigned> before = innermostDim(use.get(), map);
    std::optional<unsigned> after = innermostDim(copy->getResult(0), read);
    return !after || before == after || !isBatchDim(reader, *after);
  }
};

// Rows that are moved and then normalized: normalized where they are, then moved, which can often be read through.
template <typename OpT> struct RowsBeforeMoving : OpRewritePattern<OpT> {
  using OpRewritePattern<OpT>::OpRewritePattern;

  LogicalResult matchAndRewrite(OpT op, PatternRewriter &rewriter) const override {
    auto copy = op.getInput().template getDefiningOp<linalg::GenericOp>();
    std::optional<AffineMap> source = copiedMap(copy);
    if (!source || !source->isPermutation() || !copy->hasOneUse() ||
        source->getResults().back() != getAffineDimExpr(source->getNumDims() - 1, op.getContext()))
      return failure();
    Value rows = copy.getDpsInputOperand(0)->get();
    if (Operation *maker = rows.getDefiningOp(); isa_and_nonnull<nn::ContractOp, nn::AttentionOp>(maker) &&
                                                 maker->getBlock() == op->getBlock() && mayWrite(maker, copy, *source))
      return failure(); // the copy is written at once
    Location loc = op.getLoc();
    Value empty = tensor::EmptyOp::create(rewriter, loc, tensor::getMixedSizes(rewriter, loc, rows),
                                          getElementTypeOrSelf(rows.getType()));
    if (empty.getType() != rows.getType())
      return failure();
    Operation *moved = rewriter.clone(*op);
    moved->setOperand(op.getInputMutable().getOperandNumber(), rows);
    moved->setOperand(op.getInitMutable().getOperandNumber(), empty);
    moved->getResult(0).setType(rows.getType());
    auto out = linalg::GenericOp::create(rewriter, copy.getLoc(), op->getResult(0).getType(), moved->getResult(0),
                                         op.getInit(), copy.getIndexingMapsArray(), copy.getIteratorTypesArray());
    rewriter.cloneRegionBefore(copy.getRegion(), out.getRegion(), out.getRegion().begin());
    rewriter.replaceOp(op, out.getResults());
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
    Value slice = tensor::ExtractSliceOp::create(rewriter, op.getLoc(), copy.getDpsInputOperand(0)->get(), offsets,
                                                 sizes, strides);
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
  patterns.add<FoldCopyIntoMaps<nn::ContractOp>, FoldCopyIntoMaps<nn::AttentionOp>, SliceOfCopy,
               RowsBeforeMoving<nn::NormOp>, RowsBeforeMoving<nn::SoftmaxOp>>(patterns.getContext());
}

void snug::populateWriteThroughPatterns(RewritePatternSet &patterns) {
  patterns.add<WriteThroughCopy<nn::ContractOp>, WriteThroughCopy<nn::AttentionOp>>(patterns.getContext());
}
