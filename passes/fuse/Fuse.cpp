// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/fuse/Passes.h"
#include "dialects/nn/NnDialect.h"
#include "passes/fuse/Patterns.h"
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
#define GEN_PASS_DEF_FUSEATTENTION
#include "passes/fuse/Passes.h.inc"
} // namespace snug

namespace {
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

// Whether the operand is a copy that is as well read through: one that keeps the innermost dim, so that rows stay rows.
bool readsCopy(OpOperand *operand) {
  std::optional<AffineMap> source = copiedMap(operand->get().getDefiningOp<linalg::GenericOp>());
  if (!source || source->getNumResults() == 0)
    return false;
  auto last = dyn_cast<AffineDimExpr>(source->getResults().back());
  return last && last.getPosition() + 1 == source->getNumDims();
}

bool mayFuse(OpOperand *operand) {
  Operation *producer = operand->get().getDefiningOp();
  if (!producer)
    return false;
  // In a loop it would be computed anew in each iteration.
  bool isRepeated = producer->getBlock() != operand->getOwner()->getBlock();
  if ((operand->get().hasOneUse() && !isRepeated) || readsCopy(operand))
    return true;
  auto generic = dyn_cast<linalg::GenericOp>(producer);
  return generic && isCheapToRecompute(generic);
}

void fuseSpelledOut(func::FuncOp function) {
  // Equal masks and constants of several layers become one before fusion counts uses.
  IRRewriter rewriter(function.getContext());
  DominanceInfo dominance(function);
  eliminateCommonSubExpressions(rewriter, dominance, function);
  // While each op is still one of the model's: an elementwise chain would take in what comes before or after a norm.
  fuseRows(function);
  // After softmax is one op, and before elementwise chains hide copies and scales of its operands.
  fuseAttention(function);
}

struct FuseAttentionPass : snug::impl::FuseAttentionBase<FuseAttentionPass> {
  using Base::Base;
  void runOnOperation() final { fuseSpelledOut(getOperation()); }
};

struct FusePass : snug::impl::FuseBase<FusePass> {
  using Base::Base;

  void runOnOperation() final {
    func::FuncOp function = getOperation();
    MLIRContext *context = &getContext();
    fuseSpelledOut(function);
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
    populateConvolutionPatterns(elementwise);
    populateFoldCopyPatterns(elementwise);
    rewrite(function, std::move(elementwise));
    RewritePatternSet epilogues(context);
    populateEpiloguePatterns(epilogues);
    populateFoldCopyPatterns(epilogues);
    linalg::populateElementwiseOpsFusionPatterns(epilogues, readsCopy);
    rewrite(function, std::move(epilogues));
    // Last, for what reads a copy reads through it where it can.
    RewritePatternSet writes(context);
    populateWriteThroughPatterns(writes);
    rewrite(function, std::move(writes));
    copyScatteredViews(function);
    ownDestinations(function);
  }

private:
  // To the end, however deep a model is: a block may wait for what becomes of the one before it. Should patterns undo each
  // other, what they have made by then is as right as any other.
  void rewrite(func::FuncOp function, RewritePatternSet &&patterns) {
    int64_t numOps = 0;
    function.walk([&](Operation *) { ++numOps; });
    constexpr int64_t kRewritesPerOp = 64;
    GreedyRewriteConfig config;
    config.setMaxIterations(GreedyRewriteConfig::kNoLimit).setMaxNumRewrites(kRewritesPerOp * numOps);
    (void)applyPatternsGreedily(function, std::move(patterns), config);
  }

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
