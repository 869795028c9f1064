// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention as ONNX Runtime's optimizer and its builder of language models write it: with projections, biases, padding masks,
// caches that are filled in place, and positions.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/ContribAttention.h"

using namespace mlir;
using namespace snug;

std::optional<double> snug::scaleAttr(Lowering &l) {
  double scale = l.floatAttr("scale", 0);
  return scale != 0 ? std::optional(scale) : std::nullopt;
}

Heads snug::splitHeads(Composer &c, LoweredValue value, int64_t count) {
  if (!c.ok())
    return {};
  auto size = value.rank() == 3 && count > 0 ? c.l.quotient(value.shape[2], c.l.constant(count)) : std::nullopt;
  if (!size) {
    c.l.error() << "an input of shape " << c.l.print(value.shape) << " has no " << count << " heads; wanted are 3 dims, of which "
                << "the last is a multiple of them" << (value.rank() == 3 ? c.l.stepHint(value.shape[2], count) : "");
    (void)c.fail();
    return {};
  }
  return {c.reshape(value, {value.shape[0], value.shape[1], c.l.constant(count), *size}), true};
}

AttentionInputs snug::inputsOf(const Heads &q, const Heads &k, const Heads &v) {
  AttentionInputs in;
  in.q = q;
  in.k = k;
  in.v = v;
  return in;
}

LoweredValue snug::columns(Composer &c, LoweredValue value, AffineExpr from, AffineExpr count) {
  return c.part(value, value.rank() - 1, from, count);
}

LogicalResult snug::finishAttention(Composer &c, AttentionInputs in, int scores) {
  if (!c.ok())
    return failure();
  if (scores >= 0 && c.wants(scores))
    in.scores = 3;
  auto made = attend(c.l, in);
  if (failed(made))
    return failure();
  LoweredValue &y = made->y;
  if (in.scores)
    c.also(scores, made->scores);
  if (!in.q.rowsOutside)
    y = c.transpose(y, {0, 2, 1, 3});
  return c.define(0, c.ok() ? c.reshape(y, {y.shape[0], y.shape[1], y.shape[2] * y.shape[3]}) : y);
}

LoweredValue snug::filled(Composer &c, LoweredValue cache, const Heads &fresh, LoweredValue first) {
  LoweredValue update = fresh.rowsOutside ? c.transpose(fresh.value, {0, 2, 1, 3}) : fresh.value;
  return c.call("TensorScatter", {cache, update, first}, {c.attr("axis", 2)});
}

namespace {
// One of the values that lie side by side along a dim, without that dim.
LoweredValue unpacked(Composer &c, LoweredValue value, int64_t dim, int64_t which) {
  return c.ok() ? c.l.elementAt(value, dim, c.l.constant(which)) : LoweredValue();
}

// What a padding mask adds to scores: `filter` where a key is hidden, else 0. The mask has how many keys each sequence has,
// or those behind their last ones and then the first ones, or a number that is 0 for each key, or for each row and key.
LoweredValue paddingBias(Composer &c, LoweredValue mask, const Heads &q, const Heads &k, double filter) {
  Lowering &l = c.l;
  OpBuilder &b = l.b;
  Type f32 = b.getF32Type();
  AffineExpr one = l.constant(1), batch = q.value.shape[0], keys = k.length();
  auto choose = [=](OpBuilder &b, Location loc, Value seen) -> Value {
    return b.createOrFold<arith::SelectOp>(loc, seen, number(b, loc, f32, 0), number(b, loc, f32, filter));
  };
  if (mask.rank() == 1) {
    bool hasFirst = !l.same(mask.shape[0], batch);
    if (hasFirst && !l.same(mask.shape[0], batch * 2)) {
      l.error() << "a mask of shape " << l.print(mask.shape) << " for " << l.dims.print(batch)
                << " sequences is not supported; give a mask of [batch, keys]";
      (void)c.fail();
      return {};
    }
    LoweredValues inputs = {c.reshape(c.part(mask, 0, l.constant(0), batch), {batch, one, one, one})};
    if (hasFirst)
      inputs.push_back(c.reshape(c.part(mask, 0, batch, batch), {batch, one, one, one}));
    inputs.push_back(c.positions({batch, one, one, keys}, 3));
    return c.elementwise(inputs, f32, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
      auto wide = [&](Value value) { return convert(b, loc, value, mask.elementType, b.getI64Type()); };
      auto below = [&](Value left, Value right) {
        return b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::slt, left, right);
      };
      Value seen = below(x.back(), wide(x[0]));
      if (hasFirst) {
        Value hidden = below(x.back(), wide(x[1]));
        seen = b.createOrFold<arith::SelectOp>(loc, hidden, arith::ConstantOp::create(b, loc, b.getBoolAttr(false)), seen);
      }
      return choose(b, loc, seen);
    });
  }
  if (mask.rank() == 0 || mask.rank() > 3) {
    l.error() << "a mask of shape " << l.print(mask.shape) << " is not supported; give one of [batch, keys]";
    (void)c.fail();
    return {};
  }
  Extents shape = mask.shape;
  while (shape.size() < 4)
    shape.insert(shape.begin() + 1, one);
  LoweredValue spread = c.reshape(mask, shape);
  return c.elementwise({spread}, f32, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    Value zero = number(b, loc, mask.elementType, 0);
    return choose(b, loc, lessThan(b, loc, mask.elementType, zero, x[0]));
  });
}

