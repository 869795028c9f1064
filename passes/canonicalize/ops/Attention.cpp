// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention (opset 23): one snug_nn.attention, with scale, soft cap and masks in its region.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/Attention.h"
#include <cmath>

using namespace mlir;
using namespace snug;

namespace {
enum Input { Q, K, V, Mask, PastKey, PastValue, KeyCount };

FailureOr<Heads> headsOf(Lowering &l, unsigned index, StringRef countAttribute) {
  LoweredValue &in = l.input(index);
  if (in.rank() == 4)
    return Heads{in};
  int64_t count = l.intAttr(countAttribute, 0);
  auto size = in.rank() == 3 && count > 0 ? l.quotient(in.shape[2], l.constant(count)) : std::nullopt;
  if (!size) {
    l.error() << "input " << index << " of shape " << l.print(in.shape) << " and " << countAttribute << " = " << count
              << " do not give heads; wanted are 4 dims, or 3 and a number of heads that divides the last"
              << (in.rank() == 3 ? l.stepHint(in.shape[2], count) : "");
    return failure();
  }
  auto value = l.reshape(in, {in.shape[0], in.shape[1], l.constant(count), *size});
  if (failed(value))
    return failure();
  return Heads{*value, true};
}

void cutLength(Lowering &l, Heads &heads, AffineExpr length) {
  Extents sizes = heads.value.shape;
  sizes[heads.rowsOutside ? 1 : 2] = length;
  heads.value = l.slice(heads.value, Extents(4, l.constant(0)), sizes, {1, 1, 1, 1});
}

// What is computed beside q k^T, in the order of the standard: scale, soft cap, masks.
struct Score {
  const AttentionInputs &in;
  Value size, past, rows;               // as indices
  SmallVector<Value> masks;             // as block arguments, like the others
  Value counted, before;

  Value emit(OpBuilder &b, Location loc, Value x, llvm::function_ref<Value(unsigned)> place, unsigned row,
             unsigned key) const {
    auto number = [&](double value) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)).getResult(); };
    auto hideUnless = [&](Value seen) { x = arith::SelectOp::create(b, loc, seen, x, number(-INFINITY)); };
    auto toIndex = [&](Value value) { return arith::IndexCastOp::create(b, loc, b.getIndexType(), value).getResult(); };
    if (!size) {
      x = arith::MulFOp::create(b, loc, x, number(*in.scale));
    } else {
      Value count = arith::IndexCastOp::create(b, loc, b.getI64Type(), size);
      Value root = math::SqrtOp::create(b, loc, arith::SIToFPOp::create(b, loc, b.getF32Type(), count));
      x = arith::DivFOp::create(b, loc, x, root);
    }
    if (in.softcap != 0) {
      x = math::TanhOp::create(b, loc, arith::DivFOp::create(b, loc, x, number(in.softcap)));
      x = arith::MulFOp::create(b, loc, x, number(in.softcap));
    }
    for (Value mask : masks) {
      if (mask.getType().isInteger(1))
        hideUnless(mask);
      else
        x = arith::AddFOp::create(b, loc, x, extendToCompute(b, loc, mask));
    }
    Value first = past;
    if (counted) {
      Value count = toIndex(counted);
      hideUnless(arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, place(key), count));
      if (rows)
        first = arith::SubIOp::create(b, loc, count, rows);
    }
    if (before)
      first = toIndex(before);
    auto within = [&](int64_t distance, arith::CmpIPredicate predicate) {
      Value own = arith::AddIOp::create(b, loc, place(row), first);
      Value farthest = arith::AddIOp::create(b, loc, own, arith::ConstantIndexOp::create(b, loc, distance));
      hideUnless(arith::CmpIOp::create(b, loc, predicate, place(key), farthest));
    };
    if (in.left >= 0)
      within(-in.left, arith::CmpIPredicate::sge);
    if (in.right >= 0)
      within(in.right, arith::CmpIPredicate::sle);
    return x;
  }
};

FailureOr<LoweredValue> headsOutside(Lowering &l, Heads &heads) {
  return heads.rowsOutside ? l.transpose(heads.value, {0, 2, 1, 3}) : FailureOr<LoweredValue>(heads.value);
}

