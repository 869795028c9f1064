// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention (opset 23): one snug_nn.attention, with scale, soft cap and masks in its region.
#include "mlir/Dialect/Math/IR/Math.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
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
  auto width = in.rank() == 3 ? dyn_cast<AffineConstantExpr>(in.shape[2]) : nullptr;
  if (!width || count <= 0 || width.getValue() % count != 0) {
    l.error() << "input " << index << " of shape " << l.print(in.shape) << " and " << countAttribute << " = " << count
              << " do not give heads; wanted are 4 dims, or 3 and a number of heads that divides the last";
    return failure();
  }
  auto value = l.reshape(in, {in.shape[0], in.shape[1], l.constant(count), l.constant(width.getValue() / count)});
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
  if (past.rank() != 4 || !l.same(past.shape[0], fresh.shape[0]) || past.shape[1] != fresh.shape[1] ||
      past.shape[3] != fresh.shape[3]) {
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
  double scale = 1, softcap = 0;
  Value past, rows; // row s stands at key s + past; where keys are counted, the last of the rows at the last of those
  int64_t left = -1, right = -1; // keys seen before and after that; -1: all
  Value mask, counted;           // as block arguments; of bool or of a float type, and keys that exist

  Value emit(OpBuilder &b, Location loc, Value x, unsigned row, unsigned key) const {
    auto number = [&](double value) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value)).getResult(); };
    auto place = [&](unsigned dim) { return nn::IndexOp::create(b, loc, b.getIndexType(), dim).getResult(); };
    auto hideUnless = [&](Value seen) { x = arith::SelectOp::create(b, loc, seen, x, number(-INFINITY)); };
    x = arith::MulFOp::create(b, loc, x, number(scale));
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

LogicalResult attention(Lowering &l) {
  OpBuilder &b = l.b;
  MLIRContext *context = b.getContext();
  if (l.node()->getNumResults() > 3 && !l.node()->getResult(3).use_empty()) {
    l.error() << "output qk_matmul_output is not supported: scores of all rows and keys never exist at once";
    return failure();
  }
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
  auto queryHeads = dyn_cast<AffineConstantExpr>(q->count()), keyHeads = dyn_cast<AffineConstantExpr>(k->count());
  auto size = dyn_cast<AffineConstantExpr>(q->size());
  Type element = q->value.elementType;
  if (!computesInF32(element) || k->value.elementType != element || v->value.elementType != element || !queryHeads || !keyHeads || !size || !l.same(k->size(), q->size()) ||
      v->count() != k->count() || !l.same(v->length(), k->length()) ||
      queryHeads.getValue() % keyHeads.getValue() != 0) {
    l.error()
        << "Q, K and V of shapes " << l.print(l.input(Q).shape) << ", " << l.print(l.input(K).shape) << ", "
        << l.print(l.input(V).shape) << " and type " << q->value.elementType
        << " do not go together; float32 or narrower floats, constant numbers and sizes of heads, and query heads that are a multiple "
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
  int64_t group = queryHeads.getValue() / keyHeads.getValue();
  // (b, h, s, t, d, e)
  AffineExpr batch, head, row, key, d, e;
  bindDims(context, batch, head, row, key, d, e);
  auto mapOf = [&](const Heads &heads, AffineExpr which, AffineExpr length, AffineExpr element) {
    AffineExpr first = heads.rowsOutside ? length : which, second = heads.rowsOutside ? which : length;
    return AffineMap::get(6, 0, {batch, first, second, element}, context);
  };
  AffineExpr keyHead = keyHeads.getValue() == 1 ? l.constant(0) : head.floorDiv(group);
  SmallVector<AffineMap> maps = {mapOf(*q, head, row, d), mapOf(*k, keyHead, key, d), mapOf(*v, keyHead, key, e)};

  Score score;
  score.scale = l.floatAttr("scale", 1 / std::sqrt(static_cast<double>(size.getValue())));
  score.softcap = l.floatAttr("softcap", 0);
  Region region;
  Block &block = region.emplaceBlock();
  Value x = block.addArgument(b.getF32Type(), l.loc());
  SmallVector<Value> inputs;
  if (l.hasInput(Mask)) {
    LoweredValue &mask = l.input(Mask);
    Extents full = {q->value.shape[0], q->count(), q->length(), k->length()};
    SmallVector<AffineExpr> dims = {batch, head, row, key}, indices;
    bool fits = mask.rank() <= 4 && (mask.elementType.isInteger(1) || computesInF32(mask.elementType));
    for (int64_t i = 0; fits && i < mask.rank(); ++i) {
      unsigned dim = 4 - mask.rank() + i;
      bool spans = l.same(mask.shape[i], full[dim]);
      fits = spans || (dim != 3 && mask.shape[i] == l.constant(1));
      indices.push_back(spans ? dims[dim] : l.constant(0));
    }
    if (!fits) {
      l.error() << "attn_mask of shape " << l.print(mask.shape) << " and type " << mask.elementType
                << " is no bool, float32 or narrower float that broadcasts to " << l.print(full) << " or is shorter in the last dim";
      return failure();
    }
    inputs.push_back(l.tensor(mask));
    maps.push_back(AffineMap::get(6, 0, indices, context));
    score.mask = block.addArgument(mask.elementType, l.loc());
  }
  if (l.hasInput(KeyCount)) {
    inputs.push_back(l.tensor(l.input(KeyCount)));
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
    nn::YieldOp::create(inner, l.loc(), score.emit(inner, l.loc(), x, 2, 3));
  }
  Extents shape = q->value.shape;
  shape[3] = v->size();
  Heads result{{}, outside};
  maps.push_back(mapOf(result, head, row, e));
  Value init = l.empty(shape, element);
  Value qTensor = l.tensor(q->value), kTensor = l.tensor(k->value), vTensor = l.tensor(v->value);
  // A row without any key gives 0, says the standard.
  auto op = nn::AttentionOp::create(b, l.loc(), init.getType(), qTensor, kTensor, vTensor, inputs, init,
                                    b.getAffineMapArrayAttr(maps), b.getUnitAttr());
  op.getScore().takeBody(region);
  LoweredValue y = l.tensorValue(op->getResult(0), shape);
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
}
} // namespace

void snug::addAttentionOps(LoweringTable &t) { t.add("Attention", 23, attention, types::Ordinary & ~types::of(11)); }
