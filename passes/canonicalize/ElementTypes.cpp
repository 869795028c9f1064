// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/ElementTypes.h"
#include "dialects/onnx/OnnxDialect.h"
#include "passes/canonicalize/StringType.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/STLExtras.h"
#include <cmath>

using namespace mlir;
using namespace snug;

// --- which there are ----------------------------------------------------------------------------------------------

static constexpr llvm::StringLiteral kNames[] = {
    "",           "float32",      "uint8",          "int8",       "uint16",         "int16",        "int32",
    "int64",      "string",       "bool",           "float16",    "float64",        "uint32",       "uint64",
    "complex64",  "complex128",   "bfloat16",       "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz",
    "uint4",      "int4",         "float4e2m1",     "float8e8m0", "uint2",          "int2",         "float6e2m3",
    "float6e3m2"};
static constexpr int64_t kNumTypes = std::size(kNames);

Type snug::elementTypeOf(MLIRContext *context, int64_t code) {
  auto integer = [&](unsigned width, bool isUnsigned) -> Type {
    return IntegerType::get(context, width, isUnsigned ? IntegerType::Unsigned : IntegerType::Signless);
  };
  switch (code) {
  case 1: return Float32Type::get(context);
  case 2: return integer(8, true);
  case 3: return integer(8, false);
  case 4: return integer(16, true);
  case 5: return integer(16, false);
  case 6: return integer(32, false);
  case 7: return integer(64, false);
  case 8: return onnx::StringType::get(context);
  case 9: return integer(1, false);
  case 10: return Float16Type::get(context);
  case 11: return Float64Type::get(context);
  case 12: return integer(32, true);
  case 13: return integer(64, true);
  case 16: return BFloat16Type::get(context);
  case 17: return Float8E4M3FNType::get(context);
  case 18: return Float8E4M3FNUZType::get(context);
  case 19: return Float8E5M2Type::get(context);
  case 20: return Float8E5M2FNUZType::get(context);
  case 21: return integer(4, true);
  case 22: return integer(4, false);
  case 23: return Float4E2M1FNType::get(context);
  case 24: return Float8E8M0FNUType::get(context);
  case 25: return integer(2, true);
  case 26: return integer(2, false);
  case 27: return Float6E2M3FNType::get(context);
  case 28: return Float6E3M2FNType::get(context);
  default: return Type();
  }
}

int64_t snug::codeOf(Type elementType) {
  if (!elementType)
    return 0;
  for (int64_t code = 1; code < kNumTypes; ++code)
    if (elementTypeOf(elementType.getContext(), code) == elementType)
      return code;
  return 0;
}

StringRef snug::nameOf(int64_t code) { return code > 0 && code < kNumTypes ? StringRef(kNames[code]) : "of no known kind"; }
std::string snug::nameOf(Type elementType) { return nameOf(codeOf(elementType)).str(); }

std::string snug::namesOf(TypeSet set) {
  SmallVector<StringRef> names;
  for (int64_t code = 1; code < kNumTypes; ++code)
    if (set >> code & 1)
      names.push_back(kNames[code]);
  std::string text;
  for (auto [index, name] : llvm::enumerate(names))
    text += (index == 0 ? "" : index + 1 == names.size() ? " and " : ", ") + name.str();
  return text;
}

// --- how they are stored ------------------------------------------------------------------------------------------

bool snug::isString(Type type) { return isa<onnx::StringType>(type); }

bool snug::isCode(Type type) {
  return type.isIntOrFloat() && !type.isInteger(1) && type.getIntOrFloatBitWidth() < (isa<FloatType>(type) ? 16 : 8);
}

Type snug::storedAs(Type type) {
  if (isCode(type))
    return IntegerType::get(type.getContext(), 8);
  if (isString(type))
    return IntegerType::get(type.getContext(), 128);
  if (auto integer = dyn_cast<IntegerType>(type); integer && !integer.isSignless())
    return IntegerType::get(type.getContext(), integer.getWidth());
  return type;
}

bool snug::isUnsigned(Type type) { return type.isUnsignedInteger() || type.isInteger(1); }

bool snug::isShapeInteger(Type type) { return type.isSignlessInteger(32) || type.isSignlessInteger(64); }

