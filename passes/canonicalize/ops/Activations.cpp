// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elementwise ops of one tensor, most of them with attributes: activations, rounding, Clip.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Scalar.h"
#include "passes/canonicalize/ops/ClosedIntegers.h"

using namespace mlir;
using namespace snug;

namespace {
LogicalResult apply(Lowering &l, llvm::function_ref<Scalar(Scalar)> function) {
  LoweredValue &in = l.input(0);
  if (!isa<FloatType>(in.elementType)) {
    l.error() << "only floating-point inputs are supported";
    return failure();
  }
  return finish(l, l.elementwise({&in}, in.elementType, [&](OpBuilder &b, Location loc, ValueRange x) {
    return function(Scalar{b, loc, x[0]}).value;
  }));
}

LogicalResult leakyRelu(Lowering &l) {
  double alpha = l.floatAttr("alpha", 0.01);
  return apply(l, [&](Scalar x) { return x.above(0, x, x * alpha); });
}
LogicalResult thresholdedRelu(Lowering &l) {
  double alpha = l.floatAttr("alpha", 1);
  return apply(l, [&](Scalar x) { return x.above(alpha, x, x.number(0)); });
}
LogicalResult elu(Lowering &l) {
  double alpha = l.floatAttr("alpha", 1);
  return apply(l, [&](Scalar x) { return x.above(0, x, (x.exp() - 1) * alpha); });
}
LogicalResult celu(Lowering &l) {
  double alpha = l.floatAttr("alpha", 1);
  return apply(l, [&](Scalar x) { return x.above(0, x, ((x * (1 / alpha)).exp() - 1) * alpha); });
}
LogicalResult selu(Lowering &l) {
  double alpha = l.floatAttr("alpha", 1.67326319217681884765625), gamma = l.floatAttr("gamma", 1.05070102214813232421875);
  return apply(l, [&](Scalar x) { return x.above(0, x, (x.exp() - 1) * alpha) * gamma; });
}
LogicalResult hardSigmoidOp(Lowering &l) {
  double alpha = l.floatAttr("alpha", 0.2), beta = l.floatAttr("beta", 0.5);
  return apply(l, [&](Scalar x) { return hardSigmoid(x, alpha, beta); });
}
LogicalResult hardSwish(Lowering &l) {
  return apply(l, [](Scalar x) { return x * hardSigmoid(x, 1.0 / 6, 0.5); });
}
LogicalResult swish(Lowering &l) {
  double alpha = l.floatAttr("alpha", 1);
  return apply(l, [&](Scalar x) { return x / ((x * -alpha).exp() + 1); });
}
LogicalResult softplusOp(Lowering &l) { return apply(l, softplus); }
LogicalResult mish(Lowering &l) {
  return apply(l, [](Scalar x) { return x * softplus(x).unary<math::TanhOp>(); });
}
LogicalResult softsign(Lowering &l) {
  return apply(l, [](Scalar x) { return x / (x.unary<math::AbsFOp>() + 1); });
}
template <class Op> LogicalResult simple(Lowering &l) {
  return apply(l, [](Scalar x) { return x.unary<Op>(); });
}

LogicalResult shrink(Lowering &l) {
  double lambda = l.floatAttr("lambd", 0.5), bias = l.floatAttr("bias", 0);
  return apply(l, [&](Scalar x) {
    Scalar below = (x.number(0) - x).above(lambda, x + bias, x.number(0));
    return x.above(lambda, x + -bias, below);
  });
}

LogicalResult absolute(Lowering &l) {
  LoweredValue &in = l.input(0);
  return finish(l, l.elementwise({&in}, in.elementType, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    if (isa<FloatType>(in.elementType))
      return b.createOrFold<math::AbsFOp>(loc, x[0]);
    return isUnsigned(in.elementType) ? x[0] : b.createOrFold<math::AbsIOp>(loc, x[0]);
  }));
}

LogicalResult sign(Lowering &l) {
  if (LoweredValue &in = l.input(0); !isa<FloatType>(in.elementType))
    return finish(l, l.elementwise({&in}, in.elementType, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
      Type type = in.elementType;
      Value zero = number(b, loc, type, 0);
      Value negative = b.createOrFold<arith::SelectOp>(loc, lessThan(b, loc, type, x[0], zero), number(b, loc, type, -1), zero);
      return b.createOrFold<arith::SelectOp>(loc, lessThan(b, loc, type, zero, x[0]), number(b, loc, type, 1), negative);
    }));
  return apply(l, [](Scalar x) {
    Scalar positive = x.above(0, x.number(1), x * 0.0); // a NaN stays one
    return (x.number(0) - x).above(0, x.number(-1), positive);
  });
}

LogicalResult prelu(Lowering &l) {
  LoweredValue &in = l.input(0), &slope = l.input(1);
  return finish(l, l.elementwise({&in, &slope}, in.elementType, [](OpBuilder &b, Location loc, ValueRange a) {
    Scalar x{b, loc, a[0]};
    return x.above(0, x, x * x.with(a[1])).value;
  }));
}