// --- Attention, QAttention ----------------------------------------------------------------------------------------

struct Slots {
  int mask, past, attentionBias;
};

// Of the projected input, [batch, rows, all columns of q, k and v].
LogicalResult ofProjection(Composer &c, LoweredValue projected, Slots slots) {
  Lowering &l = c.l;
  if (!c.ok())
    return failure();
  if (projected.rank() != 3)
    return l.error() << "an input and weights that give " << l.print(projected.shape) << " are not [batch, rows, columns]";
  if (l.intAttr("do_rotary", 0))
    return l.error() << "do_rotary is not supported here; export with MultiHeadAttention and RotaryEmbedding";
  if (l.intAttr("past_present_share_buffer", 0))
    return l.error() << "past_present_share_buffer is not supported here; export with separate caches";
  int64_t heads = l.intAttr("num_heads", 0);
  SmallVector<AffineExpr> widths;
  if (auto given = l.intsAttr("qkv_hidden_sizes"); given && given->size() == 3) {
    AffineExpr total = l.constant(0);
    for (int64_t width : *given) {
      widths.push_back(l.constant(width));
      total = total + width;
    }
    if (llvm::any_of(*given, [](int64_t width) { return width <= 0; }) || !l.same(projected.shape.back(), total))
      return l.error() << "qkv_hidden_sizes [" << *given << "] do not add up to " << l.dims.print(projected.shape.back())
                       << " columns";
  } else if (auto third = l.quotient(projected.shape.back(), l.constant(3))) {
    widths.assign(3, *third);
  } else {
    return l.error() << l.dims.print(projected.shape.back()) << " columns are no queries, keys and values of one size";
  }
  Heads all[3];
  AffineExpr at = l.constant(0);
  for (unsigned i = 0; i < 3; ++i) {
    all[i] = splitHeads(c, columns(c, projected, at, widths[i]), heads);
    at = at + widths[i];
  }
  if (!c.ok())
    return failure();
  AttentionInputs in = inputsOf(all[0], all[1], all[2]);
  in.scale = scaleAttr(l);
  if (l.intAttr("unidirectional", 0))
    in.right = 0;
  bool hasPast = l.hasInput(slots.past);
  if (hasPast || c.wants(1)) {
    for (auto [index, side] : {std::pair(0, &in.k), std::pair(1, &in.v)}) {
      LoweredValue past;
      if (hasPast) {
        if (l.input(slots.past).rank() != 5)
          return l.error() << "a past of shape " << l.print(l.input(slots.past).shape) << " is not [2, batch, heads, rows, size]";
        if (!l.same(l.input(slots.past).shape[0], 2))
          return l.error() << "a past of shape " << l.print(l.input(slots.past).shape) << " does not hold keys and values";
        past = unpacked(c, l.input(slots.past), 0, index);
        in.past = past.shape[2];
      }
      auto whole = withPast(l, hasPast ? &past : nullptr, *side);
      if (failed(whole))
        return failure();
      *side = *whole;
    }
  }
  if (l.hasInput(slots.mask))
    in.masks.push_back(paddingBias(c, l.input(slots.mask), in.q, in.k, l.floatAttr("mask_filter_value", -10000)));
  if (slots.attentionBias >= 0 && l.hasInput(slots.attentionBias))
    in.masks.push_back(l.input(slots.attentionBias));
  if (c.ok() && c.wants(1)) {
    LoweredValue parts[2];
    for (auto [part, side] : {std::pair(&parts[0], &in.k), std::pair(&parts[1], &in.v)}) {
      Extents shape = side->value.shape;
      shape.insert(shape.begin(), l.constant(1));
      *part = c.reshape(side->value, shape);
    }
    if (!c.ok())
      return failure();
    c.also(1, c.keep(l.concat(parts, 0)));
  }
  return finishAttention(c, in);
}

