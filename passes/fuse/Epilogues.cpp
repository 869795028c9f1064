// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/Transforms.h"
#include "mlir/IR/IRMapping.h"
#include "passes/fuse/Patterns.h"

using namespace mlir;
using namespace snug;

namespace {
// The contraction that `value` is the only use of, also where the value is another view of its result.
nn::ContractOp onlyUseOfContract(Value value) {
  while (value.hasOneUse()) {
    if (auto contract = value.getDefiningOp<nn::ContractOp>())
      return contract;
    Operation *view = value.getDefiningOp();
    if (!isa_and_nonnull<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(view))
      return {};
    value = view->getOperand(0);
  }
  return {};
}

// An elementwise consumer of a contraction's only use becomes the end of its epilogue.
struct FuseEpilogue : OpRewritePattern<linalg::GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(linalg::GenericOp op, PatternRewriter &rewriter) const override {
    if (!isElementwise(op) || op.hasIndexSemantics())
      return failure();
    SmallVector<AffineMap> genericMaps = op.getIndexingMapsArray();
    for (OpOperand *operand : op.getDpsInputOperands()) {
      auto contract = operand->get().getDefiningOp<nn::ContractOp>();
      unsigned position = operand->getOperandNumber();
      if (!contract || !operand->get().hasOneUse() || !genericMaps[position].isIdentity() ||
          contract->getBlock() != op->getBlock())
        continue;
      fuse(contract, op, position, rewriter);
      return success();
    }
    return failure();
  }

private:
  void fuse(nn::ContractOp contract, linalg::GenericOp op, unsigned position, PatternRewriter &rewriter) const {
    // The generic's dim i is dim i of the contraction's result.
    SmallVector<AffineMap> maps = contract.getMaps();
    AffineMap result = maps.pop_back_val();
    SmallVector<Value> epilogueIns(contract.getEpilogueIns());
    SmallVector<AffineMap> genericMaps = op.getIndexingMapsArray();
    for (OpOperand *other : op.getDpsInputOperands()) {
      if (other->getOperandNumber() == position)
        continue;
      epilogueIns.push_back(other->get());
      maps.push_back(genericMaps[other->getOperandNumber()].compose(result));
    }
    maps.push_back(result);
    auto fused = nn::ContractOp::create(rewriter, rewriter.getFusedLoc({contract.getLoc(), op.getLoc()}),
                                        op.getResultTypes(), contract.getA(), contract.getB(), epilogueIns,
                                        op.getDpsInits()[0], rewriter.getAffineMapArrayAttr(maps),
                                        contract.getIteratorTypes(), contract.getPackedAttr(), contract.getFewRowsAttr(),
                                        contract.getFewColumnsAttr());
    // Old epilogue, then the generic's body on what it yields.
    Block &block = fused.getEpilogue().emplaceBlock();
    IRMapping mapping;
    for (BlockArgument argument : contract.getEpilogue().getArguments())
      mapping.map(argument, block.addArgument(argument.getType(), argument.getLoc()));
    OpBuilder::InsertionGuard guard(rewriter);
    rewriter.setInsertionPointToEnd(&block);
    for (Operation &inner : contract.getEpilogue().front().without_terminator())
      rewriter.clone(inner, mapping);
    Value sum = mapping.lookupOrDefault(contract.getEpilogue().front().getTerminator()->getOperand(0));
    for (BlockArgument argument : op.getRegionInputArgs()) {
      unsigned number = argument.getArgNumber();
      mapping.map(argument, number == position ? sum : block.addArgument(argument.getType(), argument.getLoc()));
    }
    for (Operation &inner : op.getBody()->without_terminator())
      rewriter.clone(inner, mapping);
    nn::YieldOp::create(rewriter, op.getLoc(), mapping.lookupOrDefault(op.getBody()->getTerminator()->getOperand(0)));
    rewriter.replaceOp(op, fused->getResults());
    rewriter.eraseOp(contract);
  }
};

// What changes layout and computes, on a contraction's result: first computes in the layout that the contraction
// writes, where it can be an epilogue, then changes the layout, which can often be read through.
struct ComputeBeforeMoving : OpRewritePattern<linalg::GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(linalg::GenericOp op, PatternRewriter &rewriter) const override {
    if (!isElementwise(op) || op.hasIndexSemantics() || copiedMap(op))
      return failure();
    for (OpOperand *operand : op.getDpsInputOperands()) {
      AffineMap map = op.getMatchingIndexingMap(operand);
      if (map.isIdentity() || !map.isPermutation() || !onlyUseOfContract(operand->get()))
        continue;
      // Loop i of the new op is the one that the operand's dim i was read along.
      SmallVector<unsigned> order = llvm::map_to_vector(
          map.getResults(), [](AffineExpr expr) { return cast<AffineDimExpr>(expr).getPosition(); });
      AffineMap inverse = inversePermutation(map);
      SmallVector<AffineMap> maps;
      SmallVector<AffineMap> olds = op.getIndexingMapsArray();
      for (AffineMap old : ArrayRef(olds).drop_back())
        maps.push_back(old.compose(inverse));
      maps.push_back(rewriter.getMultiDimIdentityMap(map.getNumDims()));
      auto type = cast<RankedTensorType>(op.getResult(0).getType());
      auto moved = type.clone(cast<RankedTensorType>(operand->get().getType()).getShape());
      Value empty = emptyLike(rewriter, op, order);
      if (empty.getType() != moved)
        return failure();
      auto compute = linalg::GenericOp::create(rewriter, op.getLoc(), moved, op.getDpsInputs(), empty, maps,
                                               op.getIteratorTypesArray());
      rewriter.cloneRegionBefore(op.getRegion(), compute.getRegion(), compute.getRegion().begin());
      rewriter.replaceOpWithNewOp<linalg::GenericOp>(
          op, type, compute.getResult(0), op.getDpsInits()[0],
          ArrayRef<AffineMap>{map, rewriter.getMultiDimIdentityMap(map.getNumDims())}, op.getIteratorTypesArray(),
          [](OpBuilder &b, Location loc, ValueRange x) { linalg::YieldOp::create(b, loc, x[0]); });
      return success();
    }
    return failure();
  }

private:
  static Value emptyLike(OpBuilder &b, linalg::GenericOp op, ArrayRef<unsigned> order) {
    SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, op.getLoc(), op.getDpsInits()[0]), moved;
    for (unsigned dim : order)
      moved.push_back(sizes[dim]);
    return tensor::EmptyOp::create(b, op.getLoc(), moved, cast<ShapedType>(op.getResult(0).getType()).getElementType());
  }
};
} // namespace

void snug::populateEpiloguePatterns(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<FuseEpilogue>(context);
  patterns.add<ComputeBeforeMoving>(context);
  // A contraction's result that is viewed with more dims: the consumer takes the contraction's dims, the view comes
  // after.
  linalg::populateFoldReshapeOpsByCollapsingPatterns(patterns, [](OpOperand *operand) {
    return isa_and_nonnull<tensor::ExpandShapeOp>(operand->get().getDefiningOp()) &&
           static_cast<bool>(onlyUseOfContract(operand->get()));
  });
  tensor::populateReassociativeReshapeFoldingPatterns(patterns);
  tensor::CollapseShapeOp::getCanonicalizationPatterns(patterns, context);
  tensor::ExpandShapeOp::getCanonicalizationPatterns(patterns, context);
}
