// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Signals: discrete Fourier transforms, as sums over a table of the circle in f64, window functions and mel weights.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include <cmath>

using namespace mlir;
using namespace snug;

namespace {
constexpr int any = ScalarKernel::Any;

// cos and sin at `extent` places around the circle, of (extent, 2).
LoweredValue circle(Lowering &l, AffineExpr extent) {
  ScalarKernel kernel(l, 1);
  unsigned to = kernel.write({extent, l.constant(2)}, l.b.getF64Type(), {0, any});
  Value whole = l.materialize(extent);
  return kernel.build([&](ScalarCode &c, ValueRange i) {
    Type f64 = c.b.getF64Type();
    Value angle = c.div(c.mul(c.convert(c.place(0), f64), c.number(f64, 2 * M_PI)), c.convert(whole, f64));
    c.store(math::CosOp::create(c.b, c.loc, angle), to, {i[0], c.index(0)});
    c.store(math::SinOp::create(c.b, c.loc, angle), to, {i[0], c.index(1)});
  })[0];
}

struct Complex {
  Value real, imaginary;
};

// The sum over j of element(j) * exp(-2 pi i j k / n), with the other sign where `inverse`.
Complex transform(ScalarCode &c, ScalarKernel &kernel, unsigned table, Value count, Value k, bool inverse,
                  function_ref<Complex(Value)> element) {
  Type f64 = c.b.getF64Type();
  Value zero = c.number(f64, 0), n = c.extent(table, 0);
  ScalarCode::Values sums =
      c.loop(c.index(0), count, {zero, zero}, [&](Value j, ValueRange total) -> ScalarCode::Values {
        Complex x = element(j);
        Value at = c.rem(c.mul(j, k), n);
        Value cosine = c.load(table, {at, c.index(0)}), sine = c.load(table, {at, c.index(1)});
        if (inverse)
          sine = c.sub(zero, sine);
        Value real = c.add(c.mul(x.real, cosine), c.mul(x.imaginary, sine));
        Value imaginary = c.sub(c.mul(x.imaginary, cosine), c.mul(x.real, sine));
        return {c.add(total[0], real), c.add(total[1], imaginary)};
      });
  return {sums[0], sums[1]};
}

// A scalar that decides a shape: absent (null), known, or refused.
FailureOr<AffineExpr> deciding(Lowering &l, unsigned index, StringRef what) {
  if (!l.hasInput(index))
    return AffineExpr();
  auto value = l.ints(l.input(index));
  if (value && value->size() == 1)
    return (*value)[0];
  l.error() << "a " << what << " that is computed from data is not supported; give it with --value";
  return failure();
}

bool isSignal(Lowering &l, const LoweredValue &x) {
  return x.rank() >= 2 && isa<FloatType>(x.elementType) &&
         (x.shape.back() == l.constant(1) || l.same(x.shape.back(), l.constant(2)));
}

LogicalResult dft(Lowering &l) {
  LoweredValue &x = l.input(0);
  bool inverse = l.intAttr("inverse", 0), oneSided = l.intAttr("onesided", 0), toReal = inverse && oneSided;
  auto stated = deciding(l, 1, "dft_length"), axisInput = deciding(l, 2, "axis");
  if (failed(stated) || failed(axisInput))
    return failure();
  int64_t chosen = l.node().getOpset() < 20 ? l.intAttr("axis", 1) : -2;
  if (*axisInput) {
    auto number = dyn_cast<AffineConstantExpr>(*axisInput);
    if (!number)
      return l.error() << "an axis that depends on dims is not supported";
    chosen = number.getValue();
  }
  auto axis = l.normalizeAxis(chosen, x.rank());
  if (!axis)
    return failure();
  if (!isSignal(l, x) || *axis == x.rank() - 1)
    return l.error() << "axis " << *axis << " of an input of shape " << l.print(x.shape)
                     << " is not supported; the last dim must be 1 or 2, of real and imaginary parts";
  AffineExpr given = x.shape[*axis], n = *stated ? *stated : toReal ? (given - 1) * 2 : given;
  AffineExpr used = toReal ? n.floorDiv(2) + 1 : n;
  auto taken = l.extremum(used, given, /*larger=*/false);
  auto least = l.dims.lowerBound(n);
  if (!taken || !least || *least < 1)
    return l.error() << "a length of " << l.dims.print(n) << " for " << l.dims.print(given)
                     << " elements is not supported: which is smaller depends on dims, or it may be 0";
  bool isComplex = x.shape.back() == l.constant(2);
  Extents shape = x.shape;
  shape[*axis] = oneSided && !inverse ? n.floorDiv(2) + 1 : n;
  shape.back() = l.constant(toReal ? 1 : 2);
  unsigned parallel = x.rank() - 1;
  LoweredValue places = circle(l, n);
  ScalarKernel kernel(l, parallel);
  SmallVector<int> outer = dimsInOrder(x.rank(), {x.rank() - 1});
  unsigned from = kernel.read(x, dimsInOrder(x.rank(), {*axis, x.rank() - 1})), table = kernel.read(places, {any, any});
  unsigned to = kernel.write(shape, x.elementType, outer);
  Value count = l.materialize(*taken);
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    Type f64 = c.b.getF64Type(), real = kernel.computedType(to);
    Value length = c.extent(table, 0), zero = c.number(f64, 0);
    Complex sum = transform(c, kernel, table, count, c.place(*axis), inverse, [&](Value j) {
      SmallVector<Value> at(i);
      at[*axis] = j;
      at.push_back(c.index(0));
      Complex element{c.convert(c.load(from, at), f64), zero};
      if (isComplex) {
        at.back() = c.index(1);
        element.imaginary = c.convert(c.load(from, at), f64);
      }
      if (toReal) { // the other half is the conjugate
        Value alone = c.either(c.equal(j, c.index(0)), c.equal(c.mul(j, c.index(2)), length));
        Value factor = c.select(alone, c.number(f64, 1), c.number(f64, 2));
        element = {c.mul(element.real, factor), c.mul(element.imaginary, factor)};
      }
      return element;
    });
    for (unsigned part = 0; part < (toReal ? 1 : 2); ++part) {
      SmallVector<Value> at(i);
      at.push_back(c.index(part));
      Value value = part ? sum.imaginary : sum.real;
      if (inverse)
        value = c.div(value, c.convert(length, f64));
      c.store(c.convert(value, real), to, at);
    }
  })[0]);
  return success();
}

