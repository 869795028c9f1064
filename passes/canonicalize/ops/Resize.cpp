// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Resize and Upsample: interpolation is separable, so each dim is resized by itself, as a gather along it. One formula gives
// the place in the input that an element of the output lies at; the mode gives indices near it and their weights. Both are
// computed in f64 by kernels of their own, as extents may be known at run time only.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Resize.h"
#include <cmath>

using namespace mlir;
using namespace snug;
using arith::CmpFPredicate;

namespace {
enum class Mode { Nearest, Linear, Cubic };

using Axis = ResizedAxis;

// f64 arithmetic in a body.
struct Scalars {
  OpBuilder &b;
  Location loc;
  Value c(double value) { return arith::ConstantOp::create(b, loc, b.getF64FloatAttr(value)); }
  Value add(Value x, Value y) { return b.createOrFold<arith::AddFOp>(loc, x, y); }
  Value sub(Value x, Value y) { return b.createOrFold<arith::SubFOp>(loc, x, y); }
  Value mul(Value x, Value y) { return b.createOrFold<arith::MulFOp>(loc, x, y); }
  Value div(Value x, Value y) { return b.createOrFold<arith::DivFOp>(loc, x, y); }
  Value floor(Value x) { return math::FloorOp::create(b, loc, x); }
  Value ceil(Value x) { return math::CeilOp::create(b, loc, x); }
  Value select(Value condition, Value x, Value y) { return b.createOrFold<arith::SelectOp>(loc, condition, x, y); }
  Value compare(CmpFPredicate predicate, Value x, Value y) { return b.createOrFold<arith::CmpFOp>(loc, predicate, x, y); }
  Value index(int64_t dim) {
    Value i = arith::IndexCastOp::create(b, loc, b.getI64Type(), linalg::IndexOp::create(b, loc, dim));
    return arith::SIToFPOp::create(b, loc, b.getF64Type(), i);
  }
};

class Resizing {
public:
  explicit Resizing(Lowering &l)
      : l(l), x(l.input(0)), old(l.node().getOpType() == "Upsample" || l.node().getOpset() < 11) {}
  LogicalResult run();

private:
  LogicalResult readAttributes();
  std::optional<int64_t> blockFactor(const Axis &axis) const;
  FailureOr<LoweredValue> blocks(ArrayRef<std::pair<const Axis *, int64_t>> factors);
  FailureOr<LoweredValue> resize(LoweredValue &value, const Axis &axis);
  std::optional<AffineExpr> tapsOf(const Axis &axis);
  FailureOr<LoweredValue> weights(const Axis &axis, AffineExpr taps);
  LoweredValue table(ArrayRef<AffineExpr> shape, Type type, function_ref<Value(Scalars &)> body) {
    auto wrapped = [&](OpBuilder &b, Location loc, ValueRange) -> Value {
      Scalars s{b, loc};
      return body(s);
    };
    return l.tensorValue(l.generic({}, {}, shape, type, wrapped), Extents(shape));
  }
  Value extent(Scalars &s, AffineExpr expr) {
    return s.b.createOrFold<arith::SIToFPOp>(s.loc, s.b.getF64Type(), l.scalarOf(s.b, s.loc, expr, s.b.getI64Type()));
  }
  Value scaleOf(Scalars &s, const Axis &axis) {
    if (axis.scale)
      return s.c(*axis.scale);
    Value scale;
    for (auto [to, from] : axis.ratios) {
      Value one = s.div(extent(s, to), extent(s, from));
      scale = !scale ? one : s.select(s.compare(axis.isLargest ? CmpFPredicate::OGT : CmpFPredicate::OLT, one, scale), one, scale);
    }
    return scale;
  }
  Value place(Scalars &s, const Axis &axis); // in a body whose first loop is the output's dim
  // An antialiased kernel is as much wider as the image becomes smaller.
  bool squeezes(const Axis &axis) const { return antialias && !(axis.scale && *axis.scale >= 1); }
  // Of the indices around a place, where tap 0 is, counted from the index below the place.
  Value firstTap(Scalars &s, AffineExpr taps) { return extent(s, 1 - taps.floorDiv(2)); }
  // The index below a place, and how far behind it the place is, in (0, 1].
  std::pair<Value, Value> around(Scalars &s, const Axis &axis) {
    Value at = place(s, axis), below = s.sub(s.ceil(at), s.c(1));
    return {below, s.sub(at, below)};
  }

