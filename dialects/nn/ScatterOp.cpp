// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug_nn.scatter.
#include "dialects/nn/ScatterOp.h"
#include "dialects/nn/KernelOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace snug;
using namespace snug::nn;

#define GET_OP_CLASSES
#include "dialects/nn/ScatterOp.cpp.inc"

void ScatterOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  kernelEffects(cast<DestinationStyleOpInterface>(getOperation()), effects);
}

LogicalResult ScatterOp::verify() {
  auto indices = cast<ShapedType>(getIndices().getType()), updates = cast<ShapedType>(getUpdates().getType());
  auto init = cast<ShapedType>(getInit().getType());
  AffineMap indexMap = getIndexMap(), place = getPlace();
  if (indexMap.getNumDims() != updates.getRank() || indexMap.getNumSymbols() != 0 || !indexMap.isProjectedPermutation() ||
      static_cast<int64_t>(indexMap.getNumResults()) + 1 != indices.getRank())
    return emitOpError() << "index_map does not map the " << updates.getRank() << " dims of updates to all dims but the last of "
                         << indices;
  if (indices.getShape().back() != static_cast<int64_t>(place.getNumSymbols()) || !indices.getElementType().isIntOrIndex())
    return emitOpError() << "takes " << place.getNumSymbols() << " indices an update from " << indices;
  if (place.getNumDims() != updates.getRank() || static_cast<int64_t>(place.getNumResults()) != init.getRank())
    return emitOpError() << "place does not map the " << updates.getRank() << " dims of updates to the " << init.getRank()
                         << " of the destination";
  for (auto [position, expr] : llvm::enumerate(place.getResults()))
    if (!isa<AffineDimExpr, AffineSymbolExpr>(expr) || llvm::is_contained(place.getResults().take_front(position), expr))
      return emitOpError() << "place of dim " << position << " is no dim of updates and no index of its own";
  for (unsigned symbol = 0; symbol < place.getNumSymbols(); ++symbol)
    if (!place.isFunctionOfSymbol(symbol))
      return emitOpError() << "index " << symbol << " chooses along no dim";
  for (int64_t dim : getUneven())
    if (dim < 0 || dim >= updates.getRank() || !place.isFunctionOfDim(dim))
      return emitOpError() << "uneven dim " << dim << " is none that updates and the destination share";
  auto dimsOf = [&](AffineMap map, ShapedType type, bool mayDiffer) {
    return llvm::all_of(llvm::enumerate(map.getResults()), [&](auto result) {
      auto dim = dyn_cast<AffineDimExpr>(result.value());
      return !dim || (mayDiffer && llvm::is_contained(getUneven(), static_cast<int64_t>(dim.getPosition()))) ||
             succeeded(verifyCompatibleDims({type.getDimSize(result.index()), updates.getDimSize(dim.getPosition())}));
    });
  };
  if (updates.getElementType() != init.getElementType() || !dimsOf(indexMap, indices, false) || !dimsOf(place, init, true))
    return emitOpError() << "scatters " << updates << " at " << indices << " into " << init;
  Type element = init.getElementType();
  if (auto real = dyn_cast<FloatType>(element))
    element = computeType(real);
  Block &block = getCombiner().front();
  Operation *yield = block.getTerminator();
  if (!llvm::equal(block.getArgumentTypes(), ArrayRef<Type>{element, element}) || yield->getNumOperands() != 1 ||
      yield->getOperand(0).getType() != element)
    return emitOpError() << "has a region that does not make one " << element << " of two";
  return success();
}

bool ScatterOp::combines() { return !getCombiner().front().getArgument(0).use_empty(); }

// Floats are rounded after each step; but for the largest and smallest, and one op of integers, none of what ONNX has does that.
bool ScatterOp::dependsOnOrder() {
  Operation *last = getCombiner().front().getTerminator()->getOperand(0).getDefiningOp();
  bool isOneOp = last && llvm::all_of(last->getOperands(), [](Value operand) { return isa<BlockArgument>(operand); });
  bool anyOrder = isOneOp && (isa<arith::MaximumFOp, arith::MinimumFOp>(last) ||
                              (last->hasTrait<OpTrait::IsCommutative>() && last->getResult(0).getType().isInteger()));
  return combines() && !anyOrder;
}

bool ScatterOp::isInPlace(unsigned dim) {
  return getPlace().isFunctionOfDim(dim) && !llvm::is_contained(getUneven(), static_cast<int64_t>(dim));
}

// Dims: those of updates, that of the indices' components, and one for each dim of the destination that is not in place.
FailureOr<IndexRule> ScatterOp::getIndexRule() {
  MLIRContext *context = getContext();
  AffineMap place = getPlace();
  unsigned points = place.getNumDims(), numDims = points + 1;
  IndexRule rule;
  SmallVector<AffineExpr> indices(getIndexMap().getResults()), written;
  indices.push_back(getAffineDimExpr(points, context));
  for (AffineExpr expr : place.getResults()) {
    auto dim = dyn_cast<AffineDimExpr>(expr);
    written.push_back(dim && isInPlace(dim.getPosition()) ? expr : getAffineDimExpr(numDims++, context));
  }
  rule.dims.assign(numDims, IterDim{IterKind::Whole, Combiner::None});
  for (unsigned dim = 0; dim < points; ++dim)
    if (isInPlace(dim))
      rule.dims[dim].kind = IterKind::Parallel;
  AffineMap updates = AffineMap::getMultiDimIdentityMap(points, context);
  updates = AffineMap::get(numDims, 0, updates.getResults(), context);
  rule.operands = {AffineMap::get(numDims, 0, indices, context), updates, AffineMap::get(numDims, 0, written, context)};
  rule.results.assign(1, rule.operands.back());
  rule.keepsDestinations = true;
  return rule;
}
