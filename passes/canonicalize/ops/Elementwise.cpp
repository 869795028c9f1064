// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elementwise arithmetic, of one input and of several. That of integers on shape lists and position grids stays in closed
// form.
#include "mlir/Dialect/Math/IR/Math.h"
#include <cmath>
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/StringType.h"
#include "passes/canonicalize/ops/ClosedIntegers.h"

using namespace mlir;
using namespace snug;

namespace {
using Builder = OpBuilder;

bool isFloat(LoweredValue &value) { return isa<FloatType>(value.elementType); }

// --- unary --------------------------------------------------------------------------------------------------------

template <class FloatOp> Value floatOp(Builder &b, Location loc, Value x) { return b.createOrFold<FloatOp>(loc, x); }

Value relu(Builder &b, Location loc, Value x) {
  Value zero = number(b, loc, x.getType(), 0);
  if (isa<FloatType>(x.getType()))
    return b.createOrFold<arith::MaximumFOp>(loc, x, zero);
  return b.createOrFold<arith::MaxSIOp>(loc, x, zero);
}
Value negate(Builder &b, Location loc, Value x) {
  if (isa<FloatType>(x.getType()))
    return b.createOrFold<arith::NegFOp>(loc, x);
  return b.createOrFold<arith::SubIOp>(loc, number(b, loc, x.getType(), 0), x);
}
Value reciprocal(Builder &b, Location loc, Value x) {
  return b.createOrFold<arith::DivFOp>(loc, number(b, loc, x.getType(), 1), x);
}
Value sigmoid(Builder &b, Location loc, Value x) {
  Value e = b.createOrFold<math::ExpOp>(loc, b.createOrFold<arith::NegFOp>(loc, x));
  return reciprocal(b, loc, b.createOrFold<arith::AddFOp>(loc, e, number(b, loc, x.getType(), 1)));
}
Value bitwiseNot(Builder &b, Location loc, Value x) {
  return b.createOrFold<arith::XOrIOp>(loc, x, number(b, loc, x.getType(), -1));
}
Value isNan(Builder &b, Location loc, Value x) { return b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::UNO, x, x); }
Value logicalNot(Builder &b, Location loc, Value x) {
  return b.createOrFold<arith::XOrIOp>(loc, x, number(b, loc, x.getType(), 1));
}

