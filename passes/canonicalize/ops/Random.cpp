// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Random numbers: SplitMix64 of the element's place, so that every element is computed by itself, in any order, and runs
// are repeatable. The seed is the node's, or made of the node's name where it has none.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "lib/analysis/NodeName.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace snug;

namespace {
uint64_t seedOf(Lowering &l) {
  if (auto seed = dyn_cast_or_null<FloatAttr>(l.attr("seed")))
    return llvm::bit_cast<uint64_t>(seed.getValueAsDouble());
  if (auto seed = dyn_cast_or_null<IntegerAttr>(l.attr("seed"))) // of Dropout
    return seed.getInt();
  return llvm::xxh3_64bits(nodeName(l.loc()));
}

// The element's number in row-major order.
LoweredValue numbers(Lowering &l, ArrayRef<AffineExpr> shape) {
  LoweredValue value;
  value.elementType = l.b.getI64Type();
  value.shape = Extents(shape);
  AffineExpr place = l.constant(0);
  for (auto [dim, extent] : llvm::enumerate(shape))
    place = place * extent + getAffineDimExpr(dim, l.b.getContext());
  value.closed = {place};
  return value;
}

// 64 random bits for a number.
Value bitsOf(ScalarCode &c, Value number, uint64_t seed) {
  auto constant = [&](uint64_t value) { return c.constant(c.b.getI64IntegerAttr(static_cast<int64_t>(value))); };
  auto mix = [&](Value z, int64_t shift) {
    return c.b.createOrFold<arith::XOrIOp>(c.loc, z, c.b.createOrFold<arith::ShRUIOp>(c.loc, z, constant(shift)));
  };
  Value z = c.add(c.mul(c.add(number, constant(1)), constant(0x9E3779B97F4A7C15)), constant(seed));
  z = c.mul(mix(z, 30), constant(0xBF58476D1CE4E5B9));
  z = c.mul(mix(z, 27), constant(0x94D049BB133111EB));
  return mix(z, 31);
}

// In [0, 1), a multiple of 2 ^ -digits, as f64.
Value uniform(ScalarCode &c, Value number, uint64_t seed, unsigned digits) {
  Value bits = c.b.createOrFold<arith::ShRUIOp>(c.loc, bitsOf(c, number, seed),
                                                c.constant(c.b.getI64IntegerAttr(64 - static_cast<int64_t>(digits))));
  Type f64 = c.b.getF64Type();
  return c.mul(c.convert(bits, f64), c.number(f64, std::ldexp(1.0, -static_cast<int>(digits))));
}

enum class Distribution { Uniform, Normal };

// `Like`: of the shape of the input, and its type unless another is stated.
template <Distribution Kind, bool Like> LogicalResult random(Lowering &l) {
  Extents shape;
  Type type = l.dataType(l.intAttr("dtype", 1));
  if (Like) {
    shape = l.input(0).shape;
    if (!l.attr("dtype"))
      type = l.input(0).elementType;
  } else if (auto sizes = l.intsAttr("shape")) {
    for (int64_t size : *sizes)
      shape.push_back(l.constant(size));
  }
  if (!areExtents(l, shape))
    return failure();
  auto real = dyn_cast_or_null<FloatType>(type);
  if (!real)
    return l.error() << "random numbers of element type " << l.intAttr("dtype", 1) << " are not supported";
  double low = l.floatAttr("low", 0), high = l.floatAttr("high", 1), mean = l.floatAttr("mean", 0), scale = l.floatAttr("scale", 1);
  uint64_t seed = seedOf(l);
  LoweredValue index = numbers(l, shape);
  unsigned digits = real.getFPMantissaWidth();
  auto values = l.elementwise({&index}, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    Type f64 = b.getF64Type();
    if (Kind == Distribution::Uniform) {
      Value u = uniform(c, a[0], seed, digits);
      return c.convert(c.add(c.number(f64, low), c.mul(u, c.number(f64, high - low))), type);
    }
    // Box and Muller: a radius and an angle.
    Value twice = c.mul(a[0], c.number(b.getI64Type(), 2)), other = c.add(twice, c.number(b.getI64Type(), 1));
    Value inside = c.add(uniform(c, twice, seed, 52), c.number(f64, std::ldexp(1.0, -53)));
    Value radius = math::SqrtOp::create(b, loc, c.mul(c.number(f64, -2), math::LogOp::create(b, loc, inside)));
    Value angle = c.mul(uniform(c, other, seed, 52), c.number(f64, 2 * M_PI));
    Value normal = c.mul(radius, math::CosOp::create(b, loc, angle));
    return c.convert(c.add(c.number(f64, mean), c.mul(c.number(f64, scale), normal)), type);
  });
  if (failed(values))
    return failure();
  l.define(0, *values);
  return success();
}

