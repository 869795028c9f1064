// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sizes that are computed from data. Inside of the program they are symbols like dims, with a bound that memory is planned
// for; an output that has one is handed out as a row of as many elements as it can have, and a list of its extents.
#include "lib/analysis/NodeName.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/canonicalize/Lowering.h"

using namespace mlir;
using namespace snug;

AffineExpr Lowering::dataExtent(LoweredValue &count, AffineExpr atMost) {
  Value list = tensor(count);
  SmallVector<Value> first(count.rank(), materialize(constant(0)));
  Value number = tensor::ExtractOp::create(b, loc(), list, first);
  Value size = arith::IndexCastOp::create(b, loc(), b.getIndexType(), number);
  // Whatever the data is, nothing is written beyond what was planned.
  size = arith::MinSIOp::create(b, loc(), size, materialize(atMost));
  symbolValues.push_back(arith::MaxSIOp::create(b, loc(), size, materialize(constant(0))));
  std::string name = nodeName(loc());
  return dims.addData("size of " + (name.empty() ? node().getOpType().str() : "'" + name + "'"), atMost);
}

bool Lowering::isMadeInside(AffineExpr extent, unsigned first) {
  for (unsigned symbol = first; symbol < symbolValues.size(); ++symbol) {
    const DimRange &range = dims.ranges()[dims.symbols()[symbol]];
    if ((range.isIteration || range.bound) && extent.isFunctionOfSymbol(symbol))
      return true;
  }
  return false;
}

FailureOr<std::pair<LoweredValue, LoweredValue>> Lowering::handOut(LoweredValue &value) {
  AffineExpr count = constant(1), most = constant(1);
  for (AffineExpr extent : value.shape) {
    count = count * extent;
    most = most * dims.atMost(extent);
  }
  auto flat = reshape(value, {normalExtent(count)});
  if (failed(flat))
    return failure();
  SmallVector<OpFoldResult> first = {b.getIndexAttr(0)}, size = {fold(flat->shape[0])}, step = {b.getIndexAttr(1)};
  Extents whole = {normalExtent(most)};
  Value row = tensor::InsertSliceOp::create(b, loc(), tensor(*flat), empty(whole, value.elementType), first, size, step);
  return std::pair(tensorValue(row, whole, value.elementType), intsValue(b.getI64Type(), value.shape));
}