  Lowering &l;
  LoweredValue x;
  bool old; // inputs are the image and scales, and there is one way to place elements
  Mode mode = Mode::Nearest;
  StringRef coordinates, nearest;
  double cubic = -0.75, outside = 0;
  bool excludes = false, antialias = false;
};

LogicalResult Resizing::readAttributes() {
  StringRef name = l.stringAttr("mode", "nearest");
  coordinates = old ? "asymmetric" : l.stringAttr("coordinate_transformation_mode", "half_pixel");
  nearest = old ? "floor" : l.stringAttr("nearest_mode", "round_prefer_floor");
  cubic = l.floatAttr("cubic_coeff_a", -0.75);
  outside = l.floatAttr("extrapolation_value", 0);
  excludes = l.intAttr("exclude_outside", 0);
  antialias = l.intAttr("antialias", 0);
  mode = name == "cubic" ? Mode::Cubic : name.ends_with("linear") ? Mode::Linear : Mode::Nearest;
  constexpr StringRef known[] = {"half_pixel",     "half_pixel_symmetric", "pytorch_half_pixel",  "align_corners",
                                 "asymmetric",     "tf_crop_and_resize",   "tf_half_pixel_for_nn"};
  constexpr StringRef roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
  if ((mode == Mode::Nearest && name != "nearest") || !llvm::is_contained(known, coordinates) ||
      !llvm::is_contained(roundings, nearest)) {
    l.error() << "mode '" << name << "' with coordinates '" << coordinates << "' and '" << nearest
              << "' is none that the standard knows";
    return failure();
  }
  if (mode != Mode::Nearest && !isa<FloatType>(x.elementType)) {
    l.error() << "mode '" << name << "' of elements of type " << x.elementType
              << " is not supported, only of floating-point ones; cast them first";
    return failure();
  }
  return success();
}

// Nearest neighbours at a whole factor: each element becomes a block.
std::optional<int64_t> Resizing::blockFactor(const Axis &axis) const {
  bool floors = (coordinates == "asymmetric" && nearest == "floor") ||
                (coordinates.starts_with("half_pixel") && nearest == "round_prefer_floor");
  if (mode != Mode::Nearest || !floors)
    return std::nullopt;
  if (axis.scale) {
    bool whole = *axis.scale >= 1 && *axis.scale == std::floor(*axis.scale);
    return whole ? std::optional(static_cast<int64_t>(*axis.scale)) : std::nullopt;
  }
  if (axis.ratios.size() > 1)
    return std::nullopt;
  auto quotient = exactQuotient(l.dims.inSteps(axis.to), l.dims.inSteps(axis.from));
  auto number = quotient ? dyn_cast<AffineConstantExpr>(*quotient) : AffineConstantExpr();
  return number && number.getValue() > 0 ? std::optional(number.getValue()) : std::nullopt;
}

FailureOr<LoweredValue> Resizing::blocks(ArrayRef<std::pair<const Axis *, int64_t>> factors) {
  Extents split, result = x.shape;
  SmallVector<AffineExpr> read;
  for (auto [dim, extent] : llvm::enumerate(x.shape)) {
    read.push_back(getAffineDimExpr(split.size(), l.b.getContext()));
    split.push_back(extent);
    for (auto [axis, factor] : factors)
      if (axis->dim == static_cast<int64_t>(dim)) {
        split.push_back(l.constant(factor));
        result[dim] = axis->to;
      }
  }
  Value grown = l.generic({l.tensor(x)}, {AffineMap::get(split.size(), 0, read, l.b.getContext())}, split, x.elementType,
                          [](OpBuilder &, Location, ValueRange a) -> Value { return a[0]; });
  LoweredValue value = l.tensorValue(grown, split, x.elementType);
  return l.reshape(value, result);
}

// The place in the input of the output's element.
Value Resizing::place(Scalars &s, const Axis &axis) {
  Value y = s.index(0), scale = scaleOf(s, axis), from = extent(s, axis.from);
  Value width = s.mul(scale, from), half = s.c(0.5), one = s.c(1), last = s.sub(from, one);
  auto ifOne = [&](Value then, Value otherwise) { return s.select(s.compare(CmpFPredicate::OEQ, width, one), then, otherwise); };
  Value middle = s.sub(s.div(s.add(y, half), scale), half);
  if (coordinates == "align_corners")
    return ifOne(s.c(0), s.div(s.mul(y, last), s.sub(width, one)));
  if (coordinates == "asymmetric")
    return s.div(y, scale);
  if (coordinates == "tf_half_pixel_for_nn")
    return s.div(s.add(y, half), scale);
  if (coordinates == "pytorch_half_pixel")
    return ifOne(s.c(-0.5), middle);
  if (coordinates == "half_pixel_symmetric") {
    Value adjustment = s.div(extent(s, axis.to), width);
    return s.add(s.mul(s.div(from, s.c(2)), s.sub(one, adjustment)), middle);
  }
  if (coordinates == "tf_crop_and_resize") {
    Value length = s.sub(s.c(axis.last), s.c(axis.first));
    Value inside = ifOne(s.div(s.mul(length, last), s.c(2)), s.div(s.mul(s.mul(y, length), last), s.sub(width, one)));
    return s.add(inside, s.mul(s.c(axis.first), last));
  }
  return middle;
}

// How many elements the kernel spans: 2 ceil(reach / min(scale, 1)).
std::optional<AffineExpr> Resizing::tapsOf(const Axis &axis) {
  int64_t reach = mode == Mode::Cubic ? 2 : 1;
  if (!squeezes(axis))
    return l.constant(2 * reach);
  if (axis.scale) {
    double half = std::ceil(static_cast<double>(reach) / *axis.scale);
    return half < 1e9 ? std::optional(l.constant(2 * static_cast<int64_t>(half))) : std::nullopt;
  }
  std::optional<AffineExpr> half;
  for (auto [to, from] : axis.ratios) {
    auto least = l.dims.lowerBound(to);
    if (!least || *least < 1)
      return std::nullopt;
    AffineExpr one = (from * reach + to - 1).floorDiv(to);
    half = !half ? one : l.extremum(*half, one, /*larger=*/!axis.isLargest);
    if (!half)
      return std::nullopt;
  }
  half = l.extremum(*half, l.constant(reach), /*larger=*/true);
  return half ? std::optional(*half * 2) : std::nullopt;
}

// The interpolation's kernel at the distance of each tap, of (output's dim, taps).
FailureOr<LoweredValue> Resizing::weights(const Axis &axis, AffineExpr taps) {
  Type f64 = l.b.getF64Type(), real = computeType(cast<FloatType>(x.elementType));
  Extents shape = {axis.to, taps};
  bool normalizes = excludes || squeezes(axis);
  auto raw = table(shape, normalizes ? f64 : real, [&](Scalars &s) -> Value {
    auto [below, ratio] = around(s, axis);
    Value offset = s.add(s.index(1), firstTap(s, taps)), zero = s.c(0), one = s.c(1), weight;
    Value apart = s.sub(offset, ratio);
    if (squeezes(axis))
      apart = s.mul(apart, arith::MinimumFOp::create(s.b, s.loc, scaleOf(s, axis), one));
    Value distance = math::AbsFOp::create(s.b, s.loc, apart);
    if (mode == Mode::Linear) {
      weight = arith::MaximumFOp::create(s.b, s.loc, s.sub(one, distance), zero);
    } else {
      Value square = s.mul(distance, distance), cube = s.mul(square, distance), a = s.c(cubic);
      Value near = s.add(s.sub(s.mul(s.c(cubic + 2), cube), s.mul(s.c(cubic + 3), square)), one);
      Value far = s.mul(a, s.sub(s.add(s.sub(cube, s.mul(s.c(5), square)), s.mul(s.c(8), distance)), s.c(4)));
      weight = s.select(s.compare(CmpFPredicate::OLE, distance, one), near,
                        s.select(s.compare(CmpFPredicate::OLT, distance, s.c(2)), far, zero));
    }
    if (excludes) {
      Value at = s.add(below, offset);
      Value before = s.compare(CmpFPredicate::OLT, at, zero), behind = s.compare(CmpFPredicate::OGE, at, extent(s, axis.from));
      weight = s.select(before, zero, s.select(behind, zero, weight));
    }
    return normalizes || real == f64 ? weight : arith::TruncFOp::create(s.b, s.loc, real, weight).getResult();
  });
  if (!normalizes)
    return raw;
  LoweredValue sum = l.reduce(Reduction::Sum, raw, {false, true});
  auto column = l.reshape(sum, {axis.to, l.constant(1)});
  if (failed(column))
    return failure();
  return l.elementwise({&raw, &*column}, real, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    Scalars s{b, loc};
    Value all = s.select(s.compare(CmpFPredicate::OEQ, v[1], s.c(0)), s.c(1), v[1]), weight = s.div(v[0], all);
    return real == f64 ? weight : arith::TruncFOp::create(b, loc, real, weight).getResult();
  });
}

