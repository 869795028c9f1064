// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/fuse/SplitSums.h"
#include "lib/analysis/Combiners.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/CheckedArithmetic.h"

using namespace mlir;
using namespace snug;

// The most points that these loops can have together; nothing if nothing bounds them.
static std::optional<int64_t> countOf(linalg::GenericOp op, utils::IteratorType kind, IndexBounds &bounds) {
  int64_t count = 1;
  for (auto [dim, iterator] : llvm::enumerate(op.getIteratorTypesArray())) {
    if (iterator != kind)
      continue;
    std::optional<Interval> extent;
    for (OpOperand &operand : op->getOpOperands())
      if (auto place = op.getMatchingIndexingMap(&operand).getResultPosition(getAffineDimExpr(dim, op.getContext())); place && !extent)
        extent = bounds.ofDim(operand.get(), *place);
    std::optional<int64_t> product = extent ? llvm::checkedMul(count, extent->max) : std::nullopt;
    if (!product)
      return std::nullopt;
    count = *product;
  }
  return count;
}

int64_t snug::partsOf(linalg::GenericOp op, int64_t blocks, IndexBounds &bounds) {
  // What a block reads in half a microsecond or so, and how often, for a second kernel to be worth its start.
  constexpr int64_t leastTerms = 2048, leastParts = 16;
  // Results side by side that a block has where neighbours in memory are of different results.
  constexpr int64_t neighbours = 32;
  std::optional<int64_t> results = countOf(op, utils::IteratorType::parallel, bounds);
  std::optional<int64_t> terms = countOf(op, utils::IteratorType::reduction, bounds);
  if (!results || !terms || *results < 1 || !reducesInParts(op))
    return 1;
  bool isAlong = llvm::all_of(op.getDpsInputOperands(), [&](OpOperand *input) {
    AffineMap map = op.getMatchingIndexingMap(input);
    auto isReduced = [&](AffineExpr expr) {
      auto dim = dyn_cast<AffineDimExpr>(expr);
      return dim && op.getIteratorTypesArray()[dim.getPosition()] == utils::IteratorType::reduction;
    };
    return llvm::none_of(map.getResults(), isReduced) || isReduced(map.getResults().back());
  });
  int64_t beside = isAlong ? 1 : std::min(neighbours, *results);
  std::optional<int64_t> ofBlock = llvm::checkedMul(*terms, beside);
  int64_t worth = ofBlock.value_or(*terms) / leastTerms;
  if (worth < leastParts)
    return 1;
  return std::max<int64_t>(1, std::min<int64_t>(blocks / llvm::divideCeil(*results, beside), worth));
}

void snug::splitSums(linalg::GenericOp op, int64_t parts) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  unsigned loops = op.getNumLoops();
  SmallVector<AffineMap> maps;
  for (OpOperand &operand : op->getOpOperands()) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    SmallVector<AffineExpr> exprs;
    if (op.isDpsInit(&operand))
      exprs.push_back(b.getAffineDimExpr(loops));
    llvm::append_range(exprs, map.getResults());
    maps.push_back(AffineMap::get(loops + 1, 0, exprs, b.getContext()));
  }
  SmallVector<Attribute> kinds;
  for (utils::IteratorType kind : op.getIteratorTypesArray())
    kinds.push_back(b.getStringAttr(kind == utils::IteratorType::parallel ? "parallel" : "reduction"));
  kinds.push_back(b.getStringAttr("parallel"));
  SmallVector<Value> inits;
  for (Value init : op.getOutputs()) {
    SmallVector<OpFoldResult> sizes{b.getIndexAttr(parts)};
    llvm::append_range(sizes, tensor::getMixedSizes(b, loc, init));
    inits.push_back(tensor::EmptyOp::create(b, loc, sizes, getElementTypeOrSelf(init)));
  }
  SmallVector<Operation *> combiners = combinersOf(op);
  auto partial = nn::PartialReduceOp::create(b, loc, ValueRange(inits).getTypes(), op.getInputs(), inits, b.getAffineMapArrayAttr(maps),
                                             b.getArrayAttr(kinds));
  // What was there before comes in with the parts.
  SmallVector<Value> totals;
  for (auto [number, init] : llvm::enumerate(op.getOutputs())) {
    unsigned rank = cast<RankedTensorType>(init.getType()).getRank();
    AffineMap all = b.getMultiDimIdentityMap(rank + 1);
    SmallVector<utils::IteratorType> iterators(rank + 1, utils::IteratorType::parallel);
    iterators.front() = utils::IteratorType::reduction;
    BlockArgument sum = op.getBlock()->getArgument(op.getNumDpsInputs() + number);
    auto total = linalg::GenericOp::create(
        b, loc, init.getType(), partial->getResult(number), init, ArrayRef{all, all.dropResult(0)}, iterators,
        [&, number = number](OpBuilder &builder, Location inner, ValueRange x) {
          IRMapping mapping;
          for (Value operand : combiners[number]->getOperands())
            mapping.map(operand, operand == sum ? x[1] : x[0]);
          linalg::YieldOp::create(builder, inner, builder.clone(*combiners[number], mapping)->getResults());
        });
    totals.push_back(total.getResult(0));
  }
  partial.getRegion().takeBody(op.getRegion());
  op->replaceAllUsesWith(totals);
  op.erase();
}
