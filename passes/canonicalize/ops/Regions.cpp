// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Regions of images, whose corners are data: RoiAlign, MaxRoiPool.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"

using namespace mlir;
using namespace snug;

namespace {
constexpr int any = ScalarKernel::Any;

// The four neighbours of a place, whose weights follow from where it is between them.
struct Corner {
  Value index, weight;
};
std::pair<Corner, Corner> neighbours(ScalarCode &c, Value at, Value extent) {
  Type real = at.getType();
  Value last = c.sub(extent, c.index(1)), low = c.toIndex(c.convert(at, c.b.getI64Type()));
  Value atEnd = c.lessEqual(last, low);
  low = c.select(atEnd, last, low);
  Value high = c.select(atEnd, last, c.add(low, c.index(1)));
  Value rest = c.select(atEnd, c.number(real, 0), c.sub(at, c.convert(low, real)));
  return {{low, c.sub(c.number(real, 1), rest)}, {high, rest}};
}

LogicalResult roiAlign(Lowering &l) {
  LoweredValue &x = l.input(0), &rois = l.input(1), &batches = l.input(2);
  auto type = dyn_cast<FloatType>(x.elementType);
  StringRef mode = l.stringAttr("mode", "avg");
  if (x.rank() != 4 || !type || rois.rank() != 2 || !l.same(rois.shape[1], l.constant(4)) || batches.rank() != 1 ||
      !l.same(batches.shape[0], rois.shape[0]) || (mode != "avg" && mode != "max"))
    return l.error() << "regions of shape " << l.print(rois.shape) << " and mode '" << mode
                     << "' do not go with an input of shape " << l.print(x.shape);
  StringRef coordinates =
      l.stringAttr("coordinate_transformation_mode", l.node().getOpset() < 16 ? "output_half_pixel" : "half_pixel");
  bool halfPixel = coordinates == "half_pixel", averages = mode == "avg";
  int64_t sampling = l.intAttr("sampling_ratio", 0);
  int64_t height = l.intAttr("output_height", 1), width = l.intAttr("output_width", 1);
  if (!areExtents(l, {l.constant(height), l.constant(width)}))
    return failure();
  double scale = l.floatAttr("spatial_scale", 1);
  ScalarKernel kernel(l, 4); // region, channel, row, column
  unsigned image = kernel.read(x, {any, 1, any, any}), regions = kernel.read(rois, {0, any});
  unsigned batch = kernel.read(batches, {0});
  unsigned to = kernel.write({rois.shape[0], x.shape[1], l.constant(height), l.constant(width)}, type, {0, 1, 2, 3});
  Type real = computeType(type);
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    auto number = [&](double value) { return c.number(real, value); };
    Value n = c.clamp(c.toIndex(c.load(batch, {i[0]})), c.extent(image, 0)), zero = number(0);
    struct Side {
      Value start, bin, count; // bins and how many samples one has
    };
    auto side = [&](unsigned first, int64_t bins) {
      auto edge = [&](unsigned column) {
        Value at = c.mul(c.convert(c.load(regions, {i[0], c.index(column)}), real), number(scale));
        return c.sub(at, number(halfPixel ? 0.5 : 0));
      };
      Value start = edge(first), extent = c.sub(edge(first + 2), start);
      if (!halfPixel)
        extent = c.max(extent, number(1));
      Value bin = c.div(extent, number(static_cast<double>(bins)));
      Value count = number(static_cast<double>(sampling));
      if (sampling <= 0)
        count = math::CeilOp::create(c.b, c.loc, bin);
      // A region that is no number, or as large as no image, has no more samples than this.
      count = c.select(c.less(count, number(4096)), c.select(c.less(zero, count), count, zero), number(4096));
      return Side{start, bin, count};
    };
    Side across = side(0, width), down = side(1, height);
    auto sample = [&](const Side &s, Value bin, Value k) {
      Value inside = c.div(c.mul(c.add(c.convert(k, real), number(0.5)), s.bin), s.count);
      return c.add(c.add(s.start, c.mul(c.convert(bin, real), s.bin)), inside);
    };
    auto toCount = [&](const Side &s) { return c.toIndex(c.convert(s.count, c.b.getI64Type())); };
    Value rows = toCount(down), columns = toCount(across), row = c.place(2), column = c.place(3);
    Value first = number(averages ? 0 : -INFINITY);
    Value total = c.sum(c.index(0), rows, first, [&](Value iy, Value outer) {
      return c.sum(c.index(0), columns, outer, [&](Value ix, Value sum) {
        Value y = sample(down, row, iy), xx = sample(across, column, ix);
        auto near = [&](Value at, unsigned dim) {
          return c.both(c.lessEqual(number(-1), at), c.lessEqual(at, c.convert(c.extent(image, dim), real)));
        };
        Value inside = c.both(near(y, 2), near(xx, 3));
        auto held = [&](Value at) { return c.select(inside, c.max(at, zero), zero); };
        auto [top, bottom] = neighbours(c, held(y), c.extent(image, 2));
        auto [left, right] = neighbours(c, held(xx), c.extent(image, 3));
        Value value;
        for (const Corner &v : {top, bottom})
          for (const Corner &h : {left, right}) {
            Value part = c.mul(c.mul(v.weight, h.weight), c.load(image, {n, i[1], v.index, h.index}));
            value = !value ? part : averages ? c.add(value, part) : c.max(value, part);
          }
        value = c.select(inside, value, zero);
        return averages ? c.add(sum, value) : c.max(sum, value);
      });
    });
    if (averages)
      total = c.div(total, c.max(c.mul(down.count, across.count), number(1)));
    else
      total = c.select(c.equal(total, number(-INFINITY)), zero, total);
    c.store(total, to, i);
  })[0]);
  return success();
}

