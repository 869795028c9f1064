// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention (opset 23): one snug_nn.attention, with scale, soft cap and masks in its region.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/AttentionSteps.h"
#include <cmath>

using namespace mlir;
using namespace snug;

namespace {
enum Input { Q, K, V, Mask, PastKey, PastValue, KeyCount };

// Q, K or V: [batch, heads, length, size], or [batch, length, heads * size] as [batch, length, heads, size].
struct Heads {
  LoweredValue value;
  bool rowsOutside = false; // [batch, length, heads, size]
  AffineExpr length() const { return value.shape[rowsOutside ? 1 : 2]; }
  AffineExpr count() const { return value.shape[rowsOutside ? 2 : 1]; }
  AffineExpr size() const { return value.shape[3]; }
};

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

// The cache and what is new, one after the other: [batch, heads, past + length, size].
FailureOr<Heads> append(Lowering &l, unsigned pastIndex, const Heads &heads) {
  LoweredValue fresh = heads.value;
  if (heads.rowsOutside) {
    auto transposed = l.transpose(fresh, {0, 2, 1, 3});
    if (failed(transposed))
      return failure();
    fresh = *transposed;
  }
  if (!l.hasInput(pastIndex))
    return Heads{fresh};
  LoweredValue &past = l.input(pastIndex);
  if (past.rank() != 4 || !l.same(past.shape[0], fresh.shape[0]) || !l.same(past.shape[1], fresh.shape[1]) ||
      !l.same(past.shape[3], fresh.shape[3])) {
    l.error() << "the past of shape " << l.print(past.shape) << " does not fit new entries of shape "
              << l.print(fresh.shape);
    return failure();
  }
  LoweredValue parts[] = {past, fresh};
  auto whole = l.concat(parts, 2);
  if (failed(whole))
    return failure();
  return Heads{*whole};
}

void cutLength(Lowering &l, Heads &heads, AffineExpr length) {
  Extents sizes = heads.value.shape;
  sizes[heads.rowsOutside ? 1 : 2] = length;
  heads.value = l.slice(heads.value, Extents(4, l.constant(0)), sizes, {1, 1, 1, 1});
}

// What the op computes beside q k^T, in the order of the standard: scale, soft cap, masks.
struct Score {
  std::optional<double> scale; // 1 / sqrt(size)
  double softcap = 0;
  Value size;
  Value past, rows; // row s stands at key s + past; where keys are counted, the last of the rows at the last of those
  int64_t left = -1, right = -1; // keys seen before and after that; -1: all
  Value mask, counted;           // as block arguments; of bool or of a float type, and keys that exist

  Value emit(OpBuilder &b, Location loc, Value x, llvm::function_ref<Value(unsigned)> place, unsigned row,
             unsigned key) const {
    auto number = [&](double value) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)).getResult(); };
    auto hideUnless = [&](Value seen) { x = arith::SelectOp::create(b, loc, seen, x, number(-INFINITY)); };
    if (scale) {
      x = arith::MulFOp::create(b, loc, x, number(*scale));
    } else {
      Value count = arith::IndexCastOp::create(b, loc, b.getI64Type(), size);
      Value root = math::SqrtOp::create(b, loc, arith::SIToFPOp::create(b, loc, b.getF32Type(), count));
      x = arith::DivFOp::create(b, loc, x, root);
    }
    if (softcap != 0) {
      x = math::TanhOp::create(b, loc, arith::DivFOp::create(b, loc, x, number(softcap)));
      x = arith::MulFOp::create(b, loc, x, number(softcap));
    }
    if (mask && mask.getType().isInteger(1))
      hideUnless(mask);
    else if (mask)
      x = arith::AddFOp::create(b, loc, x, extendToCompute(b, loc, mask));
    Value before = past;
    if (counted) {
      Value count = arith::IndexCastOp::create(b, loc, b.getIndexType(), counted);
      hideUnless(arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, place(key), count));
      before = left >= 0 || right >= 0 ? arith::SubIOp::create(b, loc, count, rows).getResult() : Value();
    }
    auto within = [&](int64_t distance, arith::CmpIPredicate predicate) {
      Value own = arith::AddIOp::create(b, loc, place(row), before);
      Value farthest = arith::AddIOp::create(b, loc, own, arith::ConstantIndexOp::create(b, loc, distance));
      hideUnless(arith::CmpIOp::create(b, loc, predicate, place(key), farthest));
    };
    if (left >= 0)
      within(-left, arith::CmpIPredicate::sge);
    if (right >= 0)
      within(right, arith::CmpIPredicate::sle);
    return x;
  }
};