std::optional<std::pair<int64_t, int64_t>> snug::rangeOf(Type type) {
  if (!isa<IntegerType>(type))
    return std::nullopt;
  unsigned width = type.getIntOrFloatBitWidth();
  if (isUnsigned(type))
    return width < 64 ? std::optional(std::pair<int64_t, int64_t>(0, (int64_t(1) << width) - 1)) : std::nullopt;
  return std::pair(APInt::getSignedMinValue(width).getSExtValue(), APInt::getSignedMaxValue(width).getSExtValue());
}

TypedAttr snug::numberAttr(Type type, double number) {
  Builder b(type.getContext());
  if (auto real = dyn_cast<FloatType>(type)) {
    if (!isCode(type))
      return b.getFloatAttr(type, number);
    APFloat value(number);
    bool lost;
    value.convert(real.getFloatSemantics(), APFloat::rmNearestTiesToEven, &lost);
    return storedAttr(FloatAttr::get(type, value));
  }
  if (isString(type)) // zero is the empty one
    return b.getIntegerAttr(storedAs(type), APInt(128, 0));
  auto integer = cast<IntegerType>(type);
  return storedAttr(IntegerAttr::get(type, APInt(64, static_cast<int64_t>(number), true).trunc(integer.getWidth())));
}

TypedAttr snug::storedAttr(TypedAttr constant) {
  Type stored = storedAs(constant.getType());
  if (stored == constant.getType())
    return constant;
  if (auto real = dyn_cast<FloatAttr>(constant))
    return IntegerAttr::get(stored, real.getValue().bitcastToAPInt().zextOrTrunc(8));
  return IntegerAttr::get(stored, cast<IntegerAttr>(constant).getValue().zextOrTrunc(stored.getIntOrFloatBitWidth()));
}

DenseElementsAttr snug::storedAttr(DenseElementsAttr constant) {
  Type type = constant.getElementType(), stored = storedAs(type);
  if (stored == type)
    return constant;
  if (type.getIntOrFloatBitWidth() == stored.getIntOrFloatBitWidth())
    return constant.bitcast(stored);
  SmallVector<APInt> codes;
  if (isa<FloatType>(type))
    for (const APFloat &value : constant.getValues<APFloat>())
      codes.push_back(value.bitcastToAPInt().zext(8));
  else
    for (const APInt &value : constant.getValues<APInt>())
      codes.push_back(value.zext(8));
  return DenseElementsAttr::get(cast<ShapedType>(constant.getType()).clone(stored), codes);
}

TypedAttr snug::extremeAttr(Type type, bool least) {
  if (auto real = dyn_cast<FloatType>(type))
    return FloatAttr::get(type, APFloat::getInf(real.getFloatSemantics(), least));
  unsigned width = type.getIntOrFloatBitWidth();
  APInt value = isUnsigned(type) ? (least ? APInt::getMinValue(width) : APInt::getMaxValue(width))
                                 : (least ? APInt::getSignedMinValue(width) : APInt::getSignedMaxValue(width));
  return IntegerAttr::get(storedAs(type), value);
}

// --- arithmetic ---------------------------------------------------------------------------------------------------

Value snug::number(OpBuilder &b, Location loc, Type type, double number) {
  return arith::ConstantOp::create(b, loc, numberAttr(type, number));
}

Value snug::lessThan(OpBuilder &b, Location loc, Type type, Value x, Value y) {
  if (isa<FloatType>(type))
    return b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::OLT, x, y);
  return b.createOrFold<arith::CmpIOp>(loc, isUnsigned(type) ? arith::CmpIPredicate::ult : arith::CmpIPredicate::slt, x, y);
}

// One of three ops: of floats, of unsigned and of signed integers.
template <class Float, class Unsigned, class Signed>
static Value choose(OpBuilder &b, Location loc, Type type, Value x, Value y) {
  if (isa<FloatType>(type))
    return b.createOrFold<Float>(loc, x, y);
  return isUnsigned(type) ? b.createOrFold<Unsigned>(loc, x, y) : b.createOrFold<Signed>(loc, x, y);
}