FailureOr<LoweredValue> Resizing::resize(LoweredValue &value, const Axis &axis) {
  Type i64 = l.b.getI64Type();
  Extents shape = value.shape;
  shape[axis.dim] = axis.to;
  auto nearestInside = [&](Scalars &s, Value at) -> Value {
    Value last = s.sub(extent(s, axis.from), s.c(1));
    at = arith::MaximumFOp::create(s.b, s.loc, arith::MinimumFOp::create(s.b, s.loc, at, last), s.c(0));
    return arith::FPToSIOp::create(s.b, s.loc, i64, at);
  };
  LoweredValue indices, factors;
  if (mode == Mode::Nearest) {
    indices = table({axis.to}, i64, [&](Scalars &s) {
      Value at = place(s, axis), half = s.c(0.5);
      return nearestInside(s, nearest == "floor"               ? s.floor(at)
                              : nearest == "ceil"              ? s.ceil(at)
                              : nearest == "round_prefer_ceil" ? s.floor(s.add(at, half))
                                                               : s.ceil(s.sub(at, half)));
    });
  } else {
    auto taps = tapsOf(axis);
    if (!taps)
      return l.error() << "antialiasing of dim " << axis.dim << " from " << l.dims.print(axis.from) << " to "
                       << l.dims.print(axis.to) << " elements is not supported; fix these extents with --dim";
    indices = table({axis.to, *taps}, i64, [&](Scalars &s) {
      Value below = around(s, axis).first;
      return nearestInside(s, s.add(below, s.add(s.index(1), firstTap(s, *taps))));
    });
    auto made = weights(axis, *taps);
    if (failed(made))
      return failure();
    factors = *made;
  }
  Value init = l.empty(shape, value.elementType), weigh = factors.elementType ? l.tensor(factors) : Value();
  auto op = nn::GatherOp::create(l.b, l.loc(), init.getType(), l.tensor(value), l.tensor(indices), weigh, init,
                                 l.b.getI64IntegerAttr(axis.dim));
  LoweredValue result = l.tensorValue(op->getResult(0), shape, value.elementType);
  if (coordinates != "tf_crop_and_resize")
    return result;
  auto isOutside = table({axis.to}, l.b.getI1Type(), [&](Scalars &s) -> Value {
    Value at = place(s, axis), last = s.sub(extent(s, axis.from), s.c(1));
    Value before = s.compare(CmpFPredicate::OLT, at, s.c(0)), behind = s.compare(CmpFPredicate::OGT, at, last);
    return arith::OrIOp::create(s.b, s.loc, before, behind);
  });
  Extents along(value.rank() - axis.dim, l.constant(1));
  along[0] = axis.to;
  auto condition = l.reshape(isOutside, along);
  if (failed(condition))
    return failure();
  return l.elementwise({&*condition, &result}, value.elementType, [&](OpBuilder &b, Location loc, ValueRange v) -> Value {
    Type type = v[1].getType();
    TypedAttr filling = isa<FloatType>(type) ? TypedAttr(b.getFloatAttr(type, outside))
                                             : b.getIntegerAttr(type, static_cast<int64_t>(outside));
    return arith::SelectOp::create(b, loc, v[0], arith::ConstantOp::create(b, loc, filling), v[1]);
  });
}

LogicalResult Resizing::run() {
  if (failed(readAttributes()))
    return failure();
  auto axes = resizedAxes(l, old, coordinates == "tf_crop_and_resize");
  if (failed(axes))
    return failure();
  SmallVector<const Axis *> others;
  SmallVector<std::pair<const Axis *, int64_t>> whole;
  for (const Axis &axis : *axes) {
    bool same = axis.from == axis.to && (axis.scale ? std::abs(*axis.scale - 1) < 1e-9 : axis.ratios.size() == 1);
    if (same && axis.first == 0 && axis.last == 1)
      continue;
    if (auto factor = blockFactor(axis))
      whole.push_back({&axis, *factor});
    else
      others.push_back(&axis);
  }
  FailureOr<LoweredValue> result = whole.empty() ? FailureOr<LoweredValue>(x) : blocks(whole);
  for (const Axis *axis : others)
    result = succeeded(result) ? resize(*result, *axis) : result;
  if (succeeded(result))
    l.define(0, *result);
  return result;
}

LogicalResult resize(Lowering &l) { return Resizing(l).run(); }
} // namespace

void snug::addResizeOps(LoweringTable &t) {
  t.add("Resize", 10, resize);
  t.add("Upsample", 7, resize);
}
