// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// NonMaxSuppression: of each class, the best box and again the best of those that do not overlap one taken before. A kernel
// takes them, side by side for all classes, and looks at the boxes of a class in parallel; how many there are is a size computed
// from data.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include <algorithm>
#include <limits>

using namespace mlir;
using namespace snug;

namespace {
constexpr int any = ScalarKernel::Any;

// Corners along one axis.
struct Side {
  Value low, high;
};

LogicalResult nonMaxSuppression(Lowering &l) {
  LoweredValue boxes = l.input(0), scores = l.input(1);
  if (boxes.rank() != 3 || scores.rank() != 3 || !l.same(boxes.shape[2], 4) || !l.same(boxes.shape[0], scores.shape[0]) ||
      !l.same(boxes.shape[1], scores.shape[2]))
    return l.error() << "boxes of shape " << l.print(boxes.shape) << " and scores of shape " << l.print(scores.shape)
                     << " do not fit";
  bool isCentered = l.intAttr("center_point_box", 0), hasMost = l.hasInput(2), hasOverlap = l.hasInput(3);
  bool hasLeast = l.hasInput(4);
  AffineExpr batch = boxes.shape[0], classes = scores.shape[1], count = boxes.shape[1];
  // Of a class there are no more than all boxes, nor than the input says where that is known.
  std::optional<Extents> given = hasMost ? l.ints(l.input(2)) : Extents{l.constant(0)};
  AffineExpr taken = count;
  if (given && given->size() == 1) {
    auto number = dyn_cast<AffineConstantExpr>(given->front());
    AffineExpr most = number ? l.constant(std::max<int64_t>(1, number.getValue())) : given->front(); // with room for one where none is taken
    auto bound = l.dims.upperBound(most), all = l.dims.upperBound(count);
    if (bound && (!all || *bound < *all))
      taken = most;
  }
  Type i64 = l.b.getI64Type(), f32 = l.b.getF32Type();
  auto anyDims = [](LoweredValue &value) { return SmallVector<int>(value.rank(), any); };
  ScalarKernel kernel(l, 2); // batch, class
  unsigned corners = kernel.read(boxes, {0, any, any}), score = kernel.read(scores, {0, 1, any});
  unsigned most = hasMost ? kernel.read(l.input(2), anyDims(l.input(2))) : 0;
  unsigned overlap = hasOverlap ? kernel.read(l.input(3), anyDims(l.input(3))) : 0;
  unsigned least = hasLeast ? kernel.read(l.input(4), anyDims(l.input(4))) : 0;
  unsigned chosen = kernel.write({batch, classes, taken}, i64, {0, 1, any}), counts = kernel.write({batch, classes}, i64, {0, 1});
  unsigned open = kernel.write({batch, classes, count}, l.b.getI8Type(), {0, 1, any}); // boxes that may still be taken
  auto found = kernel.build([&](ScalarCode &c, ValueRange at) {
    Value zero = c.index(0), one = c.index(1), all = c.extent(score, 2), half = c.number(f32, 0.5);
    Value nothing = c.number(f32, 0);
    auto only = [&](unsigned operand, LoweredValue &value) {
      return c.load(operand, SmallVector<Value>(value.rank(), zero));
    };
    auto flag = [&](bool value) { return c.number(c.b.getI8Type(), value); };
    auto isOpen = [&](Value box) { return c.equal(c.load(open, {at[0], at[1], box}), flag(true)); };
    auto scoreOf = [&](Value box) { return c.load(score, {at[0], at[1], box}); };
    auto side = [&](Value box, int axis) {
      Value first = c.load(corners, {at[0], box, c.index(axis)}), second = c.load(corners, {at[0], box, c.index(axis + 2)});
      if (!isCentered)
        return Side{c.min(first, second), c.max(first, second)};
      Value reach = c.mul(second, half);
      return Side{c.sub(first, reach), c.add(first, reach)};
    };
    auto area = [&](Side x, Side y) { return c.mul(c.sub(x.high, x.low), c.sub(y.high, y.low)); };
    auto shared = [&](Side a, Side b) { return Side{c.max(a.low, b.low), c.min(a.high, b.high)}; };
    Value limit = hasOverlap ? c.convert(only(overlap, l.input(3)), f32) : nothing;
    // The highest score of the boxes that are left.
    Value lowest = c.number(f32, -std::numeric_limits<double>::infinity());
    Value highest = c.reduce(all, ScalarCode::Kind::Max, lowest, [&](Value box) {
      Value element = scoreOf(box), isIn = c.equal(element, element);
      if (hasLeast)
        isIn = c.less(only(least, l.input(4)), element);
      c.store(c.select(isIn, flag(true), flag(false)), open, {at[0], at[1], box});
      return c.select(isIn, element, lowest);
    });
    Value end = zero;
    if (hasMost)
      end = c.min(c.toIndex(only(most, l.input(2))), c.extent(chosen, 2));
    // The first box of that score, or, where none is left, the number of boxes.
    auto firstOf = [&](Value highest) {
      Value none = c.convert(all, i64);
      return c.toIndex(c.reduce(all, ScalarCode::Kind::Min, none, [&](Value box) {
        return c.select(c.both(isOpen(box), c.equal(scoreOf(box), highest)), c.convert(box, i64), none);
      }));
    };
    Value number = c.whileLoop(
        {zero, firstOf(highest)}, [&](ValueRange s) { return c.both(c.less(s[0], end), c.less(s[1], all)); },
        [&](ValueRange s) -> ScalarCode::Values {
          Value box = s[1];
          c.store(c.convert(box, i64), chosen, {at[0], at[1], s[0]});
          Side x = side(box, 0), y = side(box, 1);
          Value own = area(x, y);
          auto overlaps = [&](Value other) {
            Side x2 = side(other, 0), y2 = side(other, 1), bothX = shared(x, x2), bothY = shared(y, y2);
            Value common = area(bothX, bothY), its = area(x2, y2), together = c.sub(c.add(own, its), common);
            Value meets = c.both(c.less(bothX.low, bothX.high), c.less(bothY.low, bothY.high));
            meets = c.both(meets, c.both(c.less(nothing, own), c.less(nothing, its)));
            meets = c.both(meets, c.both(c.less(nothing, together), c.less(nothing, common)));
            return c.both(meets, c.less(limit, c.div(common, together)));
          };
          Value highest = c.reduce(all, ScalarCode::Kind::Max, lowest, [&](Value other) {
            auto unlessGone = [&]() -> ScalarCode::Values {
              return c.ifElse(
                  c.either(c.equal(other, box), overlaps(other)),
                  [&]() -> ScalarCode::Values {
                    c.store(flag(false), open, {at[0], at[1], other});
                    return {lowest};
                  },
                  [&]() -> ScalarCode::Values { return {scoreOf(other)}; });
            };
            return c.ifElse(isOpen(other), unlessGone, [&]() -> ScalarCode::Values { return {lowest}; })[0];
          });
          return {c.add(s[0], one), firstOf(highest)};
        })[0];
    c.store(c.convert(number, i64), counts, {at[0], at[1]});
  });
  auto lengths = l.reshape(found[1], {normalExtent(batch * classes)});
  if (failed(lengths))
    return failure();
  ScalarKernel adding(l, 0);
  unsigned from = adding.read(*lengths, {any}), total = adding.write({l.constant(1)}, i64, {any});
  auto sum = adding.build([&](ScalarCode &c, ValueRange) {
    Value all = c.reduce(c.extent(from, 0), ScalarCode::Kind::Sum, c.number(i64, 0), [&](Value i) { return c.load(from, {i}); });
    c.store(all, total, {c.index(0)});
  });
  AffineExpr rows = l.dataExtent(sum[0], normalExtent(batch * classes * taken));
  // Where rows of each class end: a row finds its own.
  Value init = l.empty(lengths->shape, i64);
  auto scan = nn::ScanOp::create(l.b, l.loc(), init.getType(), l.tensor(*lengths), init, nn::ScanKind::Sum, /*dim=*/0,
                                 /*exclusive=*/false, /*reverse=*/false);
  LoweredValue ends = l.tensorValue(scan->getResult(0), lengths->shape, i64);
  ScalarKernel listing(l, 1); // row
  unsigned list = listing.read(found[0], {any, any, any}), length = listing.read(*lengths, {any}), until = listing.read(ends, {any});
  unsigned to = listing.write({rows, l.constant(3)}, i64, {0, any});
  l.define(0, listing.build([&](ScalarCode &c, ValueRange row) {
    Value number = c.placeIn(until, row[0]), classesOfAll = c.extent(list, 1);
    Value image = c.div(number, classesOfAll), kind = c.rem(number, classesOfAll);
    Value start = c.toIndex(c.sub(c.load(until, {number}), c.load(length, {number})));
    c.store(c.convert(image, i64), to, {row[0], c.index(0)});
    c.store(c.convert(kind, i64), to, {row[0], c.index(1)});
    c.store(c.load(list, {image, kind, c.sub(row[0], start)}), to, {row[0], c.index(2)});
  })[0]);
  return success();
}
} // namespace

void snug::addNonMaxSuppression(LoweringTable &t) { t.add("NonMaxSuppression", 10, nonMaxSuppression); }
