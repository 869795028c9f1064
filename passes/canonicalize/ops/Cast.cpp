// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Conversions between element types. Integers known at compile time stay so.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/ClosedIntegers.h"

using namespace mlir;
using namespace snug;

namespace {
// Whether all elements of a closed value are known to be integers of type `to`.
bool fits(Lowering &l, LoweredValue &in, Type to) {
  auto from = rangeOf(in.elementType), range = rangeOf(to);
  if (!range)
    return false;
  if (from && from->first >= range->first && from->second <= range->second)
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
      if (!low || !high || *low < range->first || *high > range->second)
        return false;
    }
    return true;
  });
}

LogicalResult castTo(Lowering &l, Type to) {
  LoweredValue &in = l.input(0);
  if (!to) {
    l.error() << "casts to element type " << nameOf(l.intAttr("to", 0)) << " are not supported";
    return failure();
  }
  if (in.elementType == to) {
    l.define(0, in);
    return success();
  }
  CastMode mode;
  mode.saturate = l.intAttr("saturate", 1);
  StringRef rounding = l.stringAttr("round_mode", "up");
  mode.scales = rounding == "down" ? CastMode::Down : rounding == "nearest" ? CastMode::Nearest : CastMode::Up;
  // Integers stay in closed form where they fit.
  if (in.isClosed() && isa<IntegerType>(to) && !to.isInteger(1) && !isCode(to) && fits(l, in, to)) {
    LoweredValue out = in;
    out.tensor = Value();
    out.elementType = to;
    if (in.splat) {
      int64_t number = llvm::cast<AffineConstantExpr>(in.closed[0]).getValue();
      unsigned width = to.getIntOrFloatBitWidth();
      out.splat = IntegerAttr::get(storedAs(to), APInt(64, number, /*isSigned=*/true).trunc(width));
    }
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
  auto result = l.elementwise({&in}, to, [&](OpBuilder &b, Location loc, ValueRange x) {
    return convert(b, loc, x[0], in.elementType, to, mode);
  });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
LogicalResult cast(Lowering &l) { return castTo(l, l.dataType(l.intAttr("to", 0))); }
LogicalResult castLike(Lowering &l) { return castTo(l, l.input(1).elementType); }

// The same bits as another type of the same width; of less than 8, the code's low bits are them.
LogicalResult bitCast(Lowering &l) {
  LoweredValue &in = l.input(0);
  Type to = l.dataType(l.intAttr("to", 0));
  auto bits = [](Type type) { return type.isInteger(1) ? 8 : type.getIntOrFloatBitWidth(); };
  if (!to || bits(to) != bits(in.elementType)) {
    l.error() << "element type " << nameOf(l.intAttr("to", 0)) << " has not as many bits as " << nameOf(in.elementType);
    return failure();
  }
  Type stored = storedAs(to);
  auto result = l.elementwise({&in}, to, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    Type from = x[0].getType();
    if (from == stored)
      return x[0];
    if (stored.isInteger(1)) {
      Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(from));
      return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, x[0], zero);
    }
    if (from.isInteger(1))
      return arith::ExtUIOp::create(b, loc, stored, x[0]);
    return arith::BitcastOp::create(b, loc, stored, x[0]);
  });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
} // namespace

void snug::addCastOps(LoweringTable &t) {
  t.add("Cast", 6, cast, types::All);
  t.add("CastLike", 15, castLike, types::All);
  t.add("BitCast", 26, bitCast, types::All);
}
