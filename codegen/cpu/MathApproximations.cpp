// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elementary functions on f32, scalars and vectors: range reduction and minimax polynomials of our own, because vector
// math libraries are slower, a run-time dependency, or wrong at the edges. Largest errors over the whole range, against
// double: exp 1 ulp (denormal results included), expm1 1.5, tanh 1.4, erf 1.1, log 1. NaN and infinities come out
// right.
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/Kernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include <cmath>

using namespace mlir;
using arith::CmpFPredicate;

namespace {
// An expression builder over one type, f32 or a vector of it.
struct Expression {
  ImplicitLocOpBuilder b;
  Type type;
  bool hasLdexp;
  Expression(PatternRewriter &rewriter, Operation *op, bool hasLdexp = true)
      : b(op->getLoc(), rewriter), type(op->getResult(0).getType()), hasLdexp(hasLdexp) {}

  Type integer() {
    Type i32 = b.getI32Type();
    auto vector = dyn_cast<VectorType>(type);
    return vector ? Type(vector.clone(i32)) : i32;
  }
  Value splat(TypedAttr value, Type as) {
    if (auto vector = dyn_cast<VectorType>(as))
      value = DenseElementsAttr::get(vector, ArrayRef<Attribute>(value));
    return arith::ConstantOp::create(b, value);
  }
  Value c(float value) { return splat(b.getF32FloatAttr(value), type); }
  Value ci(uint32_t value) { return splat(b.getI32IntegerAttr(static_cast<int32_t>(value)), integer()); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, x, y); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, x, y, z); }
  Value abs(Value x) { return math::AbsFOp::create(b, x); }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, condition, x, y); }
  Value compare(CmpFPredicate predicate, Value x, Value y) { return arith::CmpFOp::create(b, predicate, x, y); }
  // Clamps as compare and select: one instruction each, and NaN passes through.
  Value atLeast(Value x, float k) { return select(compare(CmpFPredicate::OLT, x, c(k)), c(k), x); }
  Value atMost(Value x, float k) { return select(compare(CmpFPredicate::OGT, x, c(k)), c(k), x); }
  Value polynomial(Value x, ArrayRef<float> coefficients) {
    Value result = c(coefficients[0]);
    for (float k : coefficients.drop_front())
      result = fma(result, x, c(k));
    return result;
  }

  // p * 2^n. Where llvm.ldexp would be a library call, by two factors made of bits, so that each is a normal number.
  Value scale(Value p, Value n) {
    if (hasLdexp)
      return LLVM::LoadExpOp::create(b, type, p, n);
    Value half = arith::ShRSIOp::create(b, n, ci(1));
    for (Value part : {half, Value(arith::SubIOp::create(b, n, half))}) {
      Value bits = arith::ShLIOp::create(b, arith::AddIOp::create(b, part, ci(127)), ci(23));
      p = mul(p, arith::BitcastOp::create(b, type, bits));
    }
    return p;
  }

  // x = n ln 2 + r, |r| <= ln 2 / 2: n = round(x / ln 2) by adding and subtracting 1.5 * 2^23, r in two steps. What is
  // beyond the x whose e^x is inf or 0 already is cut off. `q` is (e^r - 1 - r) / r^2, of degree 4.
  struct ExpParts {
    Value n, r, q;
  };
  ExpParts expParts(Value x) {
    x = atLeast(atMost(x, 88.8f), -104.0f);
    Value magic = c(12582912.0f);
    Value n = sub(fma(x, c(1.44269504088896341f), magic), magic);
    Value r = fma(n, c(-0.693145752f), x);
    r = fma(n, c(-1.42860677e-6f), r);
    Value q = polynomial(r, {1.38198026e-3f, 8.36868584e-3f, 4.16682772e-2f, 1.66665211e-1f, 4.99999940e-1f});
    // Of a NaN the conversion would be poison; 0 keeps r, which is NaN.
    Value finite = select(compare(CmpFPredicate::ORD, n, n), n, c(0));
    return {arith::FPToSIOp::create(b, integer(), finite), r, q};
  }
  // llvm.ldexp is one vscalefps with AVX-512 and right for denormal, 0 and inf results.
  Value exp(Value x) {
    auto [n, r, q] = expParts(x);
    return scale(fma(fma(q, r, c(1)), r, c(1)), n);
  }
  // 2^n (e^r - 1) + (2^n - 1), which cancels nothing; e^x where 1 is less than its last digit and 2^n may be inf.
  Value expm1(Value x) {
    auto [n, r, q] = expParts(x);
    Value small = fma(mul(q, r), r, r);
    Value result = add(scale(small, n), sub(scale(c(1), n), c(1)));
    result = select(compare(CmpFPredicate::OGT, x, c(40)), scale(add(small, c(1)), n), result);
    return select(compare(CmpFPredicate::OEQ, x, c(0)), x, result);
  }
  // |x| < 0.625: odd polynomial; else 1 - 2 / (e^2|x| + 1).
  Value tanh(Value x) {
    Value a = abs(x), s = mul(x, x);
    Value q = polynomial(s, {-5.69854351e-3f, 2.06328053e-2f, -5.37375845e-2f, 1.33314133e-1f, -3.33332807e-1f});
    Value small = fma(mul(q, s), x, x);
    Value large = sub(c(1), div(c(2), add(exp(mul(a, c(2))), c(1))));
    large = math::CopySignOp::create(b, large, x);
    return select(compare(CmpFPredicate::OLT, a, c(0.625f)), small, large);
  }
  // |x| <= 0.921875: x P(x^2); else 1 - e^Q(|x|).
  Value erf(Value x) {
    Value s = mul(x, x), t = atMost(abs(x), 4.0f);
    Value q = polynomial(t, {-1.04291203e-5f, 3.14828154e-4f, -3.61025473e-3f, 2.36944426e-2f, -1.06158964e-1f,
                             -6.35198057e-1f, -1.28637075e-1f});
    Value large = sub(c(1), exp(fma(q, t, sub(c(0), t))));
    large = math::CopySignOp::create(b, large, x);
    Value p = polynomial(
        s, {-5.98180748e-4f, 4.99164127e-3f, -2.67658047e-2f, 1.12818047e-1f, -3.76124948e-1f, 1.28379151e-1f});
    return select(compare(CmpFPredicate::OGT, t, c(0.921875f)), large, fma(p, x, x));
  }
  // x = m 2^k with m in [2/3, 4/3); log(1 + f) by degree 10. Denormals are scaled up first.
  Value log(Value x) {
    Value denormal = compare(CmpFPredicate::OLT, x, c(1.17549435e-38f));
    Value scaled = select(denormal, mul(x, c(8388608.0f)), x);
    Value k = select(denormal, c(-23.0f), c(0.0f));
    Value bits = arith::BitcastOp::create(b, integer(), scaled);
    Value exponent = arith::AndIOp::create(b, arith::SubIOp::create(b, bits, ci(0x3f2aaaab)), ci(0xff800000));
    Value m = arith::BitcastOp::create(b, type, arith::SubIOp::create(b, bits, exponent));
    k = fma(arith::SIToFPOp::create(b, type, exponent), c(1.1920928955078125e-7f), k);
    Value f = sub(m, c(1)), s = mul(f, f);
    Value q = polynomial(f, {-0.128890693f, 0.139868975f, -0.121848933f, 0.140053064f, -0.166804388f, 0.20010446f,
                             -0.249997988f, 0.333332151f, -0.5f});
    Value result = fma(k, c(0.693147182f), fma(q, s, f));
    result = select(compare(CmpFPredicate::OEQ, x, c(INFINITY)), x, result);
    result = select(compare(CmpFPredicate::UNE, x, x), x, result);
    result = select(compare(CmpFPredicate::OEQ, x, c(0)), c(-INFINITY), result);
    return select(compare(CmpFPredicate::OLT, x, c(0)), c(NAN), result);
  }
  // log(u) for u = 1 + x as it was rounded, times x / (u - 1): what rounding took from x is given back, and u - 1 is
  // exact where that matters. Upstream's log(1 + x) has no digit right where x is small.
  Value log1p(Value x) {
    Value u = add(c(1), x);
    Value result = mul(log(u), div(x, sub(u, c(1))));
    result = select(compare(CmpFPredicate::OEQ, u, c(INFINITY)), u, result);
    return select(compare(CmpFPredicate::OEQ, u, c(1)), x, result);
  }
};

