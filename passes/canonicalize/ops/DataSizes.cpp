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

// Whether the target has many threads, for which steps that follow each other are spelled out otherwise.
bool hasBlocks(Lowering &l) { return l.module->hasAttr("snug.blocks"); }

// How many of a row of elements are not 0 up to each of them, that one included. There is one at least.
LoweredValue countUpTo(Lowering &l, LoweredValue &row) {
  ScalarKernel kernel(l, 1);
  unsigned from = kernel.read(row, {0}), to = kernel.write(row.shape, l.b.getI64Type(), {0});
  LoweredValue flags = kernel.build([&](ScalarCode &c, ValueRange i) {
    Value element = c.load(from, {i[0]});
    Type i64 = c.b.getI64Type();
    c.store(c.select(c.equal(element, c.number(element.getType(), 0)), c.number(i64, 0), c.number(i64, 1)), to, {i[0]});
  })[0];
  Value init = l.empty(row.shape, l.b.getI64Type());
  auto op = nn::ScanOp::create(l.b, l.loc(), init.getType(), l.tensor(flags), init, nn::ScanKind::Sum, /*dim=*/0, /*exclusive=*/false,
                               /*reverse=*/false);
  return l.tensorValue(op->getResult(0), row.shape, l.b.getI64Type());
}

// The last of these counts, an extent of at most `most`.
AffineExpr lastCount(Lowering &l, LoweredValue &counts, AffineExpr most) {
  AffineExpr length = counts.shape[0];
  LoweredValue last = l.slice(counts, {length - l.constant(1)}, {l.constant(1)}, {1});
  return l.dataExtent(last, most);
}

// Stores an element's place in a tensor of that shape as a column.
void storePlace(Lowering &l, ScalarCode &c, const Extents &shape, Value number, unsigned to, Value column) {
  for (size_t dim = shape.size(); dim-- > 0;) {
    Value extent = l.materialize(shape[dim]);
    c.store(c.convert(dim == 0 ? number : c.rem(number, extent), c.b.getI64Type()), to, {c.index(dim), column});
    number = c.div(number, extent);
  }
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
  } else if (auto least = l.dims.lowerBound(length); hasBlocks(l) && least && *least > 0) {
    LoweredValue counts = countUpTo(l, *row);
    count = lastCount(l, counts, length);
    ScalarKernel kernel(l, 1);
    unsigned from = kernel.read(counts, {any}), to = kernel.write({rank, count}, l.b.getI64Type(), {any, 0});
    l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
      storePlace(l, c, Extents(x.shape), c.placeIn(from, i[0]), to, i[0]);
    })[0]);
    return success();
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
            storePlace(l, c, shape, i, to, place[0]);
            return {c.add(place[0], c.index(1))};
          });
    });
  })[0]);
  return success();
}

// The parts of `x` at the first `count` of a row of positions.
LoweredValue gatherFirst(Lowering &l, LoweredValue &x, LoweredValue &positions, AffineExpr count, int64_t axis) {
  LoweredValue chosen = l.slice(positions, {l.constant(0)}, {count}, {1});
  Extents shape = x.shape;
  shape[axis] = count;
  Value init = l.empty(shape, x.elementType);
  auto op = nn::GatherOp::create(l.b, l.loc(), init.getType(), l.tensor(x), l.tensor(chosen), Value(), init,
                                 l.b.getI64IntegerAttr(axis));
  return l.tensorValue(op->getResult(0), shape, x.elementType);
}

// The axis that the node names; where it names none, `x` becomes the row of all its elements.
FailureOr<int64_t> chosenAxis(Lowering &l, LoweredValue &x) {
  if (l.attr("axis")) {
    auto axis = l.normalizeAxis(l.intAttr("axis", 0), x.rank());
    if (!axis)
      return failure();
    return *axis;
  }
  auto row = l.reshape(x, {numElements(l, x.shape)});
  if (failed(row))
    return failure();
  x = *row;
  return 0;
}

