// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "passes/fuse/Patterns.h"

using namespace mlir;
using namespace snug;

namespace {
// Fewer columns than a vector has would leave the register tile empty: depthwise convolutions stay loops.
constexpr int64_t kLeastColumns = 8;

// out += x[windows] * weight, from zero, as a contraction: the filters are its columns and the taps reduction dims.
struct FormContraction : OpRewritePattern<linalg::GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(linalg::GenericOp op, PatternRewriter &rewriter) const override {
    if (!op.hasPureTensorSemantics() || op.getNumDpsInputs() != 2 || op.getNumResults() != 1 ||
        op.getNumReductionLoops() == 0 || op.hasIndexSemantics() || !isSumOfProducts(op))
      return failure();
    auto fill = op.getDpsInits()[0].getDefiningOp<linalg::FillOp>();
    auto weight = op.getDpsInputOperand(1)->get().getDefiningOp<nn::WeightOp>();
    if (!fill || !matchPattern(fill.getInputs()[0], m_AnyZeroFloat()) || !weight)
      return failure();
    SmallVector<AffineMap> maps = op.getIndexingMapsArray();
    if (!maps[1].isProjectedPermutation() || !maps[2].isProjectedPermutation(/*allowZeroInResults=*/true) || isReversed(maps[0]))
      return failure();

    // The weight with its columns inside, so that a row of it is a vector: batch dims, reduction dims, columns.
    auto type = cast<RankedTensorType>(weight.getType());
    SmallVector<int64_t> batch, reduced, columns;
    for (auto [position, expr] : llvm::enumerate(maps[1].getResults())) {
      unsigned dim = cast<AffineDimExpr>(expr).getPosition();
      if (op.getIteratorTypesArray()[dim] == utils::IteratorType::reduction)
        reduced.push_back(position);
      else
        (maps[0].isFunctionOfDim(dim) ? batch : columns).push_back(position);
    }
    if (columns.size() != 1 || type.getDimSize(columns[0]) < kLeastColumns)
      return failure();
    SmallVector<int64_t> order = batch;
    llvm::append_range(order, reduced);
    llvm::append_range(order, columns);
    SmallVector<int64_t> shape;
    SmallVector<AffineExpr> exprs;
    for (int64_t position : order) {
      shape.push_back(type.getDimSize(position));
      exprs.push_back(maps[1].getResult(position));
    }
    maps[1] = AffineMap::get(maps[1].getNumDims(), 0, exprs, op.getContext());
    SmallVector<Attribute> recipe(weight.getRecipe().getValue());
    recipe.push_back(nn::RecipeTransposeAttr::get(op.getContext(), order));
    Value moved = nn::WeightOp::create(rewriter, weight.getLoc(), type.clone(shape), weight.getDataAttr(),
                                       rewriter.getArrayAttr(recipe));

    SmallVector<StringRef> iterators =
        llvm::map_to_vector(op.getIteratorTypesArray(), [](utils::IteratorType iterator) {
          return StringRef(iterator == utils::IteratorType::parallel ? "parallel" : "reduction");
        });
    auto contract = nn::ContractOp::create(
        rewriter, op.getLoc(), op.getResultTypes(), op.getDpsInputOperand(0)->get(), moved, ValueRange(),
        fill.getOutputs()[0], rewriter.getAffineMapArrayAttr(maps), rewriter.getStrArrayAttr(iterators), UnitAttr());
    Block &block = contract.getEpilogue().emplaceBlock();
    block.addArgument(rewriter.getF32Type(), op.getLoc());
    OpBuilder::InsertionGuard guard(rewriter);
    rewriter.setInsertionPointToEnd(&block);
    nn::YieldOp::create(rewriter, op.getLoc(), block.getArgument(0));
    rewriter.replaceOp(op, contract->getResults());
    return success();
  }

private:
  // Windows of a transposed convolution are gone through the other way round, which no contraction does.
  static bool isReversed(AffineMap map) {
    bool is = false;
    map.walkExprs([&](AffineExpr expr) {
      auto constant = dyn_cast<AffineConstantExpr>(expr);
      is |= constant && constant.getValue() < 0;
    });
    return is;
  }
  static bool isSumOfProducts(linalg::GenericOp op) {
    Block *body = op.getBody();
    auto sum = body->getTerminator()->getOperand(0).getDefiningOp<arith::AddFOp>();
    auto computes = [](Operation &inner) { return !isa<arith::ExtFOp>(inner); };
    if (!sum || !sum.getType().isF32() || llvm::count_if(body->getOperations(), computes) != 3)
      return false;
    Value accumulator = body->getArgument(2);
    if (sum.getLhs() != accumulator && sum.getRhs() != accumulator)
      return false;
    auto product = (sum.getLhs() == accumulator ? sum.getRhs() : sum.getLhs()).getDefiningOp<arith::MulFOp>();
    Value x = body->getArgument(0), w = body->getArgument(1);
    auto factor = [&](unsigned side) { return beforeConversions(product->getOperand(side)); };
    return product &&
           ((factor(0) == x && factor(1) == w) || (factor(0) == w && factor(1) == x));
  }
};
} // namespace

void snug::populateConvolutionPatterns(RewritePatternSet &patterns) {
  patterns.add<FormContraction>(patterns.getContext());
}