Value snug::larger(OpBuilder &b, Location loc, Type type, Value x, Value y) {
  return choose<arith::MaximumFOp, arith::MaxUIOp, arith::MaxSIOp>(b, loc, type, x, y);
}
Value snug::smaller(OpBuilder &b, Location loc, Type type, Value x, Value y) {
  return choose<arith::MinimumFOp, arith::MinUIOp, arith::MinSIOp>(b, loc, type, x, y);
}
Value snug::quotient(OpBuilder &b, Location loc, Type type, Value x, Value y) {
  return choose<arith::DivFOp, arith::DivUIOp, arith::DivSIOp>(b, loc, type, x, y);
}
Value snug::remainder(OpBuilder &b, Location loc, Type type, Value x, Value y) {
  return choose<arith::RemFOp, arith::RemUIOp, arith::RemSIOp>(b, loc, type, x, y);
}

// --- conversions --------------------------------------------------------------------------------------------------

namespace {
// A float of 8 bits or less. `largest` and `infinity` are without the sign.
struct Format {
  unsigned mantissa, bits;
  int bias;
  uint32_t largest;
  uint32_t infinity = 0; // 0: has none
  uint32_t nan = 0;      // 0: has none, and what would be one is -0
  bool unsignedZero = false; // the code of -0 is NaN
  uint32_t sign() const { return 1u << (bits - 1); }
};

Format formatOf(Type type) {
  if (isa<Float8E4M3FNType>(type))
    return {3, 8, 7, 0x7e, 0, 0x7f};
  if (isa<Float8E4M3FNUZType>(type))
    return {3, 8, 8, 0x7f, 0, 0x80, true};
  if (isa<Float8E5M2Type>(type))
    return {2, 8, 15, 0x7b, 0x7c, 0x7e};
  if (isa<Float8E5M2FNUZType>(type))
    return {2, 8, 16, 0x7f, 0, 0x80, true};
  if (isa<Float6E2M3FNType>(type))
    return {3, 6, 1, 0x1f};
  if (isa<Float6E3M2FNType>(type))
    return {2, 6, 3, 0x1f};
  return {1, 4, 1, 0x7}; // Float4E2M1FN
}

// Bits of an f32 as an i32.
struct Bits {
  OpBuilder &b;
  Location loc;
  Type i32 = b.getI32Type();

  Value c(uint32_t value) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(static_cast<int32_t>(value))); }
  Value of(Value real) { return b.createOrFold<arith::BitcastOp>(loc, i32, real); }
  Value real(Value bits) { return b.createOrFold<arith::BitcastOp>(loc, b.getF32Type(), bits); }
  Value add(Value x, Value y) { return b.createOrFold<arith::AddIOp>(loc, x, y); }
  Value both(Value x, uint32_t mask) { return b.createOrFold<arith::AndIOp>(loc, x, c(mask)); }
  Value either(Value x, Value y) { return b.createOrFold<arith::OrIOp>(loc, x, y); }
  Value left(Value x, unsigned by) { return b.createOrFold<arith::ShLIOp>(loc, x, c(by)); }
  Value right(Value x, unsigned by) { return b.createOrFold<arith::ShRUIOp>(loc, x, c(by)); }
  Value is(arith::CmpIPredicate predicate, Value x, uint32_t y) {
    return b.createOrFold<arith::CmpIOp>(loc, predicate, x, c(y));
  }
  Value above(Value x, uint32_t y) { return is(arith::CmpIPredicate::ugt, x, y); }
  Value equals(Value x, uint32_t y) { return is(arith::CmpIPredicate::eq, x, y); }
  Value select(Value condition, Value x, Value y) { return b.createOrFold<arith::SelectOp>(loc, condition, x, y); }
  Value byte(Value x) { return b.createOrFold<arith::TruncIOp>(loc, b.getI8Type(), x); }
};
constexpr uint32_t kInfinity = 0x7f800000, kNan = 0x7fc00000;

Value decode(OpBuilder &b, Location loc, Value stored, Type type) {
  Bits x{b, loc};
  Value code = b.createOrFold<arith::ExtUIOp>(loc, x.i32, stored);
  if (isa<Float8E8M0FNUType>(type)) {
    Value bits = x.select(x.equals(code, 0), x.c(0x00400000), x.left(code, 23));
    return x.real(x.select(x.equals(code, 255), x.c(kNan), bits));
  }
  Format format = formatOf(type);
  Value magnitude = x.both(code, format.sign() - 1), moved = x.left(magnitude, 23 - format.mantissa);
  // As an f32 it has the exponent of the narrow type: a product sets that right, of denormals too.
  Value scale = arith::ConstantOp::create(b, loc, b.getF32FloatAttr(std::ldexp(1.0f, 127 - format.bias)));
  Value bits = x.of(b.createOrFold<arith::MulFOp>(loc, x.real(moved), scale));
  if (format.infinity)
    bits = x.select(x.equals(magnitude, format.infinity), x.c(kInfinity), bits);
  if (format.nan && !format.unsignedZero)
    bits = x.select(x.above(magnitude, format.infinity ? format.infinity : format.largest), x.c(kNan), bits);
  bits = x.either(bits, x.left(x.both(code, format.sign()), 32 - format.bits));
  if (format.unsignedZero)
    bits = x.select(x.equals(code, format.nan), x.c(kNan), bits);
  return x.real(bits);
}

