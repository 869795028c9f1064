// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Quantized values: numbers as codes (integers, narrow floats) with a scale and a zero point for the whole tensor, for each
// index of an axis, or for each block along an axis. Products of codes are summed up in i32.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Convolution.h"

using namespace mlir;
using namespace snug;

namespace {
bool isSingle(Lowering &l, const LoweredValue &value) {
  return llvm::all_of(value.shape, [&](AffineExpr extent) { return extent == l.constant(1); });
}

// --- parameters ---------------------------------------------------------------------------------------------------

// Input `index`, a scale or a zero point, in a shape that broadcasts to x's.
FailureOr<LoweredValue> parameter(Lowering &l, unsigned index, const LoweredValue &x) {
  LoweredValue &value = l.input(index);
  if (isSingle(l, value))
    return l.reshape(value, {});
  auto axis = l.normalizeAxis(l.intAttr("axis", 1), x.rank());
  if (!axis)
    return failure();
  int64_t block = l.intAttr("block_size", 0);
  auto wrong = [&] {
    l.error() << "input " << index << " of shape " << l.print(value.shape) << " does not fit an input of shape "
              << l.print(x.shape) << " with axis " << *axis << " and block_size " << block;
    return failure();
  };
  if (!block) {
    if (value.rank() != 1 || !l.same(value.shape[0], x.shape[*axis]))
      return wrong();
    Extents shape(x.rank() - *axis, l.constant(1));
    shape[0] = value.shape[0];
    return l.reshape(value, shape);
  }
  if (block < 0 || value.rank() != x.rank())
    return wrong();
  SmallVector<AffineExpr> read;
  for (int64_t dim = 0; dim < x.rank(); ++dim) {
    AffineExpr wanted = dim == *axis ? x.shape[dim].ceilDiv(block) : x.shape[dim];
    if (!l.same(value.shape[dim], wanted))
      return wrong();
    AffineExpr place = getAffineDimExpr(dim, l.b.getContext());
    read.push_back(dim == *axis ? place.floorDiv(block) : place);
  }
  if (block == 1)
    return value;
  if (value.splat)
    return l.splatValue(value.splat, x.shape, value.elementType);
  Value repeated = l.generic({l.tensor(value)}, {AffineMap::get(x.rank(), 0, read, l.b.getContext())}, x.shape,
                             value.elementType, [](OpBuilder &, Location, ValueRange v) -> Value { return v[0]; });
  return l.tensorValue(repeated, x.shape, value.elementType);
}

// --- scalars ------------------------------------------------------------------------------------------------------

// A number, in units of the scale, as an element of type `to`. `zero`, of that type, may be null.
Value toCode(OpBuilder &b, Location loc, Value scaled, Type real, Value zero, Type to, CastMode mode = {}) {
  if (isa<FloatType>(to)) {
    Value wide = convert(b, loc, scaled, real, b.getF32Type());
    if (zero)
      wide = b.createOrFold<arith::AddFOp>(loc, wide, convert(b, loc, zero, to, b.getF32Type()));
    return convert(b, loc, wide, b.getF32Type(), to, mode);
  }
  Type i32 = b.getI32Type();
  Value rounded = b.createOrFold<math::RoundEvenOp>(loc, scaled);
  if (real.getIntOrFloatBitWidth() < 32) {
    rounded = convert(b, loc, rounded, real, b.getF32Type());
    real = b.getF32Type();
  }
  // Limited before it is an integer, which holds less.
  auto range = *rangeOf(to);
  Value offset = zero ? convert(b, loc, zero, to, i32) : Value();
  auto limit = [&](int64_t value) -> Value {
    if (!offset)
      return number(b, loc, real, static_cast<double>(value));
    Value last = b.createOrFold<arith::SubIOp>(loc, number(b, loc, i32, static_cast<double>(value)), offset);
    return convert(b, loc, last, i32, real);
  };
  rounded = b.createOrFold<arith::MaxNumFOp>(loc, rounded, limit(range.first));
  rounded = b.createOrFold<arith::MinNumFOp>(loc, rounded, limit(range.second));
  Value result = convert(b, loc, rounded, real, i32);
  if (offset)
    result = b.createOrFold<arith::AddIOp>(loc, result, offset);
  return convert(b, loc, result, i32, to);
}

// The value in i32, less its zero point if there is one.
FailureOr<LoweredValue> centered(Lowering &l, LoweredValue &x, LoweredValue *zero) {
  Type i32 = l.b.getI32Type();
  SmallVector<LoweredValue *> inputs = {&x};
  if (zero)
    inputs.push_back(zero);
  return l.elementwise(inputs, i32, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    Value wide = convert(b, loc, v[0], x.elementType, i32);
    if (!zero)
      return wide;
    return b.createOrFold<arith::SubIOp>(loc, wide, convert(b, loc, v[1], zero->elementType, i32));
  });
}

