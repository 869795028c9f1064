// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/GenericPlan.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Combiners.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include <numeric>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
bool usesIndex(linalg::LinalgOp op, unsigned dim) {
  return op.getBlock()
      ->walk([&](linalg::IndexOp index) {
        return index.getDim() == dim ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

// Whether all operands hold loop dims `outer` and the one behind it as if they were one dim.
bool areOneDim(linalg::LinalgOp op, unsigned outer) {
  unsigned inner = outer + 1;
  SmallVector<utils::IteratorType> iterators = op.getIteratorTypesArray();
  if (iterators[outer] != iterators[inner] || usesIndex(op, outer) || usesIndex(op, inner))
    return false;
  for (OpOperand &operand : op->getOpOperands()) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    if (!map.isFunctionOfDim(outer) && !map.isFunctionOfDim(inner))
      continue;
    auto count = [&](unsigned dim) {
      return llvm::count_if(map.getResults(), [&](AffineExpr e) { return e.isFunctionOfDim(dim); });
    };
    std::optional<unsigned> place = positionOf(map, outer);
    if (!place || positionOf(map, inner) != *place + 1 || count(outer) != 1 || count(inner) != 1)
      return false;
    auto type = cast<MemRefType>(operand.get().getType());
    int64_t ignored;
    SmallVector<int64_t> strides;
    if (type.getLayout().isIdentity())
      continue;
    int64_t size = type.getDimSize(*place + 1);
    if (failed(type.getStridesAndOffset(strides, ignored)) || ShapedType::isDynamic(size) ||
        ShapedType::isDynamic(strides[*place]) || ShapedType::isDynamic(strides[*place + 1]) ||
        strides[*place] != strides[*place + 1] * size)
      return false;
  }
  return true;
}
} // namespace

SmallVector<unsigned> GenericPlan::select(bool isSum) const {
  SmallVector<unsigned> found;
  for (auto [number, loop] : llvm::enumerate(loops))
    if (loop.isSum == isSum && number != part)
      found.push_back(number);
  return found;
}

AffineMap GenericPlan::overLoops(AffineMap map) const {
  MLIRContext *context = map.getContext();
  SmallVector<AffineExpr> dims(map.getNumDims()), results;
  llvm::SmallDenseSet<unsigned> inside;
  for (auto [number, loop] : llvm::enumerate(loops))
    for (unsigned dim : loop.dims) {
      dims[dim] = getAffineDimExpr(number, context);
      if (dim != loop.dims.front())
        inside.insert(dim);
    }
  for (AffineExpr expr : map.getResults()) {
    auto dim = dyn_cast<AffineDimExpr>(expr);
    if (!dim || !inside.contains(dim.getPosition()))
      results.push_back(expr.replaceDims(dims));
  }
  return AffineMap::get(loops.size(), 0, results, context);
}

GenericPlan GenericPlan::of(linalg::LinalgOp op) {
  GenericPlan plan;
  for (auto [dim, iterator] : llvm::enumerate(op.getIteratorTypesArray())) {
    if (dim > 0 && areOneDim(op, dim - 1))
      plan.loops.back().dims.push_back(dim);
    else
      plan.loops.push_back({{static_cast<unsigned>(dim)}, iterator == utils::IteratorType::reduction});
  }
  if (auto partial = dyn_cast<nn::PartialReduceOp>(op.getOperation())) {
    plan.part = plan.loops.size() - 1; // no input has it, so it is one of its own
    plan.parts = staticLoopExtent(op, partial.partDim());
  }
  int64_t widest = 1; // bytes of an element
  for (Value operand : op->getOperands())
    if (auto type = dyn_cast<MemRefType>(operand.getType()); type && type.getRank())
      widest = std::max(widest, elementBytes(type.getElementType()));
  plan.unit = std::max<int64_t>(1, kVectorBytes / widest);
  if (op.getNumReductionLoops())
    plan.chooseSum(op);
  else
    plan.chooseTiles(op);
  return plan;
}

int64_t GenericPlan::staticSize(linalg::LinalgOp op, unsigned loop) const {
  int64_t size = 1;
  for (unsigned dim : loops[loop].dims) {
    int64_t extent = staticLoopExtent(op, dim);
    if (ShapedType::isDynamic(extent))
      return extent;
    size *= extent;
  }
  return size;
}

std::optional<unsigned> GenericPlan::contiguousLoop(linalg::LinalgOp op, OpOperand &operand) const {
  auto type = dyn_cast<MemRefType>(operand.get().getType());
  int64_t ignored;
  SmallVector<int64_t> strides;
  if (!type || !type.getRank() || failed(type.getStridesAndOffset(strides, ignored)) || strides.back() != 1)
    return std::nullopt;
  auto dim = dyn_cast<AffineDimExpr>(overLoops(op.getMatchingIndexingMap(&operand)).getResults().back());
  return dim ? std::optional<unsigned>(dim.getPosition()) : std::nullopt;
}

// What is chosen here decides in which order a sum is made: it depends on the region, on the maps, on element types and
// on the extents of the summed dims, which chunks of the result all share.
void GenericPlan::chooseSum(linalg::LinalgOp op) {
  constexpr int64_t few = 16, longRow = 1024;
  int64_t count = 1, last = 1; // elements of a sum; along its last dim
  SmallVector<unsigned> dims;
  for (auto [dim, iterator] : llvm::enumerate(op.getIteratorTypesArray()))
    if (iterator == utils::IteratorType::reduction) {
      dims.push_back(dim);
      last = staticLoopExtent(op, dim);
      count = ShapedType::isDynamic(last) || ShapedType::isDynamic(count) ? ShapedType::kDynamic : count * last;
    }
  int64_t vector = std::exchange(unit, 1);
  if (!reducesInParts(op) || (!part && !ShapedType::isDynamic(count) && count < few))
    return;
  bool isAlong = llvm::all_of(op.getDpsInputOperands(), [&](OpOperand *input) {
    AffineMap map = op.getMatchingIndexingMap(input);
    if (llvm::none_of(dims, [&](unsigned dim) { return map.isFunctionOfDim(dim); }))
      return true;
    std::optional<unsigned> loop = contiguousLoop(op, *input);
    return loop && loops[*loop].isSum;
  });
  form = isAlong ? Form::Rows : Form::Columns;
  if (isAlong) {
    threads = part || ShapedType::isDynamic(count) || count > longRow ? kBlock : kWarp;
    unit = ShapedType::isDynamic(last) ? 1 : std::gcd(vector, last);
  }
}

void GenericPlan::chooseTiles(linalg::LinalgOp op) {
  constexpr int64_t few = 8; // fewer places side by side are found in the cache
  std::optional<unsigned> to = contiguousLoop(op, *op.getDpsInitOperand(0)), from;
  auto isLong = [&](unsigned loop) {
    return ShapedType::isDynamic(staticSize(op, loop)) || staticSize(op, loop) >= few;
  };
  for (OpOperand &output : op.getDpsInitsMutable())
    if (!to || contiguousLoop(op, output) != to)
      return;
  for (OpOperand *input : op.getDpsInputOperands()) {
    std::optional<unsigned> loop = contiguousLoop(op, *input);
    if (loop && *loop != *to && from.value_or(*loop) == *loop && isLong(*loop) && isLong(*to) &&
        overLoops(op.getMatchingIndexingMap(input)).isFunctionOfDim(*to) && across.size() < 4) {
      from = loop;
      across.push_back(input->getOperandNumber());
    }
  }
  if (!from)
    return;
  form = Form::Tiles;
  read = *from;
  written = *to;
}

int64_t GenericPlan::pointsOfBlock() const {
  return form == Form::Rows ? kBlock / threads : form == Form::Columns ? kWarp : kBlock * unit;
}

KernelRange GenericPlan::range(linalg::LinalgOp op) const {
  KernelRange range;
  auto factor = [&](unsigned loop, int64_t tile) {
    RangeFactor made{{}, tile};
    for (unsigned dim : loops[loop].dims)
      made.extents.push_back(*loopExtent(op, dim));
    range.factors.push_back(made);
  };
  if (part) { // a block has one of them
    factor(*part, 1);
    RangeFactor results{{}, pointsOfBlock()};
    for (unsigned loop : select(/*isSum=*/false))
      for (unsigned dim : loops[loop].dims)
        results.extents.push_back(*loopExtent(op, dim));
    range.factors.push_back(results);
    return range;
  }
  bool isTiled = form == Form::Tiles;
  for (unsigned loop : select(/*isSum=*/false))
    factor(loop, isTiled && (loop == read || loop == written) ? kTile : 1);
  range.grain = isTiled ? 1 : pointsOfBlock();
  return range;
}