// Powers of two: the exponent, rounded by what the mantissa is.
Value encodeScale(OpBuilder &b, Location loc, Value real, CastMode mode) {
  Bits x{b, loc};
  Value whole = x.of(real), exponent = x.both(x.right(whole, 23), 0xff);
  Value up;
  if (mode.scales == CastMode::Up)
    up = x.above(x.both(whole, 0x7fffff), 0);
  else if (mode.scales == CastMode::Nearest) {
    Value half = x.above(x.both(whole, 0x400000), 0);
    Value more = b.createOrFold<arith::OrIOp>(loc, x.above(x.both(whole, 0x3fffff), 0), x.above(exponent, 0));
    up = b.createOrFold<arith::AndIOp>(loc, half, more);
  }
  Value result = exponent;
  if (up) {
    Value most = x.is(arith::CmpIPredicate::ult, exponent, mode.saturate ? 0xfe : 0xff);
    result = x.add(exponent, x.select(b.createOrFold<arith::AndIOp>(loc, up, most), x.c(1), x.c(0)));
  }
  return x.byte(result);
}

// Rounds to nearest, ties to even.
Value encode(OpBuilder &b, Location loc, Value real, Type type, CastMode mode) {
  if (isa<Float8E8M0FNUType>(type))
    return encodeScale(b, loc, real, mode);
  Format format = formatOf(type);
  Bits x{b, loc};
  unsigned shift = 23 - format.mantissa;
  Value whole = x.of(real), magnitude = x.both(whole, 0x7fffffff);
  // Half of the last bit that stays, less one, and that bit: a carry rounds up, ties to even.
  uint32_t half = (1u << (shift - 1)) - 1 - (static_cast<uint32_t>(127 - format.bias) << 23);
  Value normal = x.right(x.add(x.add(magnitude, x.c(half)), x.both(x.right(magnitude, shift), 1)), shift);
  // Added to a number whose last bit is the step of the narrow denormals.
  uint32_t stepped = static_cast<uint32_t>(151 - format.bias - static_cast<int>(format.mantissa)) << 23;
  Value sum = b.createOrFold<arith::AddFOp>(loc, x.real(magnitude), x.real(x.c(stepped)));
  Value denormal = b.createOrFold<arith::SubIOp>(loc, x.of(sum), x.c(stepped));
  Value isNormal = x.is(arith::CmpIPredicate::uge, magnitude, static_cast<uint32_t>(128 - format.bias) << 23);
  Value result = x.select(isNormal, normal, denormal);
  bool saturates = mode.saturate || !format.nan; // the narrowest have nothing else
  Value over = x.above(result, format.largest), isNan = x.above(magnitude, kInfinity);
  uint32_t beyond = saturates ? format.largest : format.infinity ? format.infinity : format.nan;
  if (!format.unsignedZero || saturates)
    result = x.select(over, x.c(beyond), result);
  Value sign = x.right(x.both(whole, 0x80000000u), 32 - format.bits);
  if (!format.unsignedZero) {
    result = x.select(isNan, x.c(format.nan), result);
    result = x.either(result, sign);
    if (!format.nan)
      result = x.select(isNan, x.c(format.sign()), result);
  } else {
    result = x.select(x.equals(result, 0), result, x.either(result, sign));
    if (!saturates)
      isNan = b.createOrFold<arith::OrIOp>(loc, isNan, over);
    result = x.select(isNan, x.c(format.nan), result);
  }
  return x.byte(result);
}