// --- QuantizeLinear, DequantizeLinear -----------------------------------------------------------------------------

// The type that attribute `name` asks for, or `otherwise`; null with an error where there is none.
Type typeAttr(Lowering &l, StringRef name, Type otherwise) {
  int64_t code = l.intAttr(name, 0);
  Type type = code ? l.dataType(code) : otherwise;
  if (!type)
    l.error() << name << " " << nameOf(code) << " is not supported";
  return type;
}

LogicalResult quantize(Lowering &l) {
  LoweredValue &x = l.input(0);
  bool hasZero = l.hasInput(2);
  Type to = hasZero ? l.input(2).elementType : typeAttr(l, "output_dtype", l.dataType(2));
  Type scaleType = l.input(1).elementType;
  Type real = to ? typeAttr(l, "precision", isCode(scaleType) ? l.b.getF32Type() : scaleType) : Type();
  if (!to || !real)
    return failure();
  if (!isa<FloatType>(real) || isCode(real)) {
    l.error() << "division in " << nameOf(real) << " is not supported, only in a float of 16 bits or more";
    return failure();
  }
  auto scale = parameter(l, 1, x);
  auto zero = succeeded(scale) && hasZero ? parameter(l, 2, x) : scale;
  if (failed(zero))
    return failure();
  CastMode mode;
  mode.saturate = l.intAttr("saturate", 1);
  SmallVector<LoweredValue *> inputs = {&x, &*scale};
  if (hasZero)
    inputs.push_back(&*zero);
  return finish(l, l.elementwise(inputs, to, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    Value number = convert(b, loc, v[0], x.elementType, real), unit = convert(b, loc, v[1], scale->elementType, real);
    Value scaled = b.createOrFold<arith::DivFOp>(loc, number, unit);
    return toCode(b, loc, scaled, real, hasZero ? v[2] : Value(), to, mode);
  }));
}

LogicalResult dequantize(Lowering &l) {
  LoweredValue &x = l.input(0);
  bool hasZero = l.hasInput(2);
  Type to = typeAttr(l, "output_dtype", l.input(1).elementType);
  auto scale = to ? parameter(l, 1, x) : FailureOr<LoweredValue>(failure());
  auto zero = succeeded(scale) && hasZero ? parameter(l, 2, x) : scale;
  if (failed(zero))
    return failure();
  Type real = isCode(to) ? l.b.getF32Type() : to, i32 = l.b.getI32Type(), f32 = l.b.getF32Type();
  SmallVector<LoweredValue *> inputs = {&x, &*scale};
  if (hasZero)
    inputs.push_back(&*zero);
  return finish(l, l.elementwise(inputs, to, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    // Differences of codes are exact in i32, and those of floats in f32.
    bool isReal = isa<FloatType>(x.elementType);
    Type wide = isReal ? f32 : i32;
    Value number = convert(b, loc, v[0], x.elementType, wide);
    if (hasZero) {
      Value offset = convert(b, loc, v[2], x.elementType, wide);
      number = isReal ? b.createOrFold<arith::SubFOp>(loc, number, offset) : b.createOrFold<arith::SubIOp>(loc, number, offset);
    }
    Value unit = convert(b, loc, v[1], scale->elementType, real);
    Value product = b.createOrFold<arith::MulFOp>(loc, convert(b, loc, number, wide, real), unit);
    return convert(b, loc, product, real, to);
  }));
}

