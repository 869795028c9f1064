// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/fuse/FuseAttention.h"
#include "passes/fuse/Passes.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/Transforms.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Transforms/CSE.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#define DEBUG_TYPE "snug-fuse"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_FUSE
#include "passes/fuse/Passes.h.inc"
} // namespace snug

namespace {
bool isElementwise(linalg::GenericOp op) {
  return op.getNumParallelLoops() == op.getNumLoops() && op.getNumResults() == 1 &&
         op.getIndexingMapsArray().back().isIdentity();
}

// Recomputing the op in each consumer reads less memory than reading its result would: all it reads are broadcast, and
// its body is a few cheap instructions.
bool isCheapToRecompute(linalg::GenericOp op) {
  if (!isElementwise(op))
    return false;
  SmallVector<AffineMap> maps = op.getIndexingMapsArray();
  for (AffineMap map : ArrayRef(maps).drop_back()) {
    unsigned used = 0;
    for (unsigned dim = 0; dim < map.getNumDims(); ++dim)
      used += map.isFunctionOfDim(dim);
    if (used == map.getNumDims())
      return false;
  }
  return llvm::all_of(op.getBody()->getOperations(), [](Operation &inner) {
    return !isa<math::MathDialect>(inner.getDialect()) && !isa<arith::DivFOp, arith::RemFOp>(inner);
  });
}

bool mayFuse(OpOperand *operand) {
  Operation *producer = operand->get().getDefiningOp();
  if (!producer)
    return false;
  if (operand->get().hasOneUse())
    return true;
  auto generic = dyn_cast<linalg::GenericOp>(producer);
  return generic && isCheapToRecompute(generic);
}

// The maps of a contraction operand that is read through a permuted (or broadcast) copy: reads the source itself.
struct FoldCopyIntoContract : OpRewritePattern<nn::ContractOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(nn::ContractOp op, PatternRewriter &rewriter) const override {
    SmallVector<AffineMap> maps = op.getMaps();
    for (unsigned index : {0u, 1u}) {
      if (index == 1 && op.getPacked())
        continue;
      auto copy = op->getOperand(index).getDefiningOp<linalg::GenericOp>();
      if (!copy || !isElementwise(copy) || copy.getNumDpsInputs() != 1)
        continue;
      auto yield = cast<linalg::YieldOp>(copy.getBody()->getTerminator());
      AffineMap source = copy.getIndexingMapsArray()[0];
      if (yield.getOperand(0) != copy.getBody()->getArgument(0) || !source.isProjectedPermutation(/*allowZeroInResults=*/true))
        continue;
      AffineMap composed = source.compose(maps[index]);
      if (!composed.isProjectedPermutation(/*allowZeroInResults=*/true))
        continue;
      maps[index] = composed;
      rewriter.modifyOpInPlace(op, [&] {
        op->setOperand(index, copy.getDpsInputOperand(0)->get());
        op.setIndexingMapsAttr(rewriter.getAffineMapArrayAttr(maps));
      });
      return success();
    }
    return failure();
  }
};

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
    auto fused = nn::ContractOp::create(rewriter, rewriter.getFusedLoc({contract.getLoc(), op.getLoc()}), op.getResultTypes(),
                                        contract.getA(), contract.getB(), epilogueIns, op.getDpsInits()[0],
                                        rewriter.getAffineMapArrayAttr(maps), contract.getIteratorTypes(),
                                        contract.getPackedAttr());
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

struct FusePass : snug::impl::FuseBase<FusePass> {
  using Base::Base;

  void runOnOperation() final {
    func::FuncOp function = getOperation();
    MLIRContext *context = &getContext();
    {
      // Equal masks and constants of several layers become one before fusion counts uses.
      IRRewriter rewriter(context);
      DominanceInfo dominance(function);
      eliminateCommonSubExpressions(rewriter, dominance, function);
    }
    // While each elementwise op still stands alone.
    fuseAttention(function);
    // Elementwise chains first: what an epilogue takes in one piece stays one kernel.
    RewritePatternSet elementwise(context);
    linalg::populateElementwiseOpsFusionPatterns(elementwise, mayFuse);
    linalg::populateFoldReshapeOpsByExpansionPatterns(elementwise, mayFuse);
    linalg::populateEraseUnusedOperandsAndResultsPatterns(elementwise);
    linalg::GenericOp::getCanonicalizationPatterns(elementwise, context);
    tensor::populateReassociativeReshapeFoldingPatterns(elementwise);
    tensor::CollapseShapeOp::getCanonicalizationPatterns(elementwise, context);
    tensor::ExpandShapeOp::getCanonicalizationPatterns(elementwise, context);
    tensor::ExtractSliceOp::getCanonicalizationPatterns(elementwise, context);
    elementwise.add<FoldCopyIntoContract>(context);
    if (failed(applyPatternsGreedily(function, std::move(elementwise))))
      return signalPassFailure();
    RewritePatternSet epilogues(context);
    epilogues.add<FuseEpilogue>(context);
    epilogues.add<FoldCopyIntoContract>(context);
    if (failed(applyPatternsGreedily(function, std::move(epilogues))))
      return signalPassFailure();
    ownDestinations(function);
  }

private:
  // A destination is one buffer: tensor.empty ops that several kernels share are made one each, right before its use.
  void ownDestinations(func::FuncOp function) {
    SmallVector<tensor::EmptyOp> empties;
    function.walk([&](tensor::EmptyOp op) { empties.push_back(op); });
    for (tensor::EmptyOp empty : empties) {
      for (OpOperand &use : llvm::make_early_inc_range(empty->getUses())) {
        OpBuilder builder(use.getOwner());
        use.set(builder.clone(*empty)->getResult(0));
      }
      empty.erase();
    }
  }
};
} // namespace