template <class OpT, Value (Expression::*function)(Value)> struct Approximate : OpRewritePattern<OpT> {
  bool hasLdexp;
  Approximate(MLIRContext *context, bool hasLdexp) : OpRewritePattern<OpT>(context), hasLdexp(hasLdexp) {}
  LogicalResult matchAndRewrite(OpT op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getType()).isF32())
      return failure();
    Expression e(rewriter, op, hasLdexp);
    rewriter.replaceOp(op, (e.*function)(op.getOperand()));
    return success();
  }
};

// IEEE square root and division are one instruction each; an approximation would not be correct to the ulp.
struct ExpandRsqrt : OpRewritePattern<math::RsqrtOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::RsqrtOp op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getType()).isF32())
      return failure();
    Expression e(rewriter, op);
    rewriter.replaceOp(op, e.div(e.c(1), math::SqrtOp::create(e.b, op.getOperand())));
    return success();
  }
};

// x^p for the exponents that models have; any other power is libm's.
struct ExpandConstantPow : OpRewritePattern<math::PowFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::PowFOp op, PatternRewriter &rewriter) const override {
    FloatAttr exponent;
    Attribute attr;
    if (!getElementTypeOrSelf(op.getType()).isF32() || !matchPattern(op.getRhs(), m_Constant(&attr)))
      return failure();
    if (auto splat = dyn_cast<SplatElementsAttr>(attr))
      attr = splat.getSplatValue<Attribute>();
    exponent = dyn_cast<FloatAttr>(attr);
    if (!exponent)
      return failure();
    double p = exponent.getValueAsDouble();
    Expression e(rewriter, op);
    Value x = op.getLhs(), result;
    if (p == 1.0)
      result = x;
    else if (p == 2.0)
      result = e.mul(x, x);
    else if (p == 3.0)
      result = e.mul(e.mul(x, x), x);
    else if (p == -1.0)
      result = e.div(e.c(1), x);
    else if (p == 0.5) // pow(-inf, 0.5) is inf, pow(-0, 0.5) is 0
      result = e.select(e.compare(CmpFPredicate::OEQ, x, e.c(-INFINITY)), e.c(INFINITY),
                        math::SqrtOp::create(e.b, e.add(x, e.c(0))));
    else
      return failure();
    rewriter.replaceOp(op, result);
    return success();
  }
};
} // namespace

void snug::codegen::populateMathApproximationPatterns(RewritePatternSet &patterns, const CpuTarget &target) {
  patterns.add<Approximate<math::ExpOp, &Expression::exp>, Approximate<math::TanhOp, &Expression::tanh>,
               Approximate<math::ErfOp, &Expression::erf>, Approximate<math::LogOp, &Expression::log>,
               Approximate<math::Log1pOp, &Expression::log1p>, Approximate<math::ExpM1Op, &Expression::expm1>>(
      patterns.getContext(), /*hasLdexp=*/target.vectorBits >= 512);
  patterns.add<ExpandRsqrt, ExpandConstantPow>(patterns.getContext());
}