LogicalResult stft(Lowering &l) {
  LoweredValue &x = l.input(0);
  bool oneSided = l.intAttr("onesided", 1), hasWindow = l.hasInput(2);
  auto step = deciding(l, 1, "frame_step"), length = deciding(l, 3, "frame_length");
  if (failed(step) || failed(length))
    return failure();
  if (!isSignal(l, x) || x.rank() != 3 || !*step || (hasWindow && l.input(2).rank() != 1))
    return l.error() << "a signal of shape " << l.print(x.shape) << " is not supported, or a frame_step or window missing";
  AffineExpr n = *length ? *length : hasWindow ? l.input(2).shape[0] : x.shape[1];
  auto room = l.dims.lowerBound(x.shape[1] - n), least = l.dims.lowerBound(n), stride = l.dims.lowerBound(*step);
  if (!room || *room < 0 || !least || *least < 1 || !stride || *stride < 1 ||
      (hasWindow && !l.same(l.input(2).shape[0], n)))
    return l.error() << "frames of " << l.dims.print(n) << " elements do not fit a signal of shape " << l.print(x.shape);
  bool isComplex = x.shape.back() == l.constant(2);
  Extents shape = {x.shape[0], (x.shape[1] - n).floorDiv(*step) + 1, oneSided ? n.floorDiv(2) + 1 : n, l.constant(2)};
  LoweredValue places = circle(l, n);
  ScalarKernel kernel(l, 3);
  unsigned from = kernel.read(x, {0, any, any}), table = kernel.read(places, {any, any}), window = 0;
  if (hasWindow)
    window = kernel.read(l.input(2), {any});
  unsigned to = kernel.write(shape, x.elementType, {0, 1, 2, any});
  Value hop = l.materialize(*step);
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    Type f64 = c.b.getF64Type(), real = kernel.computedType(to);
    Value begin = c.mul(c.place(1), hop);
    Complex sum = transform(c, kernel, table, c.extent(table, 0), c.place(2), /*inverse=*/false, [&](Value j) {
      auto part = [&](unsigned which) {
        return c.convert(c.load(from, {i[0], c.add(begin, j), c.index(which)}), f64);
      };
      Complex element{part(0), isComplex ? part(1) : c.number(f64, 0)};
      if (hasWindow) {
        Value factor = c.convert(c.load(window, {j}), f64);
        element = {c.mul(element.real, factor), c.mul(element.imaginary, factor)};
      }
      return element;
    });
    c.store(c.convert(sum.real, real), to, {i[0], i[1], i[2], c.index(0)});
    c.store(c.convert(sum.imaginary, real), to, {i[0], i[1], i[2], c.index(1)});
  })[0]);
  return success();
}

// --- windows ------------------------------------------------------------------------------------------------------

FailureOr<Type> outputType(Lowering &l) {
  int64_t code = l.intAttr("output_datatype", 1);
  if (Type type = l.dataType(code))
    return type;
  l.error() << "element type " << code << " is not supported";
  return failure();
}