// 1 with the probability that the input states.
LogicalResult bernoulli(Lowering &l) {
  LoweredValue &in = l.input(0);
  Type type = l.attr("dtype") ? l.dataType(l.intAttr("dtype", 1)) : in.elementType;
  if (!type || !isa<FloatType>(in.elementType))
    return l.error() << "element type " << l.intAttr("dtype", 1) << " is not supported";
  uint64_t seed = seedOf(l);
  LoweredValue index = numbers(l, in.shape);
  auto values = l.elementwise({&in, &index}, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    Value hit = c.less(uniform(c, a[1], seed, 53), c.convert(a[0], b.getF64Type()));
    return type.isInteger(1) ? hit : c.select(hit, number(b, loc, type, 1), number(b, loc, type, 0));
  });
  if (failed(values))
    return failure();
  l.define(0, *values);
  return success();
}

// Draws classes by logarithms of weights.
LogicalResult multinomial(Lowering &l) {
  LoweredValue &in = l.input(0);
  Type type = l.dataType(l.intAttr("dtype", 6));
  int64_t count = l.intAttr("sample_size", 1);
  if (in.rank() != 2 || !isa<FloatType>(in.elementType) || !type || !isa<IntegerType>(type) || count < 1 || count > INT32_MAX)
    return l.error() << "an input of shape " << l.print(in.shape) << " and " << count << " samples are not supported";
  uint64_t seed = seedOf(l);
  ScalarKernel kernel(l, 2);
  unsigned from = kernel.read(in, {0, ScalarKernel::Any}), to = kernel.write({in.shape[0], l.constant(count)}, type, {0, 1});
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    Type f64 = c.b.getF64Type();
    Value classes = c.extent(from, 1), zero = c.number(f64, 0);
    auto at = [&](Value k) { return c.convert(c.load(from, {i[0], k}), f64); };
    Value most = c.sum(c.index(0), classes, c.number(f64, -INFINITY), [&](Value k, Value best) { return c.max(best, at(k)); });
    auto weight = [&](Value k) -> Value { return math::ExpOp::create(c.b, c.loc, c.sub(at(k), most)); };
    Value total = c.sum(c.index(0), classes, zero, [&](Value k, Value sum) { return c.add(sum, weight(k)); });
    Value number = c.add(c.mul(c.place(0), c.index(count)), c.place(1));
    Value bound = c.mul(uniform(c, c.convert(number, c.b.getI64Type()), seed, 53), total);
    // How many classes end at or before the bound.
    ScalarCode::Values found =
        c.loop(c.index(0), classes, {zero, c.index(0)}, [&](Value k, ValueRange so) -> ScalarCode::Values {
          Value sum = c.add(so[0], weight(k));
          return {sum, c.select(c.lessEqual(sum, bound), c.add(k, c.index(1)), so[1])};
        });
    Value place = c.min(found[1], c.sub(classes, c.index(1)));
    c.store(c.convert(place, type), to, i);
  })[0]);
  return success();
}

// Drops elements where the node trains, and says which are kept.
LogicalResult dropout(Lowering &l) {
  LoweredValue x = l.input(0);
  auto isFalse = [](std::optional<SmallVector<int64_t>> known) { return known && known->size() == 1 && !known->front(); };
  auto ratio = l.hasInput(1) ? dyn_cast_or_null<FloatAttr>(l.input(1).splat) : l.b.getF32FloatAttr(0.5);
  bool dropsNothing = !l.hasInput(2) || isFalse(l.constantInts(l.input(2))) || (ratio && ratio.getValueAsDouble() == 0);
  if (dropsNothing) {
    l.define(0, x);
    l.define(1, l.splatValue(l.b.getBoolAttr(true), x.shape));
    return success();
  }
  if (!isa<FloatType>(x.elementType))
    return l.error() << "elements of type " << x.elementType << " are not supported";
  LoweredValue share = l.hasInput(1) ? l.input(1) : l.splatValue(l.b.getF32FloatAttr(0.5), {}), trains = l.input(2);
  LoweredValue index = numbers(l, x.shape);
  uint64_t seed = seedOf(l);
  Type f64 = l.b.getF64Type(), type = x.elementType;
  auto kept = l.elementwise({&index, &share, &trains}, l.b.getI1Type(), [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    return c.either(c.negate(a[2]), c.lessEqual(c.convert(a[1], f64), uniform(c, a[0], seed, 53)));
  });
  if (failed(kept))
    return failure();
  auto result = l.elementwise({&x, &*kept, &share, &trains}, type, [&](OpBuilder &b, Location loc, ValueRange a) {
    ScalarCode c{b, loc};
    Value one = c.number(f64, 1), rest = c.select(a[3], c.sub(one, c.convert(a[2], f64)), one);
    Value scaled = c.convert(c.div(c.convert(a[0], f64), rest), type);
    return c.select(a[1], scaled, c.number(type, 0));
  });
  if (failed(result))
    return failure();
  l.define(0, *result);
  l.define(1, *kept);
  return success();
}
} // namespace

void snug::addRandomOps(LoweringTable &t) {
  t.add("RandomUniform", 1, random<Distribution::Uniform, false>);
  t.add("RandomUniformLike", 1, random<Distribution::Uniform, true>);
  t.add("RandomNormal", 1, random<Distribution::Normal, false>);
  t.add("RandomNormalLike", 1, random<Distribution::Normal, true>);
  t.add("Bernoulli", 15, bernoulli);
  t.add("Multinomial", 7, multinomial);
  t.add("Dropout", 12, dropout);
}