template <Value (*Function)(Builder &, Location, Value), bool ToBool = false> LogicalResult unary(Lowering &l) {
  LoweredValue *in = &l.input(0);
  Type type = ToBool ? Type(l.b.getI1Type()) : in->elementType;
  auto result = l.elementwise({in}, type, [](Builder &b, Location loc, ValueRange x) { return Function(b, loc, x[0]); });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// Truth values that are known of dims stay so.
LogicalResult notOp(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto folded = foldLists(l, {&in}, in.elementType, [](ArrayRef<AffineExpr> e) -> std::optional<AffineExpr> { return 1 - e[0]; });
  auto result = folded ? FailureOr<LoweredValue>(*folded)
                       : l.elementwise({&in}, in.elementType, [](Builder &b, Location loc, ValueRange x) {
                           return logicalNot(b, loc, x[0]);
                         });
  if (succeeded(result) && in.relations.size() == 1)
    result->relations = {{in.relations[0].expr, !in.relations[0].isZero}};
  return finish(l, result);
}

LogicalResult negateOp(Lowering &l) {
  LoweredValue &in = l.input(0);
  if (!in.isClosed() || !isShapeInteger(in.elementType))
    return unary<negate>(l);
  LoweredValue out = in;
  out.tensor = Value();
  out.splat = TypedAttr();
  for (AffineExpr &expr : out.closed)
    expr = -expr;
  l.define(0, out);
  return success();
}

LogicalResult gelu(Lowering &l) {
  bool tanh = l.stringAttr("approximate", "none") == "tanh";
  auto result = l.elementwise({&l.input(0)}, l.input(0).elementType, [&](Builder &b, Location loc, ValueRange args) -> Value {
    Value x = args[0];
    auto c = [&](double v) { return number(b, loc, x.getType(), v); };
    auto mul = [&](Value p, Value q) { return b.createOrFold<arith::MulFOp>(loc, p, q); };
    auto add = [&](Value p, Value q) { return b.createOrFold<arith::AddFOp>(loc, p, q); };
    Value inner = tanh ? b.createOrFold<math::TanhOp>(
                             loc, mul(add(x, mul(mul(mul(x, x), x), c(0.044715))), c(0.7978845608028654)))
                       : b.createOrFold<math::ErfOp>(loc, mul(x, c(0.7071067811865476)));
    return mul(mul(x, c(0.5)), add(inner, c(1)));
  });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// --- binary -------------------------------------------------------------------------------------------------------

template <Arithmetic Kind, class FloatOp, class IntOp> LogicalResult arithmetic(Lowering &l) {
  LoweredValue *x = &l.input(0), *y = &l.input(1);
  if (auto closed = closedBinary(l, Kind, *x, *y)) {
    l.define(0, *closed);
    return success();
  }
  auto result = l.elementwise({x, y}, x->elementType, [&](Builder &b, Location loc, ValueRange a) -> Value {
    if (Kind == Arithmetic::Div)
      return quotient(b, loc, x->elementType, a[0], a[1]);
    if (isFloat(*x))
      return b.createOrFold<FloatOp>(loc, a[0], a[1]);
    return b.createOrFold<IntOp>(loc, a[0], a[1]);
  });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

LogicalResult shift(Lowering &l) {
  Type type = l.input(0).elementType;
  bool left = l.stringAttr("direction", "") == "LEFT";
  if (!left && l.stringAttr("direction", "") != "RIGHT") {
    l.error() << "direction is neither LEFT nor RIGHT";
    return failure();
  }
  auto result = l.elementwise({&l.input(0), &l.input(1)}, type, [&](Builder &b, Location loc, ValueRange a) -> Value {
    // By all bits or more (or less than none, which is seen as very many) the sign alone is left; what the ops would make of
    // it is not said.
    Value width = number(b, loc, type, type.getIntOrFloatBitWidth()), zero = number(b, loc, type, 0), rest = zero, shifted;
    Value inside = b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::ult, a[1], width);
    if (left) {
      shifted = b.createOrFold<arith::ShLIOp>(loc, a[0], a[1]);
    } else if (isUnsigned(type)) {
      shifted = b.createOrFold<arith::ShRUIOp>(loc, a[0], a[1]);
    } else {
      shifted = b.createOrFold<arith::ShRSIOp>(loc, a[0], a[1]);
      rest = b.createOrFold<arith::SelectOp>(loc, lessThan(b, loc, type, a[0], zero), number(b, loc, type, -1), zero);
    }
    return b.createOrFold<arith::SelectOp>(loc, inside, shifted, rest);
  });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// x^y of integers by squares, as far as it fits: of larger exponents only powers of 0, 1 and -1 do.
Value integerPower(Builder &b, Location loc, Type elementType, Value x, Value y, bool mayBeNegative) {
  Type type = x.getType();
  auto binary = [&](auto op, Value p, Value q) { return b.createOrFold<decltype(op)>(loc, p, q); };
  auto compare = [&](arith::CmpIPredicate predicate, Value p, Value q) { return b.createOrFold<arith::CmpIOp>(loc, predicate, p, q); };
  auto select = [&](Value c, Value p, Value q) { return b.createOrFold<arith::SelectOp>(loc, c, p, q); };
  Value zero = number(b, loc, type, 0), one = number(b, loc, type, 1), minus = number(b, loc, type, -1);
  Value result = one, square = x;
  unsigned steps = llvm::Log2_64_Ceil(type.getIntOrFloatBitWidth());
  for (unsigned bit = 0; bit < steps; ++bit) {
    Value has = binary(arith::AndIOp(), binary(arith::ShRUIOp(), y, number(b, loc, type, bit)), one);
    result = select(compare(arith::CmpIPredicate::ne, has, zero), binary(arith::MulIOp(), result, square), result);
    square = binary(arith::MulIOp(), square, square);
  }
  if (!mayBeNegative)
    return result;
  Value odd = compare(arith::CmpIPredicate::ne, binary(arith::AndIOp(), y, one), zero);
  Value inverse = select(compare(arith::CmpIPredicate::eq, x, one), one,
                         isUnsigned(elementType) ? zero : select(compare(arith::CmpIPredicate::eq, x, minus), select(odd, minus, one), zero));
  return select(compare(arith::CmpIPredicate::slt, y, zero), inverse, result);
}

// Of two types: integers by integers as such, what has a float in it as floats. The result is of the base's type.
LogicalResult mixedPower(Lowering &l, LoweredValue &x, LoweredValue &y) {
  Type type = x.elementType;
  bool whole = isa<IntegerType>(type) && isa<IntegerType>(y.elementType);
  Type real = isa<FloatType>(type) ? type : l.b.getF64Type();
  auto result = l.elementwise({&x, &y}, type, [&](Builder &b, Location loc, ValueRange a) -> Value {
    if (whole)
      return integerPower(b, loc, type, a[0], convert(b, loc, a[1], y.elementType, type), !isUnsigned(y.elementType));
    Value base = convert(b, loc, a[0], type, real), by = convert(b, loc, a[1], y.elementType, real);
    return convert(b, loc, math::PowFOp::create(b, loc, base, by), real, type);
  });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

LogicalResult power(Lowering &l) {
  LoweredValue *x = &l.input(0), *y = &l.input(1);
  auto constant = dyn_cast_or_null<FloatAttr>(y->splat);
  if (!constant && y->splat && y->isClosed() && isFloat(*x))
    constant = FloatAttr::get(l.b.getF64Type(), static_cast<double>(cast<AffineConstantExpr>(y->closed[0]).getValue()));
  if (!isFloat(*x) || (!constant && x->elementType != y->elementType))
    return mixedPower(l, *x, *y);
  auto result = l.elementwise({x, y}, x->elementType, [&](Builder &b, Location loc, ValueRange a) -> Value {
    double exponent = constant ? constant.getValueAsDouble() : 0;
    auto mul = [&](Value p, Value q) { return b.createOrFold<arith::MulFOp>(loc, p, q); };
    if (constant && exponent == 2)
      return mul(a[0], a[0]);
    if (constant && exponent == 3)
      return mul(mul(a[0], a[0]), a[0]);
    if (constant && exponent == 1)
      return a[0];
    if (constant && exponent == 0.5)
      return b.createOrFold<math::SqrtOp>(loc, a[0]);
    if (constant && exponent == -1)
      return reciprocal(b, loc, a[0]);
    return b.createOrFold<math::PowFOp>(loc, a[0], convert(b, loc, a[1], y->elementType, x->elementType));
  });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

template <bool Max> LogicalResult extremum(Lowering &l) {
  LoweredValue accumulated = l.input(0);
  for (unsigned i = 1; i < l.numInputs(); ++i) {
    if (auto folded = foldLists(l, {&accumulated, &l.input(i)}, accumulated.elementType,
                                [&](ArrayRef<AffineExpr> e) { return l.extremum(e[0], e[1], Max); })) {
      accumulated = *folded;
      continue;
    }
    auto result = l.elementwise({&accumulated, &l.input(i)}, accumulated.elementType,
                                [&](Builder &b, Location loc, ValueRange a) -> Value {
                                  return (Max ? larger : smaller)(b, loc, accumulated.elementType, a[0], a[1]);
                                });
    if (failed(result))
      return failure();
    accumulated = *result;
  }
  l.define(0, accumulated);
  return success();
}

LogicalResult isInf(Lowering &l) {
  LoweredValue &in = l.input(0);
  bool positive = l.intAttr("detect_positive", 1), negative = l.intAttr("detect_negative", 1);
  auto result = l.elementwise({&in}, l.b.getI1Type(), [&](Builder &b, Location loc, ValueRange x) -> Value {
    Type type = x[0].getType();
    auto is = [&](double value) {
      return b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::OEQ, x[0], number(b, loc, type, value));
    };
    if (positive && negative)
      return b.createOrFold<arith::OrIOp>(loc, is(INFINITY), is(-INFINITY));
    if (positive || negative)
      return is(positive ? INFINITY : -INFINITY);
    return arith::ConstantOp::create(b, loc, b.getBoolAttr(false));
  });
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// Of any number of inputs.
template <bool Mean> LogicalResult sum(Lowering &l) {
  LoweredValue total = l.input(0);
  for (unsigned i = 1; i < l.numInputs(); ++i) {
    auto next = l.elementwise({&total, &l.input(i)}, total.elementType,
                              [](Builder &b, Location loc, ValueRange a) -> Value {
                                return b.createOrFold<arith::AddFOp>(loc, a[0], a[1]);
                              });
    if (failed(next))
      return failure();
    total = *next;
  }
  if (Mean && l.numInputs() > 1) {
    auto mean = l.elementwise({&total}, total.elementType, [&](Builder &b, Location loc, ValueRange x) -> Value {
      return b.createOrFold<arith::DivFOp>(loc, x[0], number(b, loc, x[0].getType(), l.numInputs()));
    });
    if (failed(mean))
      return failure();
    total = *mean;
  }
  l.define(0, total);
  return success();
}

LogicalResult identity(Lowering &l) {
  l.define(0, l.input(0));
  return success();
}
} // namespace

void snug::addElementwiseOps(LoweringTable &t) {
  t.add("Relu", 1, unary<relu>);
  t.add("Neg", 6, negateOp);
  t.add("Exp", 6, unary<floatOp<math::ExpOp>>);
  t.add("Log", 6, unary<floatOp<math::LogOp>>);
  t.add("Sqrt", 6, unary<floatOp<math::SqrtOp>>);
  t.add("Tanh", 6, unary<floatOp<math::TanhOp>>);
  t.add("Erf", 9, unary<floatOp<math::ErfOp>>);
  t.add("Sin", 7, unary<floatOp<math::SinOp>>);
  t.add("Cos", 7, unary<floatOp<math::CosOp>>);
  t.add("Reciprocal", 6, unary<reciprocal>);
  t.add("Sigmoid", 6, unary<sigmoid>);
  t.add("IsNaN", 9, unary<isNan, true>);
  t.add("Not", 1, notOp);
  t.add("Gelu", 20, gelu);
  t.add("Add", 7, arithmetic<Arithmetic::Add, arith::AddFOp, arith::AddIOp>);
  t.add("Sub", 7, arithmetic<Arithmetic::Sub, arith::SubFOp, arith::SubIOp>);
  t.add("Mul", 7, arithmetic<Arithmetic::Mul, arith::MulFOp, arith::MulIOp>);
  t.add("Div", 7, arithmetic<Arithmetic::Div, arith::DivFOp, arith::DivSIOp>);
  t.add("Pow", 7, power);
  t.add("Max", 8, extremum<true>);
  t.add("Min", 8, extremum<false>);
  t.add("BitwiseNot", 18, unary<bitwiseNot>);
  t.add("IsInf", 10, isInf);
  t.add("Sum", 8, sum<false>);
  t.add("Mean", 8, sum<true>);
  t.add("BitShift", 11, shift);
  t.add("Identity", 1, identity, types::Any);
}
