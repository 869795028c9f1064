// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/GenericPlan.h"
#include "lib/analysis/IndexBounds.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
bool usesIndex(linalg::GenericOp op, unsigned dim) {
  return op.getBlock()
      ->walk([&](linalg::IndexOp index) { return index.getDim() == dim ? WalkResult::interrupt() : WalkResult::advance(); })
      .wasInterrupted();
}

// Whether all operands hold loop dims `outer` and the one behind it as if they were one dim.
bool areOneDim(linalg::GenericOp op, unsigned outer) {
  unsigned inner = outer + 1;
  SmallVector<utils::IteratorType> iterators = op.getIteratorTypesArray();
  if (iterators[outer] != iterators[inner] || usesIndex(op, outer) || usesIndex(op, inner))
    return false;
  for (OpOperand &operand : op->getOpOperands()) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    if (!map.isFunctionOfDim(outer) && !map.isFunctionOfDim(inner))
      continue;
    auto count = [&](unsigned dim) { return llvm::count_if(map.getResults(), [&](AffineExpr e) { return e.isFunctionOfDim(dim); }); };
    std::optional<unsigned> place = positionOf(map, outer);
    if (!place || positionOf(map, inner) != *place + 1 || count(outer) != 1 || count(inner) != 1)
      return false;
    auto type = cast<MemRefType>(operand.get().getType());
    int64_t ignored;
    SmallVector<int64_t> strides;
    if (type.getLayout().isIdentity())
      continue;
    int64_t size = type.getDimSize(*place + 1);
    if (failed(type.getStridesAndOffset(strides, ignored)) || ShapedType::isDynamic(size) || ShapedType::isDynamic(strides[*place]) ||
        ShapedType::isDynamic(strides[*place + 1]) || strides[*place] != strides[*place + 1] * size)
      return false;
  }
  return true;
}
} // namespace

SmallVector<unsigned> GenericPlan::select(bool isSum) const {
  SmallVector<unsigned> found;
  for (auto [number, loop] : llvm::enumerate(loops))
    if (loop.isSum == isSum)
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

GenericPlan GenericPlan::of(linalg::GenericOp op) {
  GenericPlan plan;
  for (auto [dim, iterator] : llvm::enumerate(op.getIteratorTypesArray())) {
    if (dim > 0 && areOneDim(op, dim - 1))
      plan.loops.back().dims.push_back(dim);
    else
      plan.loops.push_back({{static_cast<unsigned>(dim)}, iterator == utils::IteratorType::reduction});
  }
  if (op.getNumReductionLoops())
    return plan;
  int64_t widest = 1; // bytes of an element
  for (Value operand : op->getOperands())
    if (auto type = dyn_cast<MemRefType>(operand.getType()); type && type.getRank())
      widest = std::max(widest, elementBytes(type.getElementType()));
  plan.unit = std::max<int64_t>(1, kVectorBytes / widest);
  return plan;
}

KernelRange GenericPlan::range(linalg::GenericOp op) const {
  KernelRange range;
  for (const Loop &loop : loops)
    if (!loop.isSum)
      for (unsigned dim : loop.dims)
        range.factors.push_back({{*loopExtent(op, dim)}});
  range.grain = kBlock * unit;
  return range;
}