// An f32 to be rounded once more: to odd, so that it can be seen whether anything was cut off.
Value roundToOdd(OpBuilder &b, Location loc, Value real) {
  Bits x{b, loc};
  Value nearest = b.createOrFold<arith::TruncFOp>(loc, b.getF32Type(), real);
  Value back = b.createOrFold<arith::ExtFOp>(loc, b.getF64Type(), nearest);
  auto magnitude = [&](Value value) {
    Value bits = b.createOrFold<arith::BitcastOp>(loc, b.getI64Type(), value);
    Value mask = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(INT64_MAX));
    return b.createOrFold<arith::AndIOp>(loc, bits, mask);
  };
  Value above = b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::ugt, magnitude(back), magnitude(real));
  Value differs = b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::ONE, back, real);
  Value bits = x.of(nearest), toZero = x.select(above, x.add(bits, x.c(~0u)), bits);
  return x.real(x.select(differs, x.either(toZero, x.c(1)), bits));
}

// An i8 with the number that an integer of less than 8 bits means.
Value unpack(OpBuilder &b, Location loc, Value stored, Type type) {
  Value by = arith::ConstantOp::create(b, loc, b.getI8IntegerAttr(8 - static_cast<int>(type.getIntOrFloatBitWidth())));
  Value high = b.createOrFold<arith::ShLIOp>(loc, stored, by);
  return isUnsigned(type) ? b.createOrFold<arith::ShRUIOp>(loc, high, by) : b.createOrFold<arith::ShRSIOp>(loc, high, by);
}

// Out of range, what NumPy gives where it says something: the low bits of a wider integer.
Value fromFloat(OpBuilder &b, Location loc, Value x, Type to) {
  unsigned width = to.getIntOrFloatBitWidth();
  if (to.isUnsignedInteger(64))
    return b.createOrFold<arith::FPToUIOp>(loc, storedAs(to), x);
  unsigned through = width < 32 || to.isSignlessInteger(32) ? 32 : 64;
  Value wide = b.createOrFold<arith::FPToSIOp>(loc, b.getIntegerType(through), x);
  return through == width ? wide : b.createOrFold<arith::TruncIOp>(loc, storedAs(to), wide);
}
} // namespace

Value snug::convert(OpBuilder &b, Location loc, Value x, Type from, Type to, CastMode mode) {
  if (from == to)
    return x;
  if (isCode(from)) {
    if (isa<FloatType>(from))
      return convert(b, loc, decode(b, loc, x, from), b.getF32Type(), to, mode);
    return convert(b, loc, unpack(b, loc, x, from),
                   elementTypeOf(b.getContext(), isUnsigned(from) ? 2 : 3), to, mode);
  }
  if (isCode(to)) {
    if (isa<FloatType>(to)) {
      bool isLong = from.isF64() && !isa<Float8E8M0FNUType>(to);
      return encode(b, loc, isLong ? roundToOdd(b, loc, x) : convert(b, loc, x, from, b.getF32Type()), to, mode);
    }
    Value low = convert(b, loc, x, from, b.getI8Type());
    Value mask = arith::ConstantOp::create(b, loc, b.getI8IntegerAttr((1 << to.getIntOrFloatBitWidth()) - 1));
    return b.createOrFold<arith::AndIOp>(loc, low, mask);
  }
  bool fromReal = isa<FloatType>(from), toReal = isa<FloatType>(to);
  Type stored = storedAs(to);
  if (to.isInteger(1)) {
    Value zero = number(b, loc, from, 0);
    if (fromReal)
      return b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::UNE, x, zero);
    return b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::ne, x, zero);
  }
  unsigned width = from.getIntOrFloatBitWidth(), wanted = to.getIntOrFloatBitWidth();
  if (fromReal && toReal) {
    if (width == wanted) // f16 and bf16
      return convert(b, loc, convert(b, loc, x, from, b.getF32Type()), b.getF32Type(), to);
    return width < wanted ? b.createOrFold<arith::ExtFOp>(loc, to, x) : b.createOrFold<arith::TruncFOp>(loc, to, x);
  }
  if (fromReal)
    return fromFloat(b, loc, x, to);
  if (toReal)
    return isUnsigned(from) ? b.createOrFold<arith::UIToFPOp>(loc, to, x) : b.createOrFold<arith::SIToFPOp>(loc, to, x);
  if (width == wanted)
    return x;
  if (width > wanted)
    return b.createOrFold<arith::TruncIOp>(loc, stored, x);
  return isUnsigned(from) ? b.createOrFold<arith::ExtUIOp>(loc, stored, x) : b.createOrFold<arith::ExtSIOp>(loc, stored, x);
}
