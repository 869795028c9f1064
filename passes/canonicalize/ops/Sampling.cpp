// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Images read at places that are data: GridSample, DeformConv, and the grids they are given.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"

using namespace mlir;
using namespace snug;

namespace {
constexpr int any = ScalarKernel::Any;

// --- GridSample ---------------------------------------------------------------------------------------------------

enum class Padding { Zeros, Border, Reflection };

struct Sampler {
  ScalarCode &c;
  ScalarKernel &kernel;
  unsigned image;
  Type real;
  Padding padding;
  bool alignsCorners;

  Value number(double value) { return c.number(real, value); }
  Value length(unsigned dim) { return c.convert(c.extent(image, dim + 2), real); }
  // The borders that reflection mirrors at.
  std::pair<Value, Value> borders(unsigned dim) {
    Value extent = length(dim);
    if (alignsCorners)
      return {number(0), c.sub(extent, number(1))};
    return {number(-0.5), c.sub(extent, number(0.5))};
  }
  Value reflect(Value x, unsigned dim) {
    std::pair<Value, Value> ends = borders(dim);
    Value low = ends.first, high = ends.second, range = c.sub(high, low);
    auto turned = [&](Value beyond, Value first, Value second) {
      // How many times it has been mirrored decides where it comes from.
      Value times = c.floor(c.div(beyond, range)), rest = c.sub(beyond, c.mul(times, range));
      Value half = c.mul(times, number(0.5)), even = c.equal(c.floor(half), half);
      Value fromFirst = c.select(c.lessEqual(first, low), c.add(first, rest), c.sub(first, rest));
      Value fromSecond = c.select(c.lessEqual(second, low), c.add(second, rest), c.sub(second, rest));
      return c.select(even, fromFirst, fromSecond);
    };
    Value below = turned(c.sub(low, x), low, high), above = turned(c.sub(x, high), high, low);
    Value inside = c.select(c.less(x, low), below, c.select(c.less(high, x), above, x));
    return c.select(c.less(low, high), inside, low); // one element is its own mirror
  }
  // Coordinates of -1 .. 1 as places in the image, moved into it as the padding says.
  Value place(Value x, unsigned dim, bool rounds) {
    Value one = number(1), two = number(2), extent = length(dim);
    if (alignsCorners)
      x = c.mul(c.div(c.add(x, one), two), c.sub(extent, one));
    else
      x = c.div(c.sub(c.mul(c.add(x, one), extent), one), two);
    if (rounds)
      x = math::RoundEvenOp::create(c.b, c.loc, x);
    auto [low, high] = borders(dim);
    Value outside = c.either(c.less(x, low), c.less(high, x));
    if (padding == Padding::Border)
      return c.select(outside, c.max(c.min(x, c.sub(extent, one)), number(0)), x);
    return padding == Padding::Reflection ? c.select(outside, reflect(x, dim), x) : x;
  }
  // An index at a whole place, and whether there is an element (null: always).
  std::pair<Value, Value> at(Value x, unsigned dim) {
    Value extent = c.extent(image, dim + 2), isInside;
    if (padding == Padding::Zeros)
      isInside = c.both(c.lessEqual(number(0), x), c.less(x, length(dim)));
    if (padding == Padding::Reflection)
      x = reflect(x, dim);
    // A place that is no number, or far away, would not convert.
    x = c.select(c.less(number(-1), x), c.select(c.less(x, length(dim)), x, length(dim)), number(-1));
    return {c.clamp(c.toIndex(c.convert(x, c.b.getI64Type())), extent), isInside};
  }
  SmallVector<Value> weights(Value t, bool cubic) {
    Value one = number(1);
    if (!cubic)
      return {c.sub(one, t), t};
    double a = -0.75;
    auto near = [&](Value x) { // |x| <= 1
      return c.add(c.mul(c.mul(c.sub(c.mul(number(a + 2), x), number(a + 3)), x), x), one);
    };
    auto far = [&](Value x) { // 1 < |x| < 2
      Value inner = c.add(c.mul(c.sub(c.mul(number(a), x), number(5 * a)), x), number(8 * a));
      return c.sub(c.mul(inner, x), number(4 * a));
    };
    return {far(c.add(t, one)), near(t), near(c.sub(one, t)), far(c.sub(number(2), t))};
  }
};

LogicalResult gridSample(Lowering &l) {
  LoweredValue &x = l.input(0), &grid = l.input(1);
  StringRef mode = l.stringAttr("mode", "linear"), padding = l.stringAttr("padding_mode", "zeros");
  bool cubic = mode.ends_with("cubic"), nearest = mode == "nearest";
  unsigned rank = x.rank() < 3 ? 0 : x.rank() - 2;
  auto type = dyn_cast<FloatType>(x.elementType);
  if (!rank || rank > 3 || !type || grid.rank() != x.rank() || !l.same(grid.shape.back(), l.constant(rank)) ||
      !l.same(grid.shape[0], x.shape[0]) || !isa<FloatType>(grid.elementType) ||
      (!cubic && !nearest && !mode.ends_with("linear")) || (padding != "zeros" && padding != "border" && padding != "reflection"))
    return l.error() << "mode '" << mode << "', padding '" << padding << "' and a grid of shape " << l.print(grid.shape)
                     << " do not go with an input of shape " << l.print(x.shape);
  Padding pads = padding == "zeros" ? Padding::Zeros : padding == "border" ? Padding::Border : Padding::Reflection;
  bool alignsCorners = l.intAttr("align_corners", 0);
  Extents shape = {x.shape[0], x.shape[1]};
  SmallVector<int> image = {0, 1}, places = {0};
  for (unsigned dim = 0; dim < rank; ++dim) {
    shape.push_back(grid.shape[1 + dim]);
    image.push_back(any);
    places.push_back(2 + dim);
  }
  places.push_back(any);
  ScalarKernel kernel(l, rank + 2);
  unsigned from = kernel.read(x, image), where = kernel.read(grid, places);
  unsigned to = kernel.write(shape, type, dimsInOrder(rank + 2));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    Type real = kernel.computedType(from);
    Sampler s{c, kernel, from, real, pads, alignsCorners};
    // Taps of each dim: index, weight, whether it is there.
    struct Tap {
      Value index, weight, isInside;
    };
    SmallVector<SmallVector<Tap>> taps(rank);
    for (unsigned dim = 0; dim < rank; ++dim) {
      SmallVector<Value> component = {i[0]};
      llvm::append_range(component, i.drop_front(2));
      component.push_back(c.index(rank - 1 - dim)); // coordinates are in the order x, y, z
      Value at = s.place(c.convert(c.load(where, component), real), dim, nearest);
      if (nearest) {
        auto [index, isInside] = s.at(at, dim);
        taps[dim] = {{index, Value(), isInside}};
        continue;
      }
      Value below = c.floor(at);
      SmallVector<Value> weights = s.weights(c.sub(at, below), cubic);
      for (auto [tap, weight] : llvm::enumerate(weights)) {
        auto [index, isInside] = s.at(c.add(below, s.number(static_cast<double>(tap) - (cubic ? 1 : 0))), dim);
        taps[dim].push_back({index, weight, isInside});
      }
    }
    std::function<Value(unsigned, SmallVector<Value>, Value)> interpolate = [&](unsigned dim, SmallVector<Value> at,
                                                                                Value isInside) -> Value {
      if (dim == rank) {
        Value element = c.load(from, at);
        return isInside ? c.select(isInside, element, s.number(0)) : element;
      }
      Value sum;
      for (const Tap &tap : taps[dim]) {
        SmallVector<Value> next = at;
        next.push_back(tap.index);
        Value inside = isInside && tap.isInside ? c.both(isInside, tap.isInside) : tap.isInside;
        Value value = interpolate(dim + 1, next, inside);
        if (tap.weight)
          value = c.mul(value, tap.weight);
        sum = sum ? c.add(sum, value) : value;
      }
      return sum;
    };
    c.store(interpolate(0, {i[0], i[1]}, Value()), to, i);
  })[0]);
  return success();
}

