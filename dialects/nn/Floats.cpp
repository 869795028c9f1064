// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace snug;

FloatType snug::computeType(FloatType elementType) {
  return elementType.getWidth() < 32 ? Float32Type::get(elementType.getContext()) : elementType;
}

Value snug::extendToCompute(OpBuilder &b, Location loc, Value scalar) {
  if (!isNarrowFloat(scalar.getType()))
    return scalar;
  return arith::ExtFOp::create(b, loc, computeType(cast<FloatType>(scalar.getType())), scalar,
                               arith::FastMathFlagsAttr::get(b.getContext(), arith::FastMathFlags::contract));
}

Value snug::roundToStore(OpBuilder &b, Location loc, Value scalar, Type elementType) {
  if (scalar.getType() == elementType)
    return scalar;
  return arith::TruncFOp::create(b, loc, elementType, scalar, arith::RoundingModeAttr(),
                                 arith::FastMathFlagsAttr::get(b.getContext(), arith::FastMathFlags::contract));
}

Value snug::beforeConversions(Value value) {
  auto mayBeLeftOut = [](auto op) {
    return op && bitEnumContainsAll(op.getFastmath().value_or(arith::FastMathFlags::none), arith::FastMathFlags::contract);
  };
  while (true) {
    if (auto extend = value.getDefiningOp<arith::ExtFOp>(); mayBeLeftOut(extend))
      value = extend.getIn();
    else if (auto truncate = value.getDefiningOp<arith::TruncFOp>(); mayBeLeftOut(truncate))
      value = truncate.getIn();
    else
      return value;
  }
}