LogicalResult compress(Lowering &l) {
  LoweredValue x = l.input(0), &condition = l.input(1);
  if (condition.rank() != 1)
    return l.error() << "a condition of shape " << l.print(condition.shape) << " is no list";
  auto chosen = chosenAxis(l, x);
  if (failed(chosen))
    return failure();
  int64_t axis = *chosen;
  // What the condition does not speak of is left out, and it may not speak of more than there is.
  AffineExpr most = condition.shape[0], there = x.shape[axis];
  if (auto less = l.extremum(most, there, /*larger=*/false))
    most = *less;
  if (auto least = l.dims.lowerBound(most); hasBlocks(l) && least && *least > 0) {
    LoweredValue spoken = l.slice(condition, {l.constant(0)}, {most}, {1}), counts = countUpTo(l, spoken);
    AffineExpr count = lastCount(l, counts, most);
    ScalarKernel kernel(l, 1);
    unsigned from = kernel.read(counts, {any}), to = kernel.write({count}, l.b.getI64Type(), {0});
    LoweredValue places = kernel.build([&](ScalarCode &c, ValueRange i) {
      c.store(c.convert(c.placeIn(from, i[0]), c.b.getI64Type()), to, {i[0]});
    })[0];
    l.define(0, gatherFirst(l, x, places, count, axis));
    return success();
  }
  ScalarKernel kernel(l, 0);
  unsigned from = kernel.read(condition, {any}), places = kernel.write({most}, l.b.getI64Type(), {any});
  unsigned total = kernel.write({l.constant(1)}, l.b.getI64Type(), {any});
  auto found = kernel.build([&](ScalarCode &c, ValueRange) {
    Type i64 = c.b.getI64Type();
    Value end = c.min(c.extent(from, 0), l.materialize(there));
    Value count = c.loop(c.index(0), end, c.index(0), [&](Value i, ValueRange place) -> ScalarCode::Values {
      return c.ifElse(
          c.load(from, {i}),
          [&]() -> ScalarCode::Values {
            c.store(c.convert(i, i64), places, {place[0]});
            return {c.add(place[0], c.index(1))};
          },
          [&]() -> ScalarCode::Values { return {place[0]}; });
    })[0];
    c.store(c.convert(count, i64), total, {c.index(0)});
  });
  l.define(0, gatherFirst(l, x, found[0], l.dataExtent(found[1], most), axis));
  return success();
}

// --- Unique -------------------------------------------------------------------------------------------------------

// Whether an element comes before another one (-1), is the same (0) or comes after it (1). NaN is the largest number.
Value compare(ScalarCode &c, Value x, Value y) {
  if (x.getType().isInteger(1)) {
    x = c.convert(x, c.b.getI8Type());
    y = c.convert(y, c.b.getI8Type());
  }
  Value before = c.less(x, y), after = c.less(y, x);
  if (isa<FloatType>(x.getType())) {
    Value xIsNumber = c.equal(x, x), yIsNumber = c.equal(y, y);
    before = c.either(before, c.both(xIsNumber, c.negate(yIsNumber)));
    after = c.either(after, c.both(c.negate(xIsNumber), yIsNumber));
  }
  return c.select(before, c.index(-1), c.select(after, c.index(1), c.index(0)));
}