// Places of -1 .. 1 under an affine map.
LogicalResult affineGrid(Lowering &l) {
  LoweredValue &theta = l.input(0);
  auto size = l.ints(l.input(1));
  auto type = dyn_cast<FloatType>(theta.elementType);
  unsigned rank = size && size->size() >= 2 ? size->size() - 2 : 0;
  if (!size)
    return l.error() << "a size that is computed from data is not supported; give it with --value";
  if ((rank != 2 && rank != 3) || !type || theta.rank() != 3 || !l.same(theta.shape[1], l.constant(rank)) ||
      !l.same(theta.shape[2], l.constant(rank + 1)))
    return l.error() << "theta of shape " << l.print(theta.shape) << " does not fit a size of " << size->size() << " dims";
  if (!areExtents(l, *size))
    return failure();
  bool alignsCorners = l.intAttr("align_corners", 0);
  Extents shape = {theta.shape[0]};
  SmallVector<AffineExpr> spatial(size->begin() + 2, size->end());
  llvm::append_range(shape, spatial);
  shape.push_back(l.constant(rank));
  ScalarKernel kernel(l, rank + 2);
  unsigned from = kernel.read(theta, {0, static_cast<int>(rank + 1), any});
  unsigned to = kernel.write(shape, type, dimsInOrder(rank + 2));
  Type real = computeType(type);
  SmallVector<Value> extents;
  for (AffineExpr extent : spatial)
    extents.push_back(l.materialize(extent));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    Value one = c.number(real, 1), two = c.number(real, 2);
    auto row = [&](unsigned column) { return c.load(from, {i[0], i[rank + 1], c.index(column)}); };
    Value sum;
    for (unsigned k = 0; k < rank; ++k) { // x first
      unsigned dim = rank - 1 - k;
      Value at = c.convert(c.place(1 + dim), real), extent = c.convert(extents[dim], real), x;
      if (alignsCorners)
        x = c.sub(c.div(c.mul(at, two), c.sub(extent, one)), one);
      else
        x = c.sub(c.div(c.add(c.mul(at, two), one), extent), one);
      Value product = c.mul(row(k), x);
      sum = sum ? c.add(sum, product) : product;
    }
    c.store(c.add(sum, row(rank)), to, i);
  })[0]);
  return success();
}

