// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug_nn.scan and snug_nn.top_k: rows whose elements follow from each other, or from all others.
#include "dialects/nn/NnDialect.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace snug;
using namespace snug::nn;

// Dims: those of the input. Rows, which are along `dim`, are whole; kept ones have an extent of their own.
static IndexRule alongRule(Operation *op, int64_t rank, int64_t along, bool keeps) {
  MLIRContext *context = op->getContext();
  IndexRule rule;
  rule.dims.assign(rank + (keeps ? 1 : 0), IterDim{});
  rule.dims[along].kind = IterKind::Whole;
  if (keeps)
    rule.dims[rank].kind = IterKind::Whole;
  AffineMap read = AffineMap::getMultiDimIdentityMap(rank, context), written = read;
  if (keeps) {
    read = AffineMap::get(rank + 1, 0, read.getResults(), context);
    written = read.replace(getAffineDimExpr(along, context), getAffineDimExpr(rank, context), rank + 1, 0);
  }
  rule.operands.assign(1, read);
  rule.operands.append(op->getNumOperands() - 1, written);
  rule.results.assign(op->getNumOperands() - 1, written);
  return rule;
}

LogicalResult ScanOp::verify() {
  auto from = cast<ShapedType>(getInput().getType()), to = cast<ShapedType>(getInit().getType());
  int64_t dim = getDim();
  if (dim < 0 || dim >= from.getRank())
    return emitOpError() << "goes along dim " << dim << " of " << from;
  if (from.getElementType() != to.getElementType() || failed(verifyCompatibleShape(from.getShape(), to.getShape())))
    return emitOpError() << "writes what becomes of " << from << " to " << to;
  if (!from.getElementType().isIntOrFloat())
    return emitOpError() << "works on numbers, not on " << from.getElementType();
  return success();
}

FailureOr<IndexRule> ScanOp::getIndexRule() {
  return alongRule(*this, cast<ShapedType>(getInput().getType()).getRank(), getDim(), /*keeps=*/false);
}

LogicalResult TopKOp::verify() {
  auto from = cast<ShapedType>(getInput().getType()), to = cast<ShapedType>(getValues().getType());
  auto places = cast<ShapedType>(getPlaces().getType());
  int64_t dim = getDim();
  if (dim < 0 || dim >= from.getRank())
    return emitOpError() << "goes along dim " << dim << " of " << from;
  SmallVector<int64_t> shape(from.getShape());
  if (to.getRank() == from.getRank())
    shape[dim] = to.getDimSize(dim);
  if (from.getElementType() != to.getElementType() || !places.getElementType().isInteger(64) ||
      failed(verifyCompatibleShape(shape, to.getShape())) || failed(verifyCompatibleShape(to.getShape(), places.getShape())))
    return emitOpError() << "writes elements of " << from << " to " << to << " and their places to " << places;
  if (!from.getElementType().isIntOrFloat())
    return emitOpError() << "works on numbers, not on " << from.getElementType();
  return success();
}

FailureOr<IndexRule> TopKOp::getIndexRule() {
  return alongRule(*this, cast<ShapedType>(getInput().getType()).getRank(), getDim(), /*keeps=*/true);
}