// Heads outside of rows, of f32, and as many as there are of queries: for extents that are not fixed.
FailureOr<LoweredValue> plainHeads(Lowering &l, Heads &heads, AffineExpr count) {
  auto value = heads.rowsOutside ? l.transpose(heads.value, {0, 2, 1, 3}) : FailureOr<LoweredValue>(heads.value);
  if (failed(value))
    return failure();
  if (!l.same(value->shape[1], count)) {
    // Each head of keys or values serves several of queries.
    AffineExpr own = value->shape[1];
    auto group = l.quotient(count, own);
    if (!group && l.requireMultiple(count, own))
      group = count.floorDiv(own);
    if (!group) {
      l.error() << l.dims.print(count) << " heads of queries are no multiple of " << l.dims.print(own) << " heads of keys";
      return failure();
    }
    Extents grouped = value->shape, all = value->shape;
    grouped.insert(grouped.begin() + 2, *group);
    all[1] = count;
    AffineExpr d[5];
    for (unsigned i = 0; i < 5; ++i)
      d[i] = getAffineDimExpr(i, l.b.getContext());
    auto map = AffineMap::get(5, 0, {d[0], d[1], d[3], d[4]}, l.b.getContext());
    Value repeated = l.generic({l.tensor(*value)}, {map}, grouped, value->elementType,
                               [](OpBuilder &, Location, ValueRange x) -> Value { return x[0]; });
    LoweredValue parts = l.tensorValue(repeated, grouped);
    value = l.reshape(parts, all);
    if (failed(value))
      return failure();
  }
  if (value->elementType.isF32())
    return value;
  return l.elementwise({&*value}, l.b.getF32Type(), [](OpBuilder &b, Location loc, ValueRange x) -> Value {
    return arith::ExtFOp::create(b, loc, b.getF32Type(), x[0]);
  });
}

// Scores, softmax and the mean of values as ops of their own: extents that are not fixed have no kernel for all at once.
FailureOr<LoweredValue> plainAttention(Lowering &l, Heads &q, Heads &k, Heads &v, const Score &score,
                                       ArrayRef<LoweredValue> inputs, ArrayRef<SmallVector<AffineExpr>> reads) {
  OpBuilder &b = l.b;
  auto queries = plainHeads(l, q, q.count());
  auto keys = succeeded(queries) ? plainHeads(l, k, q.count()) : queries;
  auto values = succeeded(keys) ? plainHeads(l, v, q.count()) : keys;
  auto turned = succeeded(values) ? l.transpose(*keys, {0, 1, 3, 2}) : values;
  auto scores = succeeded(turned) ? l.matmul(*queries, *turned) : turned;
  if (failed(scores))
    return failure();
  SmallVector<Value> operands = {l.tensor(*scores)};
  SmallVector<AffineMap> maps = {b.getMultiDimIdentityMap(4)};
  for (auto [input, read] : llvm::zip_equal(inputs, reads)) {
    LoweredValue value = input;
    operands.push_back(l.tensor(value));
    maps.push_back(AffineMap::get(4, 0, read, b.getContext()));
  }
  Extents shape = scores->shape;
  Value judged = l.generic(operands, maps, shape, b.getF32Type(), [&](OpBuilder &body, Location loc, ValueRange x) -> Value {
    Score own = score;
    unsigned next = 1;
    if (own.mask)
      own.mask = x[next++];
    if (own.counted)
      own.counted = x[next++];
    auto place = [&](unsigned dim) { return linalg::IndexOp::create(body, loc, dim).getResult(); };
    return own.emit(body, loc, x[0], place, 2, 3);
  });
  LoweredValue seen = l.tensorValue(judged, shape);
  // A row without any key gives 0.
  LoweredValue most = l.reduce(Reduction::Max, seen, {false, false, false, true});
  Extents column = shape;
  column[3] = l.constant(1);
  auto rowMost = l.reshape(most, column);
  if (failed(rowMost))
    return failure();
  Value init = l.empty(shape, b.getF32Type());
  auto softmax = nn::SoftmaxOp::create(b, l.loc(), init.getType(), l.tensor(seen), init, b.getF32FloatAttr(1));
  LoweredValue raw = l.tensorValue(softmax->getResult(0), shape);
  auto weights = l.elementwise({&raw, &*rowMost}, b.getF32Type(), [](OpBuilder &body, Location loc, ValueRange x) -> Value {
    Value lowest = arith::ConstantOp::create(body, loc, body.getF32FloatAttr(-INFINITY));
    Value isEmpty = arith::CmpFOp::create(body, loc, arith::CmpFPredicate::OEQ, x[1], lowest);
    return arith::SelectOp::create(body, loc, isEmpty, arith::ConstantOp::create(body, loc, body.getF32FloatAttr(0)), x[0]);
  });
  auto mean = succeeded(weights) ? l.matmul(*weights, *values) : weights;
  Type element = q.value.elementType;
  if (succeeded(mean) && element != b.getF32Type())
    mean = l.elementwise({&*mean}, element, [&](OpBuilder &body, Location loc, ValueRange x) -> Value {
      return arith::TruncFOp::create(body, loc, element, x[0]);
    });
  return succeeded(mean) && q.rowsOutside ? l.transpose(*mean, {0, 2, 1, 3}) : mean;
}

