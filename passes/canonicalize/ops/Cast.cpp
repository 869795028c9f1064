// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Conversions between element types. Integers known at compile time stay so.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/ClosedIntegers.h"

using namespace mlir;
using namespace snug;

namespace {
using Builder = OpBuilder;

Value convert(Builder &b, Location loc, Value x, Type to) {
  Type from = x.getType();
  if (from == to)
    return x;
  bool fromFloat = isa<FloatType>(from), toFloat = isa<FloatType>(to);
  if (to.isInteger(1)) {
    Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(from));
    if (fromFloat)
      return b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::UNE, x, zero);
    return b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::ne, x, zero);
  }
  if (fromFloat && toFloat)
    return from.getIntOrFloatBitWidth() < to.getIntOrFloatBitWidth() ? b.createOrFold<arith::ExtFOp>(loc, to, x)
                                                                     : b.createOrFold<arith::TruncFOp>(loc, to, x);
  if (fromFloat)
    return b.createOrFold<arith::FPToSIOp>(loc, to, x);
  if (toFloat)
    return from.isInteger(1) ? b.createOrFold<arith::UIToFPOp>(loc, to, x) : b.createOrFold<arith::SIToFPOp>(loc, to, x);
  if (from.getIntOrFloatBitWidth() > to.getIntOrFloatBitWidth())
    return b.createOrFold<arith::TruncIOp>(loc, to, x);
  return from.isInteger(1) ? b.createOrFold<arith::ExtUIOp>(loc, to, x) : b.createOrFold<arith::ExtSIOp>(loc, to, x);
}

// Whether all elements of a closed value are known to be integers of type `to`.
bool fits(Lowering &l, LoweredValue &in, Type to) {
  if (in.elementType.getIntOrFloatBitWidth() <= to.getIntOrFloatBitWidth())
    return true;
  return llvm::all_of(in.closed, [&](AffineExpr element) {
    // The farthest index of each dim, one after the other: element is affine in them.
    Extents last;
    for (AffineExpr extent : in.shape)
      last.push_back(extent - 1);
    Extents first(in.rank(), l.constant(0));
    for (Extents &corner : {std::ref(first), std::ref(last)}) {
      AffineExpr at = element.replaceDims(corner);
      auto low = l.dims.lowerBound(at), high = l.dims.upperBound(at);
      if (!low || !high || *low < INT32_MIN || *high > INT32_MAX)
        return false;
    }
    return true;
  });
}

LogicalResult castTo(Lowering &l, Type to) {
  LoweredValue &in = l.input(0);
  if (!to) {
    l.error() << "casts to element type " << l.intAttr("to", 0) << " are not supported";
    return failure();
  }
  if (in.elementType == to) {
    l.define(0, in);
    return success();
  }
  // Code generation has no others.
  auto isComputable = [](Type type) {
    return type.isF16() || type.isBF16() || type.isF32() || type.isF64() || type.isSignlessInteger();
  };
  if (!isComputable(in.elementType) || !isComputable(to)) {
    l.error() << "casts from element type " << in.elementType << " to " << to << " are not supported";
    return failure();
  }
  // Integers stay in closed form where they fit.
  if (in.isClosed() && (to.isInteger(64) || to.isInteger(32)) && fits(l, in, to)) {
    LoweredValue out;
    out.elementType = to;
    out.shape = in.shape;
    out.closed = in.closed;
    out.closedVector = in.closedVector;
    if (auto integer = dyn_cast_or_null<IntegerAttr>(in.splat))
      out.splat = l.b.getIntegerAttr(to, integer.getType().isInteger(1) ? integer.getValue().getZExtValue()
                                                                        : integer.getValue().getSExtValue());
    l.define(0, out);
    return success();
  }
  if (to.isInteger(1)) {
    auto folded = foldLists(l, {&in}, to, [&](ArrayRef<AffineExpr> e) -> std::optional<AffineExpr> {
      auto zero = decide(l, arith::CmpIPredicate::eq, e[0], l.constant(0));
      return zero ? std::optional<AffineExpr>(l.constant(!*zero)) : std::nullopt;
    });
    if (folded) {
      l.define(0, *folded);
      return success();
    }
  }
  auto result = l.elementwise({&in}, to, [&](Builder &b, Location loc, ValueRange x) { return convert(b, loc, x[0], to); });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
LogicalResult cast(Lowering &l) { return castTo(l, l.dataType(l.intAttr("to", 0))); }
LogicalResult castLike(Lowering &l) { return castTo(l, l.input(1).elementType); }
} // namespace

void snug::addCastOps(LoweringTable &t) {
  t.add("Cast", 6, cast);
  t.add("CastLike", 15, castLike);
}