// y, scale and zero point of the uint8s that cover all of x and 0.
LogicalResult quantizeDynamically(Lowering &l) {
  LoweredValue &x = l.input(0);
  Type f32 = l.b.getF32Type(), u8 = l.dataType(2);
  SmallVector<bool> all(x.rank(), true);
  LoweredValue least = l.reduce(Reduction::Min, x, all), most = l.reduce(Reduction::Max, x, all);
  auto withZero = [&](OpBuilder &b, Location loc, Value low, Value high) {
    Value zero = number(b, loc, f32, 0);
    return std::pair(smaller(b, loc, f32, low, zero), larger(b, loc, f32, high, zero));
  };
  auto scale = l.elementwise({&least, &most}, f32, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    auto [low, high] = withZero(b, loc, v[0], v[1]);
    Value span = b.createOrFold<arith::SubFOp>(loc, high, low), zero = number(b, loc, f32, 0);
    Value none = b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::OEQ, span, zero);
    span = b.createOrFold<arith::SelectOp>(loc, none, number(b, loc, f32, 1), span);
    return b.createOrFold<arith::DivFOp>(loc, span, number(b, loc, f32, 255));
  });
  if (failed(scale))
    return failure();
  auto zero = l.elementwise({&least, &most, &*scale}, u8, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    Value low = withZero(b, loc, v[0], v[1]).first;
    Value scaled = b.createOrFold<arith::DivFOp>(loc, b.createOrFold<arith::SubFOp>(loc, number(b, loc, f32, 0), low), v[2]);
    return toCode(b, loc, scaled, f32, Value(), u8);
  });
  if (failed(zero))
    return failure();
  auto y = l.elementwise({&x, &*scale, &*zero}, u8, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    return toCode(b, loc, b.createOrFold<arith::DivFOp>(loc, v[0], v[1]), f32, v[2], u8);
  });
  if (failed(finish(l, y)) || failed(finish(l, scale, 1)))
    return failure();
  return finish(l, zero, 2);
}

// --- products -----------------------------------------------------------------------------------------------------

// A parameter of a matrix product's operand as it broadcasts to it: one for all, or one for each row (of the left) or
// column (of the right).
FailureOr<LoweredValue> ofMatrix(Lowering &l, unsigned index, bool left) {
  LoweredValue &value = l.input(index);
  if (isSingle(l, value))
    return l.reshape(value, {});
  Extents shape = value.shape;
  if (left && value.rank() == 1)
    shape.push_back(l.constant(1));
  return l.reshape(value, shape);
}

// Product of inputs `a` and `b` less their zero points, which may be missing.
FailureOr<LoweredValue> integerProduct(Lowering &l, unsigned a, unsigned b, unsigned aZero, unsigned bZero) {
  auto operand = [&](unsigned index, unsigned zeroIndex, bool left) -> FailureOr<LoweredValue> {
    if (!l.hasInput(zeroIndex))
      return centered(l, l.input(index), nullptr);
    auto zero = ofMatrix(l, zeroIndex, left);
    return failed(zero) ? zero : centered(l, l.input(index), &*zero);
  };
  auto x = operand(a, aZero, true), y = operand(b, bZero, false);
  if (failed(x) || failed(y))
    return failure();
  return l.matmul(*x, *y);
}

LogicalResult matMulInteger(Lowering &l) { return finish(l, integerProduct(l, 0, 1, 2, 3)); }