// As products and a softmax, in f32 where only the result is asked for.
FailureOr<AttentionOutputs> bySteps(Lowering &l, AttentionInputs in) {
  Type type = in.q.value.elementType, f32 = l.b.getF32Type();
  bool widens = !in.scores && computesInF32(type) && !type.isF32(), outside = in.q.rowsOutside;
  for (Heads *heads : {&in.q, &in.k, &in.v}) {
    auto value = headsOutside(l, *heads);
    if (succeeded(value) && widens)
      value = l.elementwise({&*value}, f32, [&](OpBuilder &b, Location loc, ValueRange x) { return convert(b, loc, x[0], type, f32); });
    if (failed(value))
      return failure();
    *heads = {*value, false};
  }
  auto made = attentionBySteps(l, in);
  if (failed(made))
    return failure();
  FailureOr<LoweredValue> y = made->y;
  if (widens)
    y = l.elementwise({&made->y}, type, [&](OpBuilder &b, Location loc, ValueRange x) { return convert(b, loc, x[0], f32, type); });
  if (succeeded(y) && outside)
    y = l.transpose(*y, {0, 2, 1, 3});
  if (failed(y))
    return failure();
  made->y = *y;
  return made;
}

LogicalResult check(Lowering &l, const AttentionInputs &in) {
  const Heads &q = in.q, &k = in.k, &v = in.v;
  auto queryHeads = dyn_cast<AffineConstantExpr>(q.count()), keyHeads = dyn_cast<AffineConstantExpr>(k.count());
  Type element = q.value.elementType;
  AffineExpr batches = q.value.shape[0];
  bool isNumber = computesInF32(element) || element.isF64();
  if (isNumber && k.value.elementType == element && v.value.elementType == element && l.same(k.value.shape[0], batches) &&
      l.same(v.value.shape[0], batches) && l.same(k.size(), q.size()) && l.same(v.count(), k.count()) &&
      l.same(v.length(), k.length()) && (!keyHeads || keyHeads.getValue() > 0) && (!queryHeads || !keyHeads || queryHeads.getValue() % keyHeads.getValue() == 0))
    return success();
  return l.error() << "Q, K and V of shapes " << l.print(q.value.shape) << ", " << l.print(k.value.shape) << ", "
                   << l.print(v.value.shape) << " and type " << nameOf(element)
                   << " do not go together; heads of one size, and query heads that are a multiple of key heads are supported";
}
} // namespace

FailureOr<Heads> snug::withPast(Lowering &l, LoweredValue *past, const Heads &heads) {
  LoweredValue fresh = heads.value;
  if (heads.rowsOutside) {
    auto transposed = l.transpose(fresh, {0, 2, 1, 3});
    if (failed(transposed))
      return failure();
    fresh = *transposed;
  }
  if (!past)
    return Heads{fresh};
  if (past->rank() != 4 || !l.same(past->shape[0], fresh.shape[0]) || !l.same(past->shape[1], fresh.shape[1]) ||
      !l.same(past->shape[3], fresh.shape[3])) {
    l.error() << "the past of shape " << l.print(past->shape) << " does not fit new entries of shape "
              << l.print(fresh.shape);
    return failure();
  }
  LoweredValue parts[] = {*past, fresh};
  auto whole = l.concat(parts, 2);
  if (failed(whole))
    return failure();
  return Heads{*whole};
}

FailureOr<bool> snug::isShorterMask(Lowering &l, const AttentionInputs &in, AffineExpr length, AffineExpr keys) {
  if (in.keyCount ? areEqualExtents(length, keys) : l.same(length, keys))
    return false;
  bool isFound = !in.keyCount && l.dims.isOpen(length - keys); // what an open one has to be
  if (isFound || !l.requireAtLeast(keys, length))
    return l.error() << "a mask for " << l.dims.print(length) << " keys does not go with " << l.dims.print(keys)
                     << "; it may have fewer, not more";
  return true;
}

