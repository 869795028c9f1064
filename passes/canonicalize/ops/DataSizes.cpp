// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops whose result has as many elements as the data says. A kernel counts them, the count becomes a size, and a second
// kernel writes as many.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"

using namespace mlir;
using namespace snug;

namespace {
constexpr int any = ScalarKernel::Any;

AffineExpr numElements(Lowering &l, ArrayRef<AffineExpr> shape) {
  AffineExpr count = l.constant(1);
  for (AffineExpr extent : shape)
    count = count * extent;
  return normalExtent(count);
}

// How many of a row of elements are not 0; NaN is none.
LoweredValue countNonZero(Lowering &l, LoweredValue &row) {
  ScalarKernel kernel(l, 0);
  unsigned from = kernel.read(row, {any}), to = kernel.write({l.constant(1)}, l.b.getI64Type(), {any});
  return kernel.build([&](ScalarCode &c, ValueRange) {
    Type i64 = c.b.getI64Type();
    Value count = c.sum(c.index(0), c.extent(from, 0), c.number(i64, 0), [&](Value i, Value sum) {
      Value element = c.load(from, {i});
      return c.add(sum, c.select(c.equal(element, c.number(element.getType(), 0)), c.number(i64, 0), c.number(i64, 1)));
    });
    c.store(count, to, {c.index(0)});
  })[0];
}

LogicalResult nonZero(Lowering &l) {
  LoweredValue &x = l.input(0);
  AffineExpr length = numElements(l, x.shape), rank = l.constant(x.rank());
  auto row = l.reshape(x, {length});
  if (failed(row))
    return failure();
  AffineExpr count = length;
  auto isZero = [](TypedAttr splat) {
    auto integer = dyn_cast<IntegerAttr>(splat);
    return integer ? integer.getValue().isZero() : cast<FloatAttr>(splat).getValue().isZero();
  };
  if (x.splat) {
    count = isZero(x.splat) ? l.constant(0) : length;
    if (x.rank() == 1 && count == length) { // the positions themselves
      LoweredValue positions;
      positions.elementType = l.b.getI64Type();
      positions.shape = {l.constant(1), count};
      positions.closed = {getAffineDimExpr(1, l.b.getContext())};
      l.define(0, positions);
      return success();
    }
  } else {
    LoweredValue counted = countNonZero(l, *row);
    count = l.dataExtent(counted, length);
  }
  ScalarKernel kernel(l, 0);
  unsigned from = kernel.read(*row, {any}), to = kernel.write({rank, count}, l.b.getI64Type(), {any, any});
  Extents shape = x.shape;
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange) {
    Type i64 = c.b.getI64Type();
    c.loop(c.index(0), c.extent(from, 0), c.index(0), [&](Value i, ValueRange place) -> ScalarCode::Values {
      Value element = c.load(from, {i});
      Value isZero = c.equal(element, c.number(element.getType(), 0));
      return c.ifElse(
          c.either(isZero, c.lessEqual(c.extent(to, 1), place[0])), [&]() -> ScalarCode::Values { return {place[0]}; },
          [&]() -> ScalarCode::Values {
            Value rest = i;
            for (size_t dim = shape.size(); dim-- > 0;) {
              Value extent = l.materialize(shape[dim]);
              c.store(c.convert(dim == 0 ? rest : c.rem(rest, extent), i64), to, {c.index(dim), place[0]});
              rest = c.div(rest, extent);
            }
            return {c.add(place[0], c.index(1))};
          });
    });
  })[0]);
  return success();
}
} // namespace

void snug::addDataSizeOps(LoweringTable &t) { t.add("NonZero", 9, nonZero); }