LogicalResult attention(Lowering &l) {
  Composer c(l);
  return ofProjection(c, c.sum(c.call("MatMul", {l.input(0), l.input(1)}), c.input(2)), {3, 4, 5});
}

LogicalResult quantizedAttention(Lowering &l) {
  Composer c(l);
  LoweredValue sum = c.call("MatMulInteger", {l.input(0), l.input(1), c.input(6), c.input(7)});
  LoweredValue scale = c.call("Mul", {l.input(3), l.input(4)});
  LoweredValue real = c.call("Mul", {c.call("Cast", {sum}, {c.attr("to", 1)}), scale});
  return ofProjection(c, c.call("Add", {real, l.input(2)}), {5, 8, -1});
}

// --- MultiHeadAttention -------------------------------------------------------------------------------------------

// Inputs behind query, key and value.
struct MultiHeadSlots {
  int bias, mask, attentionBias, pastKey, pastLength, cacheIndirection;
};

LogicalResult multiHead(Lowering &l, MultiHeadSlots slots) {
  Composer c(l);
  int64_t heads = l.intAttr("num_heads", 0);
  LoweredValue query = l.input(0);
  if (l.hasInput(slots.cacheIndirection))
    return l.error() << "cache_indirection is not supported; search beams outside of the model";
  Heads q, k, v;
  bool isPast = false; // keys and values are those of a cache
  auto holds = [&](const LoweredValue &value, int64_t count) { return value.rank() != 5 || l.same(value.shape[3], count); };
  if (!holds(query, 3) || (l.hasInput(1) && !holds(l.input(1), 2)))
    return l.error() << "a query of shape " << l.print(query.shape) << " or its keys are not packed as 3 or 2 values of each head";
  if (query.rank() == 5) {
    for (auto [which, side] : {std::pair(0, &q), std::pair(1, &k), std::pair(2, &v)})
      *side = {unpacked(c, query, 3, which), true};
  } else if (!l.hasInput(1)) { // columns of all three
    auto third = query.rank() == 3 ? l.quotient(query.shape[2], l.constant(3)) : std::nullopt;
    if (!third)
      return l.error() << "a query of shape " << l.print(query.shape) << " without keys has no columns for all three";
    for (auto [which, side] : {std::pair(0, &q), std::pair(1, &k), std::pair(2, &v)})
      *side = splitHeads(c, columns(c, query, *third * which, *third), heads);
  } else {
    q = splitHeads(c, query, heads);
    LoweredValue key = l.input(1);
    isPast = key.rank() == 4;
    if (key.rank() == 5) {
      k = {unpacked(c, key, 3, 0), true};
      v = {unpacked(c, key, 3, 1), true};
    } else {
      k = isPast ? Heads{key} : splitHeads(c, key, heads);
      v = isPast ? Heads{l.input(2)} : splitHeads(c, l.input(2), heads);
    }
  }
  if (!c.ok())
    return failure();
  if (q.value.rank() != 4 || k.value.rank() != 4 || v.value.rank() != 4)
    return l.error() << "inputs of shapes " << l.print(query.shape) << " are not supported";
  if (l.hasInput(slots.bias)) {
    LoweredValue bias = l.input(slots.bias);
    AffineExpr total = q.count() * q.size() + k.count() * k.size() + v.count() * v.size();
    if (bias.rank() != 1 || !l.same(bias.shape[0], total))
      return l.error() << "a bias of shape " << l.print(bias.shape) << " is not one number for each of " << l.dims.print(total)
                       << " columns";
    AffineExpr at = l.constant(0);
    for (Heads *side : {&q, &k, &v}) {
      AffineExpr width = side->count() * side->size();
      LoweredValue own = c.reshape(columns(c, bias, at, width), {side->count(), side->size()});
      at = at + width;
      if (side == &q || !isPast)
        side->value = c.call("Add", {side->value, own});
    }
  }
  AttentionInputs in = inputsOf(q, k, v);
  in.scale = scaleAttr(l);
  if (l.intAttr("unidirectional", 0))
    in.right = 0;
  if (!c.ok())
    return failure();
  if (l.hasInput(slots.pastLength) && l.hasInput(slots.pastKey)) {
    // The caches have room for what is to come.
    LoweredValue before = c.call("Cast", {c.reshape(l.input(slots.pastLength), {l.constant(1)})}, {c.attr("to", 7)});
    before = c.call("Expand", {before, l.intsValue(l.b.getI64Type(), {q.value.shape[0]})});
    LoweredValue rows = l.intsValue(l.b.getI64Type(), {k.length()}, /*scalar=*/true);
    in.keyCount = c.call("Add", {before, rows});
    in.before = before;
    in.k = {filled(c, l.input(slots.pastKey), k, before)};
    in.v = {filled(c, l.input(slots.pastKey + 1), v, before)};
  } else if (l.hasInput(slots.pastKey) || ((c.wants(1) || c.wants(2)) && !isPast)) {
    for (auto [index, side] : {std::pair(slots.pastKey, &in.k), std::pair(slots.pastKey + 1, &in.v)}) {
      auto whole = withPast(l, l.hasInput(index) ? &l.input(index) : nullptr, *side);
      if (failed(whole))
        return failure();
      *side = *whole;
    }
    if (l.hasInput(slots.pastKey))
      in.past = l.input(slots.pastKey).shape[2];
  }
  c.also(1, in.k.value);
  c.also(2, in.v.value);
  if (c.ok() && l.hasInput(slots.mask))
    in.masks.push_back(paddingBias(c, l.input(slots.mask), in.q, in.k, l.floatAttr("mask_filter_value", -10000)));
  if (l.hasInput(slots.attentionBias))
    in.masks.push_back(l.input(slots.attentionBias));
  return finishAttention(c, in, 3);
}

LogicalResult multiHeadAttention(Lowering &l) { return multiHead(l, {3, 4, 5, 6, 8, 9}); }
LogicalResult decoderMaskedAttention(Lowering &l) { return multiHead(l, {10, 3, 4, 5, 7, 9}); }
} // namespace

void snug::addContribAttentionOps(LoweringTable &t) {
  constexpr TypeSet floats = types::of(1, 10, 16), masks = types::of(6);
  t.add("Attention", 1, attention, floats | masks, kContribDomain);
  t.add("QAttention", 1, quantizedAttention, types::of(1, 2, 3, 6), kContribDomain);
  t.add("MultiHeadAttention", 1, multiHeadAttention, floats | masks, kContribDomain);
  t.add("DecoderMaskedMultiHeadAttention", 1, decoderMaskedAttention, floats | masks, kContribDomain);
}