// constant + first * cos(2 pi n / N) + second * cos(4 pi n / N)
LogicalResult window(Lowering &l, double constant, double first, double second) {
  auto size = deciding(l, 0, "size");
  auto type = outputType(l);
  if (failed(size) || failed(type))
    return failure();
  if (!*size)
    return l.error() << "the size is missing";
  if (!areExtents(l, *size))
    return failure();
  bool periodic = l.intAttr("periodic", 1);
  LoweredValue index;
  index.elementType = l.b.getI64Type();
  index.shape = {*size};
  index.closed = {getAffineDimExpr(0, l.b.getContext())};
  auto values = l.elementwise({&index}, *type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    Type f64 = b.getF64Type();
    Value length = c.convert(l.scalarOf(b, loc, periodic ? *size : *size - 1, b.getI64Type()), f64);
    Value angle = c.div(c.mul(c.convert(a[0], f64), c.number(f64, 2 * M_PI)), length);
    auto wave = [&](double factor, double times) {
      Value cosine = math::CosOp::create(b, loc, c.mul(angle, c.number(f64, times)));
      return c.mul(c.number(f64, factor), cosine);
    };
    Value sum = c.add(c.number(f64, constant), wave(first, 1));
    return c.convert(second == 0 ? sum : c.add(sum, wave(second, 2)), *type);
  });
  if (failed(values))
    return failure();
  l.define(0, *values);
  return success();
}
LogicalResult hann(Lowering &l) { return window(l, 0.5, -0.5, 0); }
LogicalResult hamming(Lowering &l) { return window(l, 25.0 / 46, 25.0 / 46 - 1, 0); }
LogicalResult blackman(Lowering &l) { return window(l, 0.42, -0.5, 0.08); }

// --- mel weights --------------------------------------------------------------------------------------------------

LogicalResult melWeights(Lowering &l) {
  auto number = [&](unsigned index) -> std::optional<double> {
    if (auto ints = l.constantInts(l.input(index)); ints && ints->size() == 1)
      return (*ints)[0];
    auto floats = l.constantFloats(l.input(index));
    return floats && floats->size() == 1 ? std::optional((*floats)[0]) : std::nullopt;
  };
  auto bins = number(0), length = number(1), rate = number(2), low = number(3), high = number(4);
  auto type = outputType(l);
  if (failed(type))
    return failure();
  if (!bins || !length || !rate || !low || !high || *bins < 1 || *bins > 1e6 || *length < 1 || *length > 1e9 || *rate <= 0)
    return l.error() << "the five inputs must be known, numbers above 0; give them with --value";
  // Centers of the triangles, equally far apart on the mel scale; two more are the outermost ones' feet.
  auto count = static_cast<int64_t>(*bins);
  auto toMel = [](double hertz) { return 2595 * std::log1p(hertz / 700) / std::log(10); };
  double first = toMel(*low), step = (toMel(*high) - first) / static_cast<double>(count + 2);
  SmallVector<int64_t> centers;
  for (int64_t i = 0; i < count + 2; ++i) {
    double hertz = 700 * std::expm1((static_cast<double>(i) * step + first) / 2595 * std::log(10));
    centers.push_back(static_cast<int64_t>(std::floor((*length + 1) * hertz / *rate)));
  }
  auto listType = RankedTensorType::get({count + 2}, l.b.getI64Type());
  LoweredValue all = l.dataValue(DenseElementsAttr::get(listType, ArrayRef<int64_t>(centers)));
  std::vector<LoweredValue> feet;
  for (int64_t shift : {0, 1, 2}) {
    LoweredValue part = l.slice(all, {l.constant(shift)}, {l.constant(count)}, {1});
    auto row = l.reshape(part, {l.constant(1), l.constant(count)});
    if (failed(row))
      return failure();
    feet.push_back(*row);
  }
  LoweredValue place;
  place.elementType = l.b.getI64Type();
  place.shape = {l.constant(static_cast<int64_t>(*length) / 2 + 1), l.constant(count)};
  place.closed = {getAffineDimExpr(0, l.b.getContext())};
  auto weights = l.elementwise({&place, &feet[0], &feet[1], &feet[2]}, *type, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    Type f64 = b.getF64Type();
    auto real = [&](Value v) { return c.convert(v, f64); };
    Value zero = c.number(f64, 0), one = c.number(f64, 1), up = c.sub(a[2], a[1]), down = c.sub(a[3], a[2]);
    Value rising = c.both(c.lessEqual(a[1], a[0]), c.lessEqual(a[0], a[2]));
    Value falling = c.both(c.lessEqual(a[2], a[0]), c.less(a[0], a[3])), top = c.equal(a[0], a[2]);
    Value slope = c.select(top, one, c.div(real(c.sub(a[0], a[1])), real(up)));
    Value weight = c.select(falling, c.div(real(c.sub(a[3], a[0])), real(down)), c.select(rising, slope, zero));
    return c.convert(weight, *type);
  });
  if (failed(weights))
    return failure();
  l.define(0, *weights);
  return success();
}
} // namespace

void snug::addSpectrumOps(LoweringTable &t) {
  t.add("DFT", 17, dft);
  t.add("STFT", 17, stft);
  t.add("HannWindow", 17, hann);
  t.add("HammingWindow", 17, hamming);
  t.add("BlackmanWindow", 17, blackman);
  t.add("MelWeightMatrix", 17, melWeights);
}