// --- deformable convolution ---------------------------------------------------------------------------------------

LogicalResult deformConv(Lowering &l) {
  LoweredValue &x = l.input(0), &w = l.input(1), &offset = l.input(2);
  bool hasBias = l.hasInput(3), hasMask = l.hasInput(4);
  auto type = dyn_cast<FloatType>(x.elementType);
  int64_t groups = l.intAttr("group", 1), offsetGroups = l.intAttr("offset_group", 1);
  SmallVector<int64_t> strides = l.intsAttr("strides").value_or(SmallVector<int64_t>{1, 1});
  SmallVector<int64_t> dilations = l.intsAttr("dilations").value_or(SmallVector<int64_t>{1, 1});
  SmallVector<int64_t> pads = l.intsAttr("pads").value_or(SmallVector<int64_t>{0, 0, 0, 0});
  auto stated = l.intsAttr("kernel_shape");
  bool fits = x.rank() == 4 && type && w.rank() == 4 && offset.rank() == 4 && strides.size() == 2 && dilations.size() == 2 &&
              pads.size() == 4 && groups > 0 && offsetGroups > 0 && (!stated || stated->size() == 2);
  for (unsigned i = 0; fits && stated && i < 2; ++i)
    fits = l.same(w.shape[2 + i], (*stated)[i]);
  if (!fits || !l.same(x.shape[1], w.shape[1] * groups) ||
      !l.same(offset.shape[1], w.shape[2] * w.shape[3] * (2 * offsetGroups)))
    return l.error() << "a weight of shape " << l.print(w.shape) << " and offsets of shape " << l.print(offset.shape)
                     << " do not fit an input of shape " << l.print(x.shape);
  for (auto [extent, parts] : {std::pair(w.shape[0], groups), std::pair(x.shape[1], offsetGroups)})
    if (!l.quotient(extent, l.constant(parts)))
      return l.error() << "extent " << l.dims.print(extent) << " cannot be cut into " << parts << " groups"
                       << l.stepHint(extent, parts);
  ScalarKernel kernel(l, 4);
  unsigned image = kernel.read(x, {0, any, any, any}), weight = kernel.read(w, {1, any, any, any});
  unsigned shifts = kernel.read(offset, {0, any, 2, 3}), bias = 0, mask = 0;
  if (hasBias)
    bias = kernel.read(l.input(3), {1});
  if (hasMask)
    mask = kernel.read(l.input(4), {0, any, 2, 3});
  unsigned to = kernel.write({x.shape[0], w.shape[0], offset.shape[2], offset.shape[3]}, type, {0, 1, 2, 3});
  Type real = computeType(type), i64 = l.b.getI64Type();
  Value outputs = l.materialize(w.shape[0]); // of all, where some are computed
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    auto number = [&](double value) { return c.number(real, value); };
    auto index = [&](int64_t value) { return c.index(value); };
    Value members = c.extent(weight, 1), rows = c.extent(weight, 2), columns = c.extent(weight, 3);
    Value perGroup = c.div(outputs, index(groups)), perOffsetGroup = c.div(c.extent(image, 1), index(offsetGroups));
    Value first = c.mul(c.div(c.place(1), perGroup), members);
    Value start = hasBias ? c.load(bias, {i[1]}) : number(0);
    Value total = c.sum(index(0), members, start, [&](Value member, Value perChannel) {
      Value channel = c.add(first, member), offsetGroup = c.div(channel, perOffsetGroup);
      return c.sum(index(0), rows, perChannel, [&](Value row, Value perRow) {
        return c.sum(index(0), columns, perRow, [&](Value column, Value sum) {
          Value tap = c.add(c.mul(c.add(c.mul(offsetGroup, rows), row), columns), column);
          auto place = [&](unsigned dim, Value step) {
            Value whole = c.add(c.mul(c.place(2 + dim), index(strides[dim])), c.mul(step, index(dilations[dim])));
            Value shift = c.load(shifts, {i[0], c.add(c.mul(tap, index(2)), index(dim)), i[2], i[3]});
            return c.add(c.convert(c.sub(whole, index(pads[dim])), real), shift);
          };
          struct Side {
            Value below, rest;
          };
          auto side = [&](unsigned dim, Value step) {
            Value at = place(dim, step), below = c.floor(at);
            return Side{below, c.sub(at, below)};
          };
          Side y = side(0, row), xx = side(1, column);
          Value value;
          for (bool bottom : {false, true})
            for (bool right : {false, true}) {
              auto one = [&](const Side &s, unsigned dim, bool second) {
                Value at = second ? c.add(s.below, number(1)) : s.below, extent = c.extent(image, 2 + dim);
                Value inside = c.both(c.lessEqual(number(0), at), c.less(at, c.convert(extent, real)));
                Value safe = c.select(inside, at, number(0));
                Value factor = second ? s.rest : c.sub(number(1), s.rest);
                return std::tuple(c.toIndex(c.convert(safe, i64)), factor, inside);
              };
              auto [yAt, yWeight, yInside] = one(y, 0, bottom);
              auto [xAt, xWeight, xInside] = one(xx, 1, right);
              Value part = c.mul(c.mul(yWeight, xWeight), c.load(image, {i[0], channel, yAt, xAt}));
              part = c.select(c.both(yInside, xInside), part, number(0));
              value = value ? c.add(value, part) : part;
            }
          value = c.mul(value, c.load(weight, {i[1], member, row, column}));
          if (hasMask)
            value = c.mul(value, c.load(mask, {i[0], tap, i[2], i[3]}));
          return c.add(sum, value);
        });
      });
    });
    c.store(total, to, i);
  })[0]);
  return success();
}
} // namespace

void snug::addSamplingOps(LoweringTable &t) {
  t.add("GridSample", 16, gridSample);
  t.add("AffineGrid", 20, affineGrid);
  t.add("DeformConv", 19, deformConv);
}