FailureOr<AttentionOutputs> snug::attend(Lowering &l, AttentionInputs in) {
  OpBuilder &b = l.b;
  MLIRContext *context = b.getContext();
  if (failed(check(l, in)))
    return failure();
  Heads &q = in.q, &k = in.k, &v = in.v;
  auto queryHeads = dyn_cast<AffineConstantExpr>(q.count()), keyHeads = dyn_cast<AffineConstantExpr>(k.count());
  auto size = dyn_cast<AffineConstantExpr>(q.size());
  AffineExpr batches = q.value.shape[0];
  if (!in.past)
    in.past = l.constant(0);
  if (in.scores || in.changeScores || in.changeShares || q.value.elementType.isF64() || !queryHeads || !keyHeads || !size || !isa<AffineConstantExpr>(v.size()))
    return bySteps(l, in);
  if (!in.scale)
    in.scale = 1 / std::sqrt(static_cast<double>(size.getValue()));
  // Keys beyond a mask's end are hidden from every row: they take no part at all.
  if (in.masks.size() == 1 && in.masks[0].rank() > 0) {
    AffineExpr length = in.masks[0].shape.back();
    auto isShorter = isShorterMask(l, in, length, k.length());
    if (failed(isShorter))
      return failure();
    if (*isShorter) {
      cutLength(l, k, length);
      cutLength(l, v, length);
    }
  }
  int64_t group = queryHeads.getValue() / keyHeads.getValue();
  // (b, h, s, t, d, e)
  AffineExpr batch, head, row, key, d, e;
  bindDims(context, batch, head, row, key, d, e);
  auto mapOf = [&](const Heads &heads, AffineExpr which, AffineExpr length, AffineExpr element) {
    AffineExpr first = heads.rowsOutside ? length : which, second = heads.rowsOutside ? which : length;
    return AffineMap::get(6, 0, {batch, first, second, element}, context);
  };
  AffineExpr keyHead = keyHeads.getValue() == 1 ? l.constant(0) : head.floorDiv(group);
  SmallVector<AffineMap> maps = {mapOf(q, head, row, d), mapOf(k, keyHead, key, d), mapOf(v, keyHead, key, e)};

  Score score{in, {}, {}, {}, {}, {}, {}};
  Region region;
  Block &block = region.emplaceBlock();
  Value x = block.addArgument(b.getF32Type(), l.loc());
  SmallVector<Value> operands;
  auto addOperand = [&](LoweredValue &value, ArrayRef<AffineExpr> read) -> Value {
    operands.push_back(l.tensor(value));
    maps.push_back(AffineMap::get(6, 0, read, context));
    return block.addArgument(value.elementType, l.loc());
  };
  for (LoweredValue &mask : in.masks) {
    Extents full = {batches, q.count(), q.length(), k.length()};
    SmallVector<AffineExpr> dims = {batch, head, row, key}, indices;
    bool fits = mask.rank() <= 4 && (mask.elementType.isInteger(1) || computesInF32(mask.elementType));
    for (int64_t i = 0; fits && i < mask.rank(); ++i) {
      unsigned dim = 4 - mask.rank() + i;
      bool isOne = dim != 3 && mask.shape[i] == l.constant(1), spans = !isOne && l.same(mask.shape[i], full[dim]);
      fits = spans || isOne;
      indices.push_back(spans ? dims[dim] : l.constant(0));
    }
    if (!fits)
      return l.error() << "a mask of shape " << l.print(mask.shape) << " and type " << nameOf(mask.elementType)
                       << " is no bool, float32 or narrower float that broadcasts to " << l.print(full)
                       << " or is shorter in the last dim";
    score.masks.push_back(addOperand(mask, indices));
  }
  for (auto [value, what, argument] : {std::tuple(&in.keyCount, "the number of keys", &score.counted),
                                       std::tuple(&in.before, "the place of the first row", &score.before)}) {
    if (!*value)
      continue;
    if ((*value)->rank() != 1 || !l.same((*value)->shape[0], batches))
      return l.error() << what << ", of shape " << l.print((*value)->shape) << ", is no number for each of "
                       << l.dims.print(batches) << " sequences";
    *argument = addOperand(**value, {batch});
  }
  if (in.keyCount && !in.before && (in.left >= 0 || in.right >= 0))
    score.rows = l.materialize(q.length());
  score.past = l.materialize(in.past);
  {
    OpBuilder inner(context);
    inner.setInsertionPointToEnd(&block);
    auto place = [&](unsigned dim) { return nn::IndexOp::create(inner, l.loc(), inner.getIndexType(), dim).getResult(); };
    nn::YieldOp::create(inner, l.loc(), score.emit(inner, l.loc(), x, place, 2, 3));
  }
  Extents shape = q.value.shape;
  shape[3] = v.size();
  maps.push_back(mapOf(Heads{{}, q.rowsOutside}, head, row, e));
  Value init = l.empty(shape, q.value.elementType);
  Value qTensor = l.tensor(q.value), kTensor = l.tensor(k.value), vTensor = l.tensor(v.value);
  auto op = nn::AttentionOp::create(b, l.loc(), init.getType(), qTensor, kTensor, vTensor, operands, Value(), Value(), init,
                                    b.getAffineMapArrayAttr(maps), b.getUnitAttr());
  op.getScore().takeBody(region);
  return AttentionOutputs{l.tensorValue(op->getResult(0), shape), {}};
}