LogicalResult attention(Lowering &l) {
  OpBuilder &b = l.b;
  MLIRContext *context = b.getContext();
  // Causal is a window without later keys.
  int64_t left = l.intAttr("left_window_size", -1), right = l.intAttr("right_window_size", -1);
  if (l.intAttr("is_causal", 0))
    right = 0;
  if (l.hasInput(KeyCount) && l.hasInput(PastKey)) {
    l.error() << "nonpad_kv_seqlen counts the keys of a cache outside of the node; with past_key it has no meaning";
    return failure();
  }
  auto q = headsOf(l, Q, "q_num_heads");
  auto k = failed(q) ? FailureOr<Heads>(failure()) : headsOf(l, K, "kv_num_heads");
  auto v = failed(k) ? FailureOr<Heads>(failure()) : headsOf(l, V, "kv_num_heads");
  if (failed(v))
    return failure();
  bool outside = q->rowsOutside;
  bool wantsPresent = l.node()->getNumResults() > 1;
  if (wantsPresent || l.hasInput(PastKey)) {
    k = append(l, PastKey, *k);
    v = append(l, PastValue, *v);
    if (failed(k) || failed(v))
      return failure();
  }
  LoweredValue presentKey = k->value, presentValue = v->value;
  bool wantsScores = l.node()->getNumResults() > 3 && !l.node()->getResult(3).use_empty();
  if (wantsScores || q->value.elementType.isF64()) {
    auto inside = [&](Heads &heads) {
      return heads.rowsOutside ? l.transpose(heads.value, {0, 2, 1, 3}) : FailureOr<LoweredValue>(heads.value);
    };
    auto qIn = inside(*q), kIn = inside(*k), vIn = inside(*v);
    if (failed(qIn) || failed(kIn) || failed(vIn) ||
        failed(attentionBySteps(l, {*qIn, *kIn, *vIn, l.hasInput(Mask) ? &l.input(Mask) : nullptr,
                                    l.hasInput(KeyCount) ? &l.input(KeyCount) : nullptr,
                                    l.hasInput(PastKey) ? l.input(PastKey).shape[2] : l.constant(0), left, right, outside})))
      return failure();
    l.define(1, presentKey);
    l.define(2, presentValue);
    return success();
  }
  auto queryHeads = dyn_cast<AffineConstantExpr>(q->count()), keyHeads = dyn_cast<AffineConstantExpr>(k->count());
  auto size = dyn_cast<AffineConstantExpr>(q->size());
  Type element = q->value.elementType;
  AffineExpr batches = q->value.shape[0];
  if (!computesInF32(element) || k->value.elementType != element || v->value.elementType != element ||
      !l.same(k->value.shape[0], batches) || !l.same(v->value.shape[0], batches) || !l.same(k->size(), q->size()) ||
      !l.same(v->count(), k->count()) || !l.same(v->length(), k->length()) ||
      (queryHeads && keyHeads && queryHeads.getValue() % keyHeads.getValue() != 0)) {
    l.error()
        << "Q, K and V of shapes " << l.print(l.input(Q).shape) << ", " << l.print(l.input(K).shape) << ", "
        << l.print(l.input(V).shape) << " and type " << q->value.elementType
        << " do not go together; float32 or narrower floats, heads of one size, and query heads that are a multiple "
           "of key heads are supported";
    return failure();
  }
  // Keys beyond a mask's end are hidden from every row: they take no part at all.
  if (l.hasInput(Mask) && l.input(Mask).rank() > 0) {
    AffineExpr length = l.input(Mask).shape.back();
    auto most = l.dims.upperBound(length - k->length());
    if (!l.same(length, k->length()) && most && *most <= 0) {
      cutLength(l, *k, length);
      cutLength(l, *v, length);
    }
  }
  bool isFixed = queryHeads && keyHeads && size && isa<AffineConstantExpr>(v->size());
  int64_t group = isFixed ? queryHeads.getValue() / keyHeads.getValue() : 1;
  // (b, h, s, t, d, e)
  AffineExpr batch, head, row, key, d, e;
  bindDims(context, batch, head, row, key, d, e);
  auto mapOf = [&](const Heads &heads, AffineExpr which, AffineExpr length, AffineExpr element) {
    AffineExpr first = heads.rowsOutside ? length : which, second = heads.rowsOutside ? which : length;
    return AffineMap::get(6, 0, {batch, first, second, element}, context);
  };
  AffineExpr keyHead = isFixed && keyHeads.getValue() == 1 ? l.constant(0) : head.floorDiv(group);
  SmallVector<AffineMap> maps = {mapOf(*q, head, row, d), mapOf(*k, keyHead, key, d), mapOf(*v, keyHead, key, e)};

  Score score;
  if (l.attr("scale"))
    score.scale = l.floatAttr("scale", 1);
  else if (size)
    score.scale = 1 / std::sqrt(static_cast<double>(size.getValue()));
  else
    score.size = l.materialize(q->size());
  score.softcap = l.floatAttr("softcap", 0);
  Region region;
  Block &block = region.emplaceBlock();
  Value x = block.addArgument(b.getF32Type(), l.loc());
  std::vector<LoweredValue> inputs;
  SmallVector<SmallVector<AffineExpr>> reads;
  if (l.hasInput(Mask)) {
    LoweredValue &mask = l.input(Mask);
    Extents full = {q->value.shape[0], q->count(), q->length(), k->length()};
    SmallVector<AffineExpr> dims = {batch, head, row, key}, indices;
    bool fits = mask.rank() <= 4 && (mask.elementType.isInteger(1) || computesInF32(mask.elementType));
    for (int64_t i = 0; fits && i < mask.rank(); ++i) {
      unsigned dim = 4 - mask.rank() + i;
      bool isOne = dim != 3 && mask.shape[i] == l.constant(1), spans = !isOne && l.same(mask.shape[i], full[dim]);
      fits = spans || isOne;
      indices.push_back(spans ? dims[dim] : l.constant(0));
    }
    if (!fits) {
      l.error() << "attn_mask of shape " << l.print(mask.shape) << " and type " << mask.elementType
                << " is no bool, float32 or narrower float that broadcasts to " << l.print(full) << " or is shorter in the last dim";
      return failure();
    }
    inputs.push_back(mask);
    reads.push_back(indices);
    maps.push_back(AffineMap::get(6, 0, indices, context));
    score.mask = block.addArgument(mask.elementType, l.loc());
  }
  if (l.hasInput(KeyCount)) {
    if (l.input(KeyCount).rank() != 1 || !l.same(l.input(KeyCount).shape[0], batches)) {
      l.error() << "nonpad_kv_seqlen of shape " << l.print(l.input(KeyCount).shape) << " is no number for each of "
                << l.dims.print(batches) << " sequences";
      return failure();
    }
    inputs.push_back(l.input(KeyCount));
    reads.push_back({batch});
    maps.push_back(AffineMap::get(6, 0, {batch}, context));
    score.counted = block.addArgument(l.input(KeyCount).elementType, l.loc());
    score.rows = l.materialize(q->length());
  }
  score.left = left;
  score.right = right;
  score.past = l.materialize(l.hasInput(PastKey) ? l.input(PastKey).shape[2] : l.constant(0));
  {
    OpBuilder inner(context);
    inner.setInsertionPointToEnd(&block);
    auto place = [&](unsigned dim) { return nn::IndexOp::create(inner, l.loc(), inner.getIndexType(), dim).getResult(); };
    nn::YieldOp::create(inner, l.loc(), score.emit(inner, l.loc(), x, place, 2, 3));
  }
  Extents shape = q->value.shape;
  shape[3] = v->size();
  auto finish = [&](LoweredValue y) {
    if (outside) {
      auto flat = l.reshape(y, {shape[0], shape[1], shape[2] * shape[3]});
      if (failed(flat))
        return failure();
      y = *flat;
    }
    l.define(0, y);
    if (wantsPresent)
      l.define(1, presentKey);
    if (l.node()->getNumResults() > 2)
      l.define(2, presentValue);
    return success();
  };
  if (!isFixed) {
    auto y = plainAttention(l, *q, *k, *v, score, inputs, reads);
    return failed(y) ? failure() : finish(*y);
  }
  Heads result{{}, outside};
  maps.push_back(mapOf(result, head, row, e));
  Value init = l.empty(shape, element);
  Value qTensor = l.tensor(q->value), kTensor = l.tensor(k->value), vTensor = l.tensor(v->value);
  // A row without any key gives 0, says the standard.
  SmallVector<Value> inputTensors = llvm::map_to_vector<4>(inputs, [&](LoweredValue &value) { return l.tensor(value); });
  auto op = nn::AttentionOp::create(b, l.loc(), init.getType(), qTensor, kTensor, vTensor, inputTensors, init,
                                    b.getAffineMapArrayAttr(maps), b.getUnitAttr());
  op.getScore().takeBody(region);
  return finish(l.tensorValue(op->getResult(0), shape));
}
} // namespace

void snug::addAttentionOps(LoweringTable &t) { t.add("Attention", 23, attention, types::Ordinary & ~types::of(11)); }
