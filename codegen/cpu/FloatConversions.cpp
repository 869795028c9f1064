// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Conversions between float types that the CPU has no (right) instructions for, where LLVM would call a function of a
// compiler's runtime library for each element. Written with integers and selects they are vectorised. All round to nearest, ties to
// even, once; denormals, infinities and NaN come out right.
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/Kernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using arith::CmpFPredicate;
using arith::CmpIPredicate;

namespace {
// Bits of scalars or vectors alike.
struct Bits {
  ImplicitLocOpBuilder b;
  Type like; // a scalar or vector type of the right shape
  Bits(PatternRewriter &rewriter, Operation *op) : b(op->getLoc(), rewriter), like(op->getResult(0).getType()) {}

  Type of(Type element) {
    auto vector = dyn_cast<VectorType>(like);
    return vector ? Type(vector.clone(element)) : element;
  }
  Value splat(TypedAttr value) {
    if (auto vector = dyn_cast<VectorType>(of(value.getType())))
      value = DenseElementsAttr::get(vector, ArrayRef<Attribute>(value));
    return arith::ConstantOp::create(b, value);
  }
  Value c(uint32_t value) { return splat(b.getI32IntegerAttr(static_cast<int32_t>(value))); }
  Value cast(Value value, Type element) { return arith::BitcastOp::create(b, of(element), value); }
  Value bits(Value f32) { return cast(f32, b.getI32Type()); }
  Value real(Value bits) { return cast(bits, b.getF32Type()); }
  Value add(Value x, Value y) { return arith::AddIOp::create(b, x, y); }
  Value sub(Value x, Value y) { return arith::SubIOp::create(b, x, y); }
  Value both(Value x, Value y) { return arith::AndIOp::create(b, x, y); }
  Value either(Value x, Value y) { return arith::OrIOp::create(b, x, y); }
  Value left(Value x, uint32_t by) { return arith::ShLIOp::create(b, x, c(by)); }
  Value right(Value x, uint32_t by) { return arith::ShRUIOp::create(b, x, c(by)); }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, condition, x, y); }
  Value atLeast(Value x, uint32_t bound) { return arith::CmpIOp::create(b, CmpIPredicate::uge, x, c(bound)); }
};

struct ExtendHalf : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::ExtFOp op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getIn()).isF16() || !getElementTypeOrSelf(op.getType()).isF32())
      return failure();
    Bits x(rewriter, op);
    Value half = arith::ExtUIOp::create(x.b, x.of(x.b.getI32Type()), x.cast(op.getIn(), x.b.getI16Type()));
    Value magnitude = x.both(half, x.c(0x7fff)), moved = x.left(magnitude, 13);
    // As an f32 it has the exponent of f16: a product with 2^112 sets that right, of denormals too.
    Value scale = x.splat(x.b.getF32FloatAttr(5.192296858534828e33f));
    Value finite = x.bits(arith::MulFOp::create(x.b, x.real(moved), scale));
    Value result = x.select(x.atLeast(magnitude, 0x7c00), x.either(moved, x.c(0x7f800000)), finite);
    rewriter.replaceOp(op, x.real(x.either(result, x.left(x.both(half, x.c(0x8000)), 16))));
    return success();
  }
};

struct TruncateToHalf : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::TruncFOp op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getIn()).isF32() || !getElementTypeOrSelf(op.getType()).isF16())
      return failure();
    Bits x(rewriter, op);
    Value whole = x.bits(op.getIn()), magnitude = x.both(whole, x.c(0x7fffffff));
    // Half of the last bit that stays, less one, and that bit: a carry rounds up, ties to even.
    Value odd = x.both(x.right(magnitude, 13), x.c(1));
    Value normal = x.right(x.add(x.add(magnitude, x.c(0xc8000fff)), odd), 13);
    // Added to 0.5, whose last bit is the step of f16's denormals.
    Value half = x.splat(x.b.getF32FloatAttr(0.5f));
    Value denormal = x.sub(x.bits(arith::AddFOp::create(x.b, x.real(magnitude), half)), x.bits(half));
    Value result = x.select(x.atLeast(magnitude, 0x38800000), normal, denormal);
    result = x.select(x.atLeast(magnitude, 0x477ff000), x.c(0x7c00), result);
    result = x.select(x.atLeast(magnitude, 0x7f800001), x.c(0x7e00), result);
    result = x.either(result, x.right(x.both(whole, x.c(0x80000000)), 16));
    Value bits = arith::TruncIOp::create(x.b, x.of(x.b.getI16Type()), result);
    rewriter.replaceOp(op, x.cast(bits, x.b.getF16Type()));
    return success();
  }
};

// From f64 in two steps, the first of which rounds to odd, so that the second sees whether anything was cut off.
struct TruncateDouble : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::TruncFOp op, PatternRewriter &rewriter) const override {
    auto to = dyn_cast<FloatType>(getElementTypeOrSelf(op.getType()));
    if (!getElementTypeOrSelf(op.getIn()).isF64() || !to || to.getWidth() > 16)
      return failure();
    Bits x(rewriter, op);
    auto &b = x.b;
    Value nearest = arith::TruncFOp::create(b, x.of(b.getF32Type()), op.getIn());
    Value back = arith::ExtFOp::create(b, op.getIn().getType(), nearest);
    Value zero = arith::ConstantOp::create(b, b.getZeroAttr(op.getIn().getType()));
    auto compare = [&](CmpFPredicate predicate, Value l, Value r) {
      return arith::CmpFOp::create(b, predicate, l, r).getResult();
    };
    Value above = x.select(compare(CmpFPredicate::OGT, op.getIn(), zero), compare(CmpFPredicate::OGT, back, op.getIn()),
                           compare(CmpFPredicate::OLT, back, op.getIn()));
    Value bits = x.bits(nearest);
    Value toZero = x.select(above, x.sub(bits, x.c(1)), bits);
    Value odd = x.select(compare(CmpFPredicate::ONE, back, op.getIn()), x.either(toZero, x.c(1)), bits);
    rewriter.replaceOpWithNewOp<arith::TruncFOp>(op, op.getType(), x.real(odd));
    return success();
  }
};
} // namespace

void snug::codegen::populateFloatConversionPatterns(RewritePatternSet &patterns, const CpuTarget &target) {
  patterns.add<TruncateDouble>(patterns.getContext());
  if (!target.convertsF16)
    patterns.add<ExtendHalf, TruncateToHalf>(patterns.getContext());
  // On all CPUs: x86's instruction for bf16 takes denormals for 0, and a few shifts and sums are as fast as memory.
  arith::populateExpandBFloat16Patterns(patterns);
}