namespace {
LogicalResult attention(Lowering &l) {
  AttentionInputs in;
  // Causal is a window without later keys.
  in.left = l.intAttr("left_window_size", -1);
  in.right = l.intAttr("is_causal", 0) ? 0 : l.intAttr("right_window_size", -1);
  in.softcap = l.floatAttr("softcap", 0);
  if (l.attr("scale"))
    in.scale = l.floatAttr("scale", 1);
  if (l.hasInput(KeyCount) && l.hasInput(PastKey)) {
    l.error() << "nonpad_kv_seqlen counts the keys of a cache outside of the node; with past_key it has no meaning";
    return failure();
  }
  auto q = headsOf(l, Q, "q_num_heads");
  auto k = failed(q) ? FailureOr<Heads>(failure()) : headsOf(l, K, "kv_num_heads");
  auto v = failed(k) ? FailureOr<Heads>(failure()) : headsOf(l, V, "kv_num_heads");
  if (failed(v))
    return failure();
  bool wantsPresent = l.node()->getNumResults() > 1;
  if (wantsPresent || l.hasInput(PastKey)) {
    k = withPast(l, l.hasInput(PastKey) ? &l.input(PastKey) : nullptr, *k);
    v = withPast(l, l.hasInput(PastValue) ? &l.input(PastValue) : nullptr, *v);
    if (failed(k) || failed(v))
      return failure();
  }
  LoweredValue presentKey = k->value, presentValue = v->value;
  in.q = *q;
  in.k = *k;
  in.v = *v;
  if (l.hasInput(Mask))
    in.masks.push_back(l.input(Mask));
  if (l.hasInput(KeyCount))
    in.keyCount = l.input(KeyCount);
  if (l.hasInput(PastKey))
    in.past = l.input(PastKey).shape[2];
  if (l.node()->getNumResults() > 3 && !l.node()->getResult(3).use_empty()) {
    in.scores = l.intAttr("qk_matmul_output_mode", 0);
    if (*in.scores < 0 || *in.scores > 3)
      return l.error() << "qk_matmul_output_mode " << *in.scores << " is none that the standard knows";
  }
  auto made = attend(l, in);
  if (failed(made))
    return failure();
  LoweredValue y = made->y;
  if (q->rowsOutside) {
    auto flat = l.reshape(y, {y.shape[0], y.shape[1], y.shape[2] * y.shape[3]});
    if (failed(flat))
      return failure();
    y = *flat;
  }
  l.define(0, y);
  l.define(1, presentKey);
  l.define(2, presentValue);
  if (in.scores)
    l.define(3, made->scores);
  return success();
}

// With subgraphs that change scores and shares as a whole: those that exist need all of them.
LogicalResult flexAttention(Lowering &l) {
  AttentionInputs in;
  for (auto [index, heads] : {std::pair(Q, &in.q), std::pair(K, &in.k), std::pair(V, &in.v)}) {
    heads->value = l.input(index);
    if (heads->value.rank() != 4)
      return l.error() << "an input of shape " << l.print(heads->value.shape) << " is not [batch, heads, rows, size]";
  }
  if (l.attr("scale"))
    in.scale = l.floatAttr("scale", 1);
  Type element = in.q.value.elementType, precise = element.isF64() ? element : Type(l.b.getF32Type());
  if (int64_t code = l.intAttr("softmax_precision", 0))
    precise = l.dataType(code);
  if (!isa_and_nonnull<FloatType>(precise) || isCode(precise))
    return l.error() << "softmax_precision " << nameOf(l.intAttr("softmax_precision", 0)) << " is not supported";
  auto change = [&](StringRef name) -> AttentionInputs::Change {
    Region *body = l.node().getBody(name);
    if (!body)
      return nullptr;
    return [&l, body, name, precise](LoweredValue value) -> FailureOr<LoweredValue> {
      Type own = value.elementType;
      auto converted = [&](LoweredValue from, Type to) -> FailureOr<LoweredValue> {
        Type type = from.elementType;
        if (type == to)
          return from;
        return l.elementwise({&from}, to, [&](OpBuilder &b, Location loc, ValueRange x) { return convert(b, loc, x[0], type, to); });
      };
      auto given = converted(value, precise);
      if (failed(given))
        return failure();
      auto made = l.lowerBody(*body, {*given});
      if (failed(made))
        return failure();
      if (made->size() != 1 || !isa<FloatType>(made->front().elementType) || made->front().rank() != 4 ||
          !llvm::all_of(llvm::zip_equal(made->front().shape, value.shape),
                        [&](auto pair) { return l.same(std::get<0>(pair), std::get<1>(pair)); }))
        return l.error() << name << " gives no tensor of the shape " << l.print(value.shape) << " that it is given";
      return converted(made->front(), own);
    };
  };
  in.changeScores = change("score_mod");
  in.changeShares = change("prob_mod");
  auto made = attend(l, in);
  if (failed(made))
    return failure();
  l.define(0, made->y);
  return success();
}
} // namespace

void snug::addAttentionOps(LoweringTable &t) {
  t.add("Attention", 23, attention);
  t.add("FlexAttention", 1, flexAttention, types::Floats, "ai.onnx.preview");
}