// The sums in i32 as codes of y: times left * right / scale of y, plus y's zero point.
FailureOr<LoweredValue> requantize(Lowering &l, LoweredValue &sum, LoweredValue &left, LoweredValue &right,
                                   LoweredValue &scale, LoweredValue &zero) {
  Type f32 = l.b.getF32Type(), i32 = l.b.getI32Type(), to = zero.elementType;
  return l.elementwise({&sum, &left, &right, &scale, &zero}, to, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    Value product = b.createOrFold<arith::MulFOp>(loc, convert(b, loc, v[1], left.elementType, f32),
                                                  convert(b, loc, v[2], right.elementType, f32));
    Value factor = b.createOrFold<arith::DivFOp>(loc, product, convert(b, loc, v[3], scale.elementType, f32));
    Value scaled = b.createOrFold<arith::MulFOp>(loc, convert(b, loc, v[0], i32, f32), factor);
    return toCode(b, loc, scaled, f32, v[4], to);
  });
}

LogicalResult qLinearMatMul(Lowering &l) {
  auto sum = integerProduct(l, 0, 3, 2, 5);
  auto left = ofMatrix(l, 1, true), right = ofMatrix(l, 4, false), scale = ofMatrix(l, 6, true), zero = ofMatrix(l, 7, true);
  if (failed(sum) || failed(left) || failed(right) || failed(scale) || failed(zero))
    return failure();
  return finish(l, requantize(l, *sum, *left, *right, *scale, *zero));
}

// A parameter of a convolution's weight: one for all, or one for each output channel, which has `behind` dims behind it.
FailureOr<LoweredValue> ofChannels(Lowering &l, unsigned index, int64_t behind) {
  LoweredValue &value = l.input(index);
  if (isSingle(l, value))
    return l.reshape(value, {});
  if (value.rank() != 1) {
    l.error() << "input " << index << " of shape " << l.print(value.shape) << " is neither one number nor one for each channel";
    return failure();
  }
  Extents shape(behind + 1, l.constant(1));
  shape[0] = value.shape[0];
  return l.reshape(value, shape);
}

FailureOr<LoweredValue> integerConvolution(Lowering &l, unsigned w, unsigned xZero, unsigned wZero, const LoweredValue *bias) {
  auto operand = [&](unsigned index, unsigned zeroIndex) -> FailureOr<LoweredValue> {
    if (!l.hasInput(zeroIndex))
      return centered(l, l.input(index), nullptr);
    auto zero = ofChannels(l, zeroIndex, l.input(index).rank() - 1);
    return failed(zero) ? zero : centered(l, l.input(index), &*zero);
  };
  auto x = operand(0, xZero), weight = operand(w, wZero);
  if (failed(x) || failed(weight))
    return failure();
  return convolve(l, *x, *weight, bias);
}

LogicalResult convInteger(Lowering &l) { return finish(l, integerConvolution(l, 1, 2, 3, nullptr)); }

LogicalResult qLinearConv(Lowering &l) {
  auto sum = integerConvolution(l, 3, 2, 5, l.hasInput(8) ? &l.input(8) : nullptr);
  if (failed(sum))
    return failure();
  auto xScale = ofChannels(l, 1, 0), wScale = ofChannels(l, 4, sum->rank() - 2), scale = ofChannels(l, 6, 0),
       zero = ofChannels(l, 7, 0);
  if (failed(xScale) || failed(wScale) || failed(scale) || failed(zero))
    return failure();
  return finish(l, requantize(l, *sum, *xScale, *wScale, *scale, *zero));
}
} // namespace

void snug::addQuantizationOps(LoweringTable &t) {
  constexpr TypeSet bytes = types::of(2, 3), withScales = bytes | types::of(1, 6, 10, 16);
  t.add("QuantizeLinear", 10, quantize, types::All);
  t.add("DequantizeLinear", 10, dequantize, types::All);
  t.add("DynamicQuantizeLinear", 11, quantizeDynamically);
  t.add("MatMulInteger", 10, matMulInteger, bytes);
  t.add("QLinearMatMul", 10, qLinearMatMul, withScales);
  t.add("ConvInteger", 10, convInteger, bytes);
  t.add("QLinearConv", 10, qLinearConv, withScales);
}