// Bounds are attributes in opset 6, optional inputs later.
LogicalResult clip(Lowering &l) {
  LoweredValue value = l.input(0);
  bool isFloat = isa<FloatType>(value.elementType);
  auto bound = [&](LoweredValue limit, bool lower) -> LogicalResult {
    auto result = l.elementwise({&value, &limit}, value.elementType, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
      return (lower ? larger : smaller)(b, loc, value.elementType, a[0], a[1]);
    });
    if (failed(result))
      return failure();
    value = *result;
    return success();
  };
  for (bool lower : {true, false}) {
    unsigned index = lower ? 1 : 2;
    StringRef name = lower ? "min" : "max";
    if (l.hasInput(index)) {
      if (failed(bound(l.input(index), lower)))
        return failure();
    } else if (isFloat && l.attr(name)) {
      if (failed(bound(l.splatValue(l.b.getFloatAttr(value.elementType, l.floatAttr(name, 0)), {}), lower)))
        return failure();
    }
  }
  l.define(0, value);
  return success();
}

// fmod: the sign of the dividend, as C has it; without, the sign of the divisor.
LogicalResult mod(Lowering &l) {
  LoweredValue &x = l.input(0), &y = l.input(1);
  bool truncated = l.intAttr("fmod", 0);
  auto folded = foldLists(l, {&x, &y}, x.elementType, [&](ArrayRef<AffineExpr> e) -> std::optional<AffineExpr> {
    auto low = l.dims.lowerBound(e[0]), lowRight = l.dims.lowerBound(e[1]);
    return low && lowRight && *low >= 0 && *lowRight > 0 ? std::optional(e[0] % e[1]) : std::nullopt;
  });
  if (folded)
    return finish(l, *folded);
  return finish(l, l.elementwise({&x, &y}, x.elementType, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    if (isa<FloatType>(x.elementType)) {
      Value rest = b.createOrFold<arith::RemFOp>(loc, a[0], a[1]);
      if (truncated)
        return rest;
      Value zero = arith::ConstantOp::create(b, loc, b.getFloatAttr(x.elementType, 0));
      auto compare = [&](arith::CmpFPredicate predicate, Value p) { return b.createOrFold<arith::CmpFOp>(loc, predicate, p, zero); };
      Value differs = b.createOrFold<arith::XOrIOp>(loc, compare(arith::CmpFPredicate::OLT, rest),
                                                    compare(arith::CmpFPredicate::OLT, a[1]));
      Value add = b.createOrFold<arith::AndIOp>(loc, differs, compare(arith::CmpFPredicate::ONE, rest));
      return b.createOrFold<arith::SelectOp>(loc, add, b.createOrFold<arith::AddFOp>(loc, rest, a[1]), rest);
    }
    Value rest = remainder(b, loc, x.elementType, a[0], a[1]);
    if (truncated || isUnsigned(x.elementType))
      return rest;
    // Differing signs: one divisor more.
    Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(x.elementType));
    Value differs = b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::slt,
                                                  b.createOrFold<arith::XOrIOp>(loc, rest, a[1]), zero);
    Value left = b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::ne, rest, zero);
    Value add = b.createOrFold<arith::AndIOp>(loc, differs, left);
    return b.createOrFold<arith::SelectOp>(loc, add, b.createOrFold<arith::AddIOp>(loc, rest, a[1]), rest);
  }));
}
} // namespace

void snug::addActivationOps(LoweringTable &t) {
  t.add("LeakyRelu", 1, leakyRelu);
  t.add("ThresholdedRelu", 10, thresholdedRelu);
  t.add("Elu", 1, elu);
  t.add("Celu", 12, celu);
  t.add("Selu", 1, selu);
  t.add("HardSigmoid", 1, hardSigmoidOp);
  t.add("HardSwish", 14, hardSwish);
  t.add("Swish", 24, swish);
  t.add("Softplus", 1, softplusOp);
  t.add("Mish", 18, mish);
  t.add("Softsign", 1, softsign);
  t.add("PRelu", 7, prelu);
  t.add("Clip", 6, clip);
  t.add("Mod", 10, mod);
  t.add("Abs", 6, absolute);
  t.add("Sign", 9, sign);
  t.add("Tan", 7, simple<math::TanOp>);
  t.add("Asin", 7, simple<math::AsinOp>);
  t.add("Acos", 7, simple<math::AcosOp>);
  t.add("Atan", 7, simple<math::AtanOp>);
  t.add("Sinh", 9, simple<math::SinhOp>);
  t.add("Cosh", 9, simple<math::CoshOp>);
  t.add("Asinh", 9, simple<math::AsinhOp>);
  t.add("Acosh", 9, simple<math::AcoshOp>);
  t.add("Atanh", 9, simple<math::AtanhOp>);
  t.add("Shrink", 9, shrink);
  t.add("Floor", 6, simple<math::FloorOp>);
  t.add("Ceil", 6, simple<math::CeilOp>);
  t.add("Round", 11, simple<math::RoundEvenOp>);
}
