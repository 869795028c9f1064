// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Pools over windows or whole planes.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/Window.h"

using namespace mlir;
using namespace snug;

namespace {
enum class Pool { Max, Average, Power };

// |x| to the p-th power, and back.
Value power(OpBuilder &b, Location loc, Value x, double p) {
  x = b.createOrFold<math::AbsFOp>(loc, x);
  if (p == 1)
    return x;
  if (p == 2)
    return b.createOrFold<arith::MulFOp>(loc, x, x);
  return math::PowFOp::create(b, loc, x, arith::ConstantOp::create(b, loc, b.getFloatAttr(x.getType(), p)));
}
Value root(OpBuilder &b, Location loc, Value x, double p) {
  if (p == 1)
    return x;
  if (p == 2)
    return b.createOrFold<math::SqrtOp>(loc, x);
  return math::PowFOp::create(b, loc, x, arith::ConstantOp::create(b, loc, b.getFloatAttr(x.getType(), 1 / p)));
}
double exponent(Lowering &l) { return isa_and_nonnull<FloatAttr>(l.attr("p")) ? l.floatAttr("p", 2) : static_cast<double>(l.intAttr("p", 2)); }

// How many elements of the input (with `padded`: of it and its pads) each window has, along one dim.
Value countInWindow(OpBuilder &b, Location loc, Lowering &l, const Window &window, unsigned i, AffineExpr extent,
                    bool padded) {
  auto at = [&](AffineExpr expr) { return l.scalarOf(b, loc, expr, b.getI64Type()); };
  auto number = [&](int64_t value) { return at(l.constant(value)); };
  Value index = arith::IndexCastOp::create(b, loc, b.getI64Type(), linalg::IndexOp::create(b, loc, 2 + i));
  Value first =
      arith::SubIOp::create(b, loc, arith::MulIOp::create(b, loc, index, number(window.strides[i])), at(window.before[i]));
  // Taps until there is a place, for places of 0 and more.
  auto tapsBefore = [&](Value place) -> Value {
    int64_t step = window.dilations[i];
    if (step == 1)
      return place;
    return arith::DivSIOp::create(b, loc, arith::AddIOp::create(b, loc, place, number(step - 1)), number(step));
  };
  Value end = at(padded ? extent + window.statedAfter[i] : extent);
  Value taps = arith::MinSIOp::create(b, loc, tapsBefore(arith::SubIOp::create(b, loc, end, first)), at(window.kernel[i]));
  if (padded)
    return taps;
  Value before = arith::MaxSIOp::create(b, loc, arith::SubIOp::create(b, loc, number(0), first), number(0));
  return arith::SubIOp::create(b, loc, taps, tapsBefore(before));
}

// The largest element of each window and its place in the whole input. The first of equal ones counts.
LogicalResult maxPoolWithPlaces(Lowering &l, LoweredValue x, const Window &window) {
  unsigned rank = window.kernel.size();
  bool columnMajor = l.intAttr("storage_order", 0);
  Extents result = {x.shape[0], x.shape[1]};
  llvm::append_range(result, window.out);
  SmallVector<int> image = {0, 1};
  image.append(rank, ScalarKernel::Any);
  ScalarKernel kernel(l, rank + 2);
  unsigned from = kernel.read(x, image), to = kernel.write(result, x.elementType, dimsInOrder(rank + 2));
  unsigned places = kernel.write(result, l.b.getI64Type(), dimsInOrder(rank + 2));
  SmallVector<Value> before, extents, kernelSizes;
  for (AffineExpr size : window.kernel)
    kernelSizes.push_back(l.materialize(size));
  for (AffineExpr pad : window.before)
    before.push_back(l.materialize(pad));
  for (AffineExpr extent : x.shape)
    extents.push_back(l.materialize(extent));
  std::vector<LoweredValue> made = kernel.build([&](ScalarCode &c, ValueRange i) {
    Type type = kernel.computedType(from);
    Value least = isa<FloatType>(type)
                      ? c.number(type, -INFINITY)
                      : c.constant(c.b.getIntegerAttr(type, APInt::getSignedMinValue(type.getIntOrFloatBitWidth())));
    std::function<ScalarCode::Values(unsigned, SmallVector<Value>, Value, ValueRange)> nest =
        [&](unsigned dim, SmallVector<Value> at, Value isInside, ValueRange best) -> ScalarCode::Values {
      if (dim < rank)
        return c.loop(c.index(0), kernelSizes[dim], best, [&](Value tap, ValueRange so) {
          Value step = c.mul(tap, c.index(window.dilations[dim])), extent = extents[2 + dim];
          Value place = c.sub(c.add(c.mul(c.place(2 + dim), c.index(window.strides[dim])), step), before[dim]);
          SmallVector<Value> next = at;
          next.push_back(c.clamp(place, extent));
          Value inside = c.isInside(place, extent);
          return nest(dim + 1, next, isInside ? c.both(isInside, inside) : inside, so);
        });
      SmallVector<Value> read = {i[0], i[1]};
      llvm::append_range(read, at);
      Value element = c.load(from, read), flat = c.add(c.mul(c.place(0), extents[1]), c.place(1));
      for (unsigned k = 0; k < rank; ++k)
        flat = c.mul(flat, extents[2 + k]);
      Value inPlane = c.index(0);
      for (unsigned k = 0; k < rank; ++k) {
        unsigned which = columnMajor ? rank - 1 - k : k;
        inPlane = c.add(c.mul(inPlane, extents[2 + which]), at[which]);
      }
      Value isFirst = c.less(best[1], c.index(0)), takes = c.both(isInside, c.either(isFirst, c.less(best[0], element)));
      return {c.select(takes, element, best[0]), c.select(takes, c.add(flat, inPlane), best[1])};
    };
    ScalarCode::Values best = nest(0, {}, Value(), {least, c.index(-1)});
    c.store(best[0], to, i);
    c.store(c.convert(best[1], c.b.getI64Type()), places, i);
  });
  l.define(0, made[0]);
  l.define(1, made[1]);
  return success();
}

template <Pool Kind> LogicalResult pool(Lowering &l) {
  constexpr bool Max = Kind == Pool::Max;
  LoweredValue &x = l.input(0);
  auto kernel = l.intsAttr("kernel_shape");
  Type type = x.elementType;
  if (!kernel || x.rank() != static_cast<int64_t>(kernel->size()) + 2) {
    l.error() << "an input of shape " << l.print(x.shape) << " and type " << x.elementType
              << " with this kernel_shape is not supported";
    return failure();
  }
  ArrayRef<AffineExpr> spatial = ArrayRef(x.shape).drop_front(2);
  auto window = windowOf(l, spatial, llvm::map_to_vector(*kernel, [&](int64_t size) { return l.constant(size); }));
  if (!window)
    return failure();
  unsigned rank = kernel->size();
  bool include = l.intAttr("count_include_pad", 0);
  if (!type || (Max && l.node()->getNumResults() > 1 && !l.node()->getResult(1).use_empty()))
    return maxPoolWithPlaces(l, x, *window);
  double p = exponent(l);
  Extents before(2, l.constant(0)), after = before;
  llvm::append_range(before, window->before);
  llvm::append_range(after, window->after);
  TypedAttr neutral = Max ? extremeAttr(type, /*least=*/true) : numberAttr(type, 0);
  auto padded = l.pad(x, before, after, neutral);
  if (failed(padded))
    return failure();
  // Loops n, c, o.. without the last, k.., last o. The window's extents are told by a constant that is not read.
  OpBuilder &b = l.b;
  auto windowType = RankedTensorType::get(*kernel, storedAs(type));
  LoweredValue shape = l.dataValue(DenseElementsAttr::get(windowType, Attribute(numberAttr(type, 0))));
  unsigned numLoops = 2 * rank + 2;
  auto d = [&](unsigned dim) { return getAffineDimExpr(dim, b.getContext()); };
  SmallVector<AffineExpr> in = {d(0), d(1)}, out = in, inside;
  SmallVector<utils::IteratorType> iterators(numLoops, utils::IteratorType::parallel);
  for (unsigned i = 0; i < rank; ++i) {
    unsigned o = i + 1 == rank ? numLoops - 1 : 2 + i, k = rank + 1 + i;
    iterators[k] = utils::IteratorType::reduction;
    in.push_back(d(o) * window->strides[i] + d(k) * window->dilations[i]);
    out.push_back(d(o));
    inside.push_back(d(k));
  }
  auto map = [&](ArrayRef<AffineExpr> exprs) { return AffineMap::get(numLoops, 0, exprs, b.getContext()); };
  Extents result = {x.shape[0], x.shape[1]};
  llvm::append_range(result, window->out);
  Value start = arith::ConstantOp::create(b, l.loc(), neutral);
  Value init = linalg::FillOp::create(b, l.loc(), start, l.empty(result, type)).getResult(0);
  auto op = linalg::GenericOp::create(
      b, l.loc(), init.getType(), ValueRange{l.tensor(*padded), l.tensor(shape)}, init,
      ArrayRef<AffineMap>{map(in), map(inside), map(out)}, iterators, [&](OpBuilder &body, Location loc, ValueRange a) {
        auto reassociate = arith::FastMathFlagsAttr::get(body.getContext(), arith::FastMathFlags::reassoc);
        Value element = Kind == Pool::Power ? power(body, loc, a[0], p) : a[0];
        Value value = Max ? larger(body, loc, type, element, a[2])
                          : Value(arith::AddFOp::create(body, loc, element, a[2], reassociate));
        linalg::YieldOp::create(body, loc, value);
      });
  if (Max) {
    l.define(0, l.tensorValue(op.getResult(0), result, type));
    return success();
  }
  auto identity = AffineMap::getMultiDimIdentityMap(rank + 2, b.getContext());
  Value mean = l.generic({op.getResult(0)}, {identity}, result, type, [&](OpBuilder &body, Location loc, ValueRange a) -> Value {
    if (Kind == Pool::Power)
      return root(body, loc, a[0], p);
    Value count = arith::ConstantOp::create(body, loc, body.getI64IntegerAttr(1));
    for (unsigned i = 0; i < rank; ++i)
      count = arith::MulIOp::create(body, loc, count, countInWindow(body, loc, l, *window, i, spatial[i], include));
    return arith::DivFOp::create(body, loc, a[0], arith::SIToFPOp::create(body, loc, type, count));
  });
  l.define(0, l.tensorValue(mean, result));
  return success();
}

template <Pool Kind> LogicalResult globalPool(Lowering &l) {
  constexpr bool Max = Kind == Pool::Max;
  LoweredValue x = l.input(0);
  if (x.rank() < 3 || !isa<FloatType>(x.elementType)) {
    l.error() << "an input of shape " << l.print(x.shape) << " and type " << x.elementType << " is not supported";
    return failure();
  }
  SmallVector<bool> reduced(x.rank(), true);
  reduced[0] = reduced[1] = false;
  double p = exponent(l);
  if (Kind == Pool::Power) {
    auto powers = l.elementwise({&x}, x.elementType, [&](OpBuilder &b, Location loc, ValueRange a) { return power(b, loc, a[0], p); });
    if (failed(powers))
      return failure();
    x = *powers;
  }
  LoweredValue result = l.reduce(Max ? Reduction::Max : Reduction::Sum, x, reduced);
  if (!Max) {
    AffineExpr count = l.constant(1);
    for (AffineExpr extent : ArrayRef(x.shape).drop_front(2))
      count = count * extent;
    auto mean = l.elementwise({&result}, x.elementType, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
      if (Kind == Pool::Power)
        return root(b, loc, a[0], p);
      Value n = arith::SIToFPOp::create(b, loc, a[0].getType(), l.scalarOf(b, loc, count, b.getI64Type()));
      return b.createOrFold<arith::DivFOp>(loc, a[0], n);
    });
    if (failed(mean))
      return failure();
    result = *mean;
  }
  Extents shape(x.rank(), l.constant(1));
  shape[0] = x.shape[0];
  shape[1] = x.shape[1];
  auto full = l.reshape(result, shape);
  if (failed(full))
    return failure();
  l.define(0, *full);
  return success();
}
} // namespace

void snug::addPoolingOps(LoweringTable &t) {
  t.add("MaxPool", 1, pool<Pool::Max>);
  t.add("AveragePool", 1, pool<Pool::Average>, types::Floats);
  t.add("LpPool", 1, pool<Pool::Power>, types::Floats);
  t.add("GlobalMaxPool", 1, globalPool<Pool::Max>);
  t.add("GlobalAveragePool", 1, globalPool<Pool::Average>);
  t.add("GlobalLpPool", 1, globalPool<Pool::Power>);
}
