// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention as products and a softmax, where the scores themselves are asked for or the streamed kernel has no form: head
// sizes that only the run tells, f64.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/ops/Attention.h"
#include "passes/canonicalize/ops/Rows.h"

using namespace mlir;
using namespace snug;

namespace {
// [batch, heads, ..] as [batch, key heads, heads that share one, ..].
FailureOr<LoweredValue> grouped(Lowering &l, LoweredValue value, AffineExpr heads, AffineExpr group) {
  if (group == l.constant(1))
    return value;
  Extents shape = {value.shape[0], heads, group, value.shape[2], value.shape[3]};
  if (value.shape[1] == heads)
    shape[2] = l.constant(1);
  return l.reshape(value, shape);
}

struct Position {
  LoweredValue row, key;
};
Position positions(Lowering &l, const Extents &shape) {
  Position p;
  for (auto [value, dim] : {std::pair(&p.row, 2), std::pair(&p.key, 3)}) {
    value->elementType = l.b.getI64Type();
    value->shape = shape;
    value->closed = {getAffineDimExpr(dim, l.b.getContext())};
  }
  return p;
}
} // namespace

FailureOr<AttentionOutputs> snug::attentionBySteps(Lowering &l, const AttentionInputs &in) {
  LoweredValue q = in.q.value, k = in.k.value, v = in.v.value;
  Type type = q.elementType;
  AffineExpr heads = k.shape[1], group = l.constant(1);
  // Not same(), which would take open numbers of heads to be equal.
  if (!areEqualExtents(q.shape[1], heads)) {
    auto quotient = l.quotient(q.shape[1], heads);
    if (!quotient && l.requireMultiple(q.shape[1], heads))
      quotient = q.shape[1].floorDiv(heads);
    if (!quotient)
      return l.error() << l.dims.print(q.shape[1]) << " heads of queries are no multiple of " << l.dims.print(heads)
                       << " heads of keys";
    group = *quotient;
  }
  Extents scoreShape = {q.shape[0], q.shape[1], q.shape[2], k.shape[2]};
  auto turned = l.transpose(k, {0, 1, 3, 2});
  auto left = succeeded(turned) ? grouped(l, q, heads, group) : turned;
  auto right = succeeded(left) ? grouped(l, *turned, heads, group) : left;
  auto product = succeeded(right) ? l.matmul(*left, *right) : right;
  auto flat = succeeded(product) ? l.reshape(*product, scoreShape) : product;
  if (failed(flat))
    return failure();

  double softcap = in.softcap;
  AffineExpr size = q.shape[3];
  auto scaled = l.elementwise({&*flat}, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    if (in.scale)
      return c.mul(a[0], c.number(type, *in.scale));
    Type f64 = b.getF64Type();
    Value root = math::SqrtOp::create(b, loc, c.convert(l.scalarOf(b, loc, size, b.getI64Type()), f64));
    return c.mul(a[0], c.convert(c.div(c.number(f64, 1), root), type));
  });
  auto capped = failed(scaled) || softcap == 0
                    ? scaled
                    : l.elementwise({&*scaled}, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
                        ScalarCode c{b, loc};
                        Value cap = c.number(type, softcap);
                        return c.mul(math::TanhOp::create(b, loc, c.div(a[0], cap)), cap);
                      });
  if (failed(capped))
    return failure();

  // What a row may see, and what is added to it.
  Position place = positions(l, scoreShape);
  SmallVector<LoweredValue *> inputs = {&*capped, &place.row, &place.key};
  LoweredValues masks = in.masks, perBatch;
  for (LoweredValue &mask : masks) {
    bool isLogical = mask.elementType.isInteger(1);
    if (!isLogical && !isa<FloatType>(mask.elementType))
      return l.error() << "a mask of type " << nameOf(mask.elementType) << " is not supported";
    // Keys behind its end are hidden.
    auto isShorter = mask.rank() ? isShorterMask(l, in, mask.shape.back(), k.shape[2]) : FailureOr<bool>(false);
    if (failed(isShorter))
      return failure();
    if (*isShorter) {
      Extents none(mask.rank(), l.constant(0)), after = none;
      after.back() = k.shape[2] - mask.shape.back();
      TypedAttr hidden = isLogical ? TypedAttr(l.b.getBoolAttr(false)) : l.b.getFloatAttr(mask.elementType, -INFINITY);
      auto padded = l.pad(mask, none, after, hidden);
      if (failed(padded))
        return failure();
      mask = *padded;
    }
    inputs.push_back(&mask);
  }
  for (const std::optional<LoweredValue> &value : {in.keyCount, in.before}) {
    perBatch.emplace_back();
    if (!value)
      continue;
    LoweredValue given = *value;
    auto spread = l.reshape(given, {given.shape[0], l.constant(1), l.constant(1), l.constant(1)});
    if (failed(spread))
      return failure();
    perBatch.back() = *spread;
  }
  for (LoweredValue &value : perBatch)
    if (value.elementType)
      inputs.push_back(&value);
  AffineExpr rows = q.shape[2], past = in.past;
  auto masked = l.elementwise(inputs, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    Type i64 = b.getI64Type();
    Value least = c.number(type, -INFINITY), score = a[0], seen = c.constant(b.getBoolAttr(true));
    auto wide = [&](AffineExpr expr) { return l.scalarOf(b, loc, expr, i64); };
    unsigned next = 3 + masks.size();
    Value before = wide(past);
    if (in.keyCount) {
      Value count = c.convert(a[next++], i64);
      seen = c.both(seen, c.less(a[2], count));
      before = c.sub(count, wide(rows));
    }
    if (in.before)
      before = c.convert(a[next], i64);
    Value own = c.add(a[1], before);
    if (in.left >= 0)
      seen = c.both(seen, c.lessEqual(c.sub(own, c.number(i64, static_cast<double>(in.left))), a[2]));
    if (in.right >= 0)
      seen = c.both(seen, c.lessEqual(a[2], c.add(own, c.number(i64, static_cast<double>(in.right)))));
    for (auto [mask, element] : llvm::zip(masks, a.drop_front(3))) {
      if (mask.elementType.isInteger(1)) {
        seen = c.both(seen, element);
        continue;
      }
      // What is hidden is so whatever its score, even if that is no number.
      Value bias = c.convert(element, type);
      seen = c.both(seen, c.negate(c.equal(bias, least)));
      score = c.add(score, bias);
    }
    return c.select(seen, score, least);
  });
  if (succeeded(masked) && in.changeScores)
    masked = in.changeScores(*masked);
  if (failed(masked))
    return failure();
  auto softened = softmaxAlong(l, *masked, 3);
  SmallVector<bool> reduced = {false, false, false, true};
  LoweredValue most = l.reduce(Reduction::Max, *masked, reduced);
  auto column = failed(softened) ? softened : l.reshape(most, {scoreShape[0], scoreShape[1], scoreShape[2], l.constant(1)});
  if (failed(column))
    return failure();
  auto shares = l.elementwise({&*softened, &*column}, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    ScalarCode c{b, loc};
    return c.select(c.equal(a[1], c.number(type, -INFINITY)), c.number(type, 0), a[0]); // a row without keys gives 0
  });
  if (succeeded(shares) && in.changeShares)
    shares = in.changeShares(*shares);
  auto weights = failed(shares) ? shares : grouped(l, *shares, heads, group);
  auto values = failed(weights) ? weights : grouped(l, v, heads, group);
  auto read = failed(values) ? values : l.matmul(*weights, *values);
  auto y = failed(read) ? read : l.reshape(*read, {q.shape[0], q.shape[1], q.shape[2], v.shape[3]});
  if (failed(y))
    return failure();
  LoweredValue scores[] = {*scaled, *capped, *masked, *shares};
  return AttentionOutputs{*y, scores[in.scores.value_or(0)]};
}