// Items are the parts along the middle one of three dims. They are sorted by their elements, so that equal ones are side by
// side with the first one first.
LogicalResult unique(Lowering &l) {
  LoweredValue x = l.input(0);
  bool isSorted = l.intAttr("sorted", 1);
  auto chosen = chosenAxis(l, x);
  if (failed(chosen))
    return failure();
  int64_t axis = *chosen;
  ArrayRef<AffineExpr> extents = x.shape;
  AffineExpr length = x.shape[axis];
  auto cube = l.reshape(x, {numElements(l, extents.take_front(axis)), length, numElements(l, extents.drop_front(axis + 1))});
  if (failed(cube))
    return failure();
  ScalarKernel kernel(l, 0);
  Type i64 = l.b.getI64Type();
  unsigned from = kernel.read(*cube, {any, any, any});
  unsigned firsts = kernel.write({length}, i64, {any}), inverse = kernel.write({length}, i64, {any});
  unsigned counts = kernel.write({length}, i64, {any}), total = kernel.write({l.constant(1)}, i64, {any});
  unsigned order = kernel.write({length}, i64, {any}), other = kernel.write({length}, i64, {any});
  auto found = kernel.build([&](ScalarCode &c, ValueRange) {
    Value zero = c.index(0), one = c.index(1), count = c.extent(from, 1), inner = c.extent(from, 2);
    Value elements = c.mul(c.extent(from, 0), inner);
    auto get = [&](unsigned list, Value at) { return c.toIndex(c.load(list, {at})); };
    auto set = [&](Value number, unsigned list, Value at) { c.store(c.convert(number, i64), list, {at}); };
    auto compareItems = [&](Value a, Value b) {
      return c.whileLoop(
          {zero, zero}, [&](ValueRange s) { return c.both(c.equal(s[1], zero), c.less(s[0], elements)); },
          [&](ValueRange s) -> ScalarCode::Values {
            Value outside = c.div(s[0], inner), inside = c.rem(s[0], inner);
            return {c.add(s[0], one), compare(c, c.load(from, {outside, a, inside}), c.load(from, {outside, b, inside}))};
          })[1];
    };
    // Runs of twice the length are merged of two, again and again.
    c.loop(count, [&](Value i) { set(i, order, i); });
    c.whileLoop(
        one, [&](ValueRange width) { return c.less(width[0], count); },
        [&](ValueRange width) -> ScalarCode::Values {
          Value twice = c.add(width[0], width[0]), runs = c.div(c.add(count, c.sub(twice, one)), twice);
          c.loop(runs, [&](Value run) {
            Value start = c.mul(run, twice), middle = c.min(c.add(start, width[0]), count), end = c.min(c.add(start, twice), count);
            c.loop(start, end, {start, middle}, [&](Value at, ValueRange next) -> ScalarCode::Values {
              Value left = get(order, c.min(next[0], c.sub(count, one))), right = get(order, c.min(next[1], c.sub(count, one)));
              Value hasLeft = c.less(next[0], middle), hasRight = c.less(next[1], end);
              Value takesRight = c.ifElse(
                  c.both(hasLeft, hasRight),
                  [&]() -> ScalarCode::Values { return {c.less(compareItems(right, left), zero)}; },
                  [&]() -> ScalarCode::Values { return {hasRight}; })[0];
              set(c.select(takesRight, right, left), other, at);
              return {c.select(takesRight, next[0], c.add(next[0], one)), c.select(takesRight, c.add(next[1], one), next[1])};
            });
          });
          c.loop(count, [&](Value i) { set(get(other, i), order, i); });
          return {twice};
        });
    // Numbers of equal items, or of each item the first that equals it, in `other`.
    auto addTo = [&](Value group, bool isNew) {
      set(isNew ? one : c.add(get(counts, group), one), counts, group);
    };
    Value groups = c.loop(zero, count, {zero, zero}, [&](Value i, ValueRange s) -> ScalarCode::Values { // groups, the last first
      Value item = get(order, i);
      Value isNew = c.ifElse(
          c.less(zero, i),
          [&]() -> ScalarCode::Values {
            return {c.negate(c.equal(compareItems(get(order, c.sub(i, one)), item), zero))};
          },
          [&]() -> ScalarCode::Values { return {c.constant(c.b.getBoolAttr(true))}; })[0];
      Value first = c.select(isNew, item, s[1]), next = c.select(isNew, c.add(s[0], one), s[0]), group = c.sub(next, one);
      if (!isSorted) {
        set(first, other, item);
        return {next, first};
      }
      c.ifElse(
          isNew, [&]() -> ScalarCode::Values { set(item, firsts, group); addTo(group, true); return {}; },
          [&]() -> ScalarCode::Values { addTo(group, false); return {}; });
      set(group, inverse, item);
      return {next, first};
    })[0];
    if (!isSorted)
      c.loop(zero, count, zero, [&](Value item, ValueRange s) -> ScalarCode::Values {
        Value first = get(other, item);
        return c.ifElse(
            c.equal(first, item),
            [&]() -> ScalarCode::Values {
              set(item, firsts, s[0]);
              set(s[0], inverse, item);
              addTo(s[0], true);
              return {c.add(s[0], one)};
            },
            [&]() -> ScalarCode::Values {
              Value group = get(inverse, first);
              set(group, inverse, item);
              addTo(group, false);
              return {s[0]};
            });
      });
    set(groups, total, zero);
  });
  AffineExpr count = l.dataExtent(found[3], length);
  l.define(0, gatherFirst(l, x, found[0], count, axis));
  l.define(1, l.slice(found[0], {l.constant(0)}, {count}, {1}));
  l.define(2, found[1]);
  l.define(3, l.slice(found[2], {l.constant(0)}, {count}, {1}));
  return success();
}
} // namespace

void snug::addDataSizeOps(LoweringTable &t) {
  t.add("NonZero", 9, nonZero);
  t.add("Compress", 9, compress, types::All);
  t.add("Unique", 11, unique);
}
