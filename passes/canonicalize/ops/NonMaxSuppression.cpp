// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// NonMaxSuppression: of each class, the best box and again the best of those that do not overlap one taken before. A kernel
// takes them, side by side for all classes; how many there are is a size computed from data.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"

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
    AffineExpr most = number && number.getValue() < 0 ? l.constant(0) : given->front();
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
    Value zero = c.index(0), one = c.index(1), none = c.index(-1), all = c.extent(score, 2), half = c.number(f32, 0.5);
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
    c.loop(all, [&](Value box) {
      Value element = scoreOf(box), isIn = c.equal(element, element);
      if (hasLeast)
        isIn = c.less(only(least, l.input(4)), element);
      c.store(c.select(isIn, flag(true), flag(false)), open, {at[0], at[1], box});
    });
    Value end = zero;
    if (hasMost)
      end = c.min(c.toIndex(only(most, l.input(2))), c.extent(chosen, 2));
    auto best = [&] {
      return c.loop(zero, all, none, [&](Value box, ValueRange s) -> ScalarCode::Values {
        Value other = c.max(s[0], zero);
        Value isBetter = c.both(isOpen(box), c.either(c.less(s[0], zero), c.less(scoreOf(other), scoreOf(box))));
        return {c.select(isBetter, box, s[0])};
      })[0];
    };
    Value number = c.whileLoop(
        {zero, best()}, [&](ValueRange s) { return c.both(c.less(s[0], end), c.lessEqual(zero, s[1])); },
        [&](ValueRange s) -> ScalarCode::Values {
          Value box = s[1];
          c.store(c.convert(box, i64), chosen, {at[0], at[1], s[0]});
          c.store(flag(false), open, {at[0], at[1], box});
          Side x = side(box, 0), y = side(box, 1);
          Value own = area(x, y);
          c.loop(all, [&](Value other) {
            c.ifThen(isOpen(other), [&] {
              Side x2 = side(other, 0), y2 = side(other, 1), bothX = shared(x, x2), bothY = shared(y, y2);
              Value common = area(bothX, bothY), its = area(x2, y2), together = c.sub(c.add(own, its), common);
              Value meets = c.both(c.less(bothX.low, bothX.high), c.less(bothY.low, bothY.high));
              meets = c.both(meets, c.both(c.less(nothing, own), c.less(nothing, its)));
              meets = c.both(meets, c.both(c.less(nothing, together), c.less(nothing, common)));
              meets = c.both(meets, c.less(limit, c.div(common, together)));
              c.ifThen(meets, [&] { c.store(flag(false), open, {at[0], at[1], other}); });
            });
          });
          return {c.add(s[0], one), best()};
        })[0];
    c.store(c.convert(number, i64), counts, {at[0], at[1]});
  });
  ScalarKernel adding(l, 0);
  unsigned from = adding.read(found[1], {any, any}), total = adding.write({l.constant(1)}, i64, {any});
  auto sum = adding.build([&](ScalarCode &c, ValueRange) {
    Value classesOfAll = c.extent(from, 1);
    Value value = c.sum(c.index(0), c.mul(c.extent(from, 0), classesOfAll), c.number(i64, 0), [&](Value i, Value sum) {
      return c.add(sum, c.load(from, {c.div(i, classesOfAll), c.rem(i, classesOfAll)}));
    });
    c.store(value, total, {c.index(0)});
  });
  AffineExpr rows = l.dataExtent(sum[0], normalExtent(batch * classes * taken));
  ScalarKernel listing(l, 0);
  unsigned list = listing.read(found[0], {any, any, any}), lengths = listing.read(found[1], {any, any});
  unsigned to = listing.write({rows, l.constant(3)}, i64, {any, any});
  l.define(0, listing.build([&](ScalarCode &c, ValueRange) {
    Value zero = c.index(0), classesOfAll = c.extent(list, 1);
    c.loop(zero, c.mul(c.extent(list, 0), classesOfAll), zero, [&](Value i, ValueRange s) -> ScalarCode::Values {
      Value image = c.div(i, classesOfAll), kind = c.rem(i, classesOfAll), length = c.toIndex(c.load(lengths, {image, kind}));
      c.loop(length, [&](Value k) {
        Value row = c.add(s[0], k);
        c.store(c.convert(image, i64), to, {row, zero});
        c.store(c.convert(kind, i64), to, {row, c.index(1)});
        c.store(c.load(list, {image, kind, k}), to, {row, c.index(2)});
      });
      return {c.add(s[0], length)};
    });
  })[0]);
  return success();
}
} // namespace

void snug::addNonMaxSuppression(LoweringTable &t) { t.add("NonMaxSuppression", 10, nonMaxSuppression); }