LogicalResult maxRoiPool(Lowering &l) {
  LoweredValue &x = l.input(0), &rois = l.input(1);
  auto type = dyn_cast<FloatType>(x.elementType);
  auto pooled = l.intsAttr("pooled_shape");
  if (x.rank() != 4 || !type || rois.rank() != 2 || !l.same(rois.shape[1], l.constant(5)) || !pooled || pooled->size() != 2 ||
      (*pooled)[0] < 1 || (*pooled)[1] < 1)
    return l.error() << "regions of shape " << l.print(rois.shape) << " do not go with an input of shape " << l.print(x.shape);
  double scale = l.floatAttr("spatial_scale", 1);
  ScalarKernel kernel(l, 4);
  unsigned image = kernel.read(x, {any, 1, any, any}), regions = kernel.read(rois, {0, any});
  unsigned to = kernel.write({rois.shape[0], x.shape[1], l.constant((*pooled)[0]), l.constant((*pooled)[1])}, type, {0, 1, 2, 3});
  Type real = computeType(type), i64 = l.b.getI64Type();
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    auto number = [&](double value) { return c.number(real, value); };
    auto column = [&](unsigned k) { return c.convert(c.load(regions, {i[0], c.index(k)}), real); };
    auto whole = [&](Value v) { // no number would not convert
      Value held = c.select(c.less(number(-1e9), v), c.select(c.less(v, number(1e9)), v, number(1e9)), number(-1e9));
      return c.toIndex(c.convert(held, i64));
    };
    Value n = c.clamp(whole(column(0)), c.extent(image, 0));
    auto range = [&](unsigned first, unsigned dim, int64_t bins) {
      auto edge = [&](unsigned k) {
        Value at = c.mul(column(k), number(scale));
        return whole(math::RoundOp::create(c.b, c.loc, at));
      };
      Value start = edge(first), end = edge(first + 2);
      Value length = c.convert(c.max(c.add(c.sub(end, start), c.index(1)), c.index(1)), real);
      Value bin = c.div(length, number(static_cast<double>(bins))), place = c.convert(c.place(dim), real);
      Value extent = c.extent(image, dim), zero = c.index(0);
      Value low = whole(c.floor(c.mul(place, bin)));
      Value high = whole(math::CeilOp::create(c.b, c.loc, c.mul(c.add(place, number(1)), bin)));
      auto inside = [&](Value at) { return c.min(c.max(c.add(at, start), zero), extent); };
      return std::pair(inside(low), inside(high));
    };
    std::pair<Value, Value> down = range(2, 2, (*pooled)[0]), across = range(1, 3, (*pooled)[1]);
    Value top = down.first, bottom = down.second, left = across.first, right = across.second;
    Value most = c.sum(top, bottom, number(-INFINITY), [&](Value row, Value outer) {
      return c.sum(left, right, outer, [&](Value at, Value best) {
        return c.max(best, c.load(image, {n, i[1], row, at}));
      });
    });
    Value isEmpty = c.either(c.lessEqual(bottom, top), c.lessEqual(right, left));
    c.store(c.select(isEmpty, number(0), most), to, i);
  })[0]);
  return success();
}
} // namespace

void snug::addRegionOps(LoweringTable &t) {
  t.add("RoiAlign", 10, roiAlign);
  t.add("MaxRoiPool", 1, maxRoiPool);
}
