// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// GroupQueryAttention of ONNX Runtime: with rotary positions and caches that are filled in place.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ops/ContribAttention.h"

using namespace mlir;
using namespace snug;

namespace {
enum Gqa { Query, Key, Value_, PastKey, PastValue, LastKeys, TotalLength, Cosine, Sine, PositionIds, Bias, Sink, KeyScale,
           ValueScale, QueryNorm, KeyNorm };

// What has no meaning here or no lowering yet.
LogicalResult checkGrouped(Composer &c) {
  Lowering &l = c.l;
  auto refuse = [&](StringRef what, StringRef remedy) { return l.error() << what << " is not supported; " << remedy; };
  if (l.hasInput(Sink) || l.intAttr("smooth_softmax", 0) > 0)
    return refuse("head_sink or smooth_softmax", "export with the plain softmax");
  if (l.hasInput(KeyScale) || l.hasInput(ValueScale) || l.stringAttr("k_quant_type", "NONE") != "NONE" ||
      l.stringAttr("v_quant_type", "NONE") != "NONE")
    return refuse("a quantized cache", "export with caches of the type of the queries");
  if (l.intAttr("sliding_window_cache", 0))
    return refuse("sliding_window_cache", "export with caches for all of the sequence");
  if (c.wants(3))
    return refuse("output_qk", "leave that output out");
  return success();
}

LogicalResult groupQueryAttention(Lowering &l) {
  Composer c(l);
  if (failed(checkGrouped(c)))
    return failure();
  OpBuilder &b = l.b;
  Type i64 = b.getI64Type();
  int64_t heads = l.intAttr("num_heads", 0), keyHeads = l.intAttr("kv_num_heads", 0);
  LoweredValue query = l.input(Query);
  Heads q, k, v;
  if (l.hasInput(Key)) {
    q = splitHeads(c, query, heads);
    k = splitHeads(c, l.input(Key), keyHeads);
    v = splitHeads(c, l.input(Value_), keyHeads);
  } else {
    auto size = query.rank() == 3 && heads > 0 && keyHeads > 0 ? l.quotient(query.shape[2], l.constant(heads + 2 * keyHeads))
                                                               : std::nullopt;
    if (!size)
      return l.error() << "a query of shape " << l.print(query.shape) << " has no " << heads << " heads and two times "
                       << keyHeads << " of keys and values";
    q = splitHeads(c, columns(c, query, l.constant(0), *size * heads), heads);
    k = splitHeads(c, columns(c, query, *size * heads, *size * keyHeads), keyHeads);
    v = splitHeads(c, columns(c, query, *size * (heads + keyHeads), *size * keyHeads), keyHeads);
  }
  if (!c.ok())
    return failure();
  for (auto [index, side] : {std::pair(QueryNorm, &q), std::pair(KeyNorm, &k)})
    if (l.hasInput(index))
      side->value = c.call("RMSNormalization", {side->value, l.input(index)},
                           {c.attr("epsilon", l.floatAttr("qk_norm_epsilon", 1e-6))});
  AffineExpr batch = q.value.shape[0], rows = q.length();
  bool hasPast = l.hasInput(PastKey);

  // Of each sequence: how many keys there are with the new ones, and how many were there before. A first prompt, which has
  // nothing before, may be shorter than its rows.
  LoweredValue last = c.call("Cast", {c.reshape(l.input(LastKeys), {batch})}, {c.attr("to", 7)});
  LoweredValue total = c.call("Cast", {c.reshape(l.input(TotalLength), {})}, {c.attr("to", 7)});
  LoweredValue rowCount = l.intsValue(i64, {rows}, /*scalar=*/true), one = c.number(i64, 1);
  LoweredValue count = c.call("Add", {last, one});
  LoweredValue before = c.elementwise({count, total, rowCount}, i64, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    Value isFirst = b.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, x[1], x[2]);
    return b.createOrFold<arith::SelectOp>(loc, isFirst, number(b, loc, i64, 0), b.createOrFold<arith::SubIOp>(loc, x[0], x[2]));
  });
  if (!c.ok())
    return failure();

  if (l.intAttr("do_rotary", 0)) {
    LoweredValue places;
    if (l.hasInput(PositionIds))
      places = l.input(PositionIds);
    else
      places = c.call("Add", {c.reshape(before, {batch, l.constant(1)}), c.positions({l.constant(1), rows}, 1)});
    int64_t interleaved = l.intAttr("rotary_interleaved", 0);
    LoweredValue cosine = l.input(Cosine), sine = l.input(Sine);
    auto width = cosine.rank() == 2 ? dyn_cast<AffineConstantExpr>(cosine.shape[1]) : AffineConstantExpr();
    if (!width)
      return l.error() << "a table of cosines of shape " << l.print(cosine.shape) << " is not supported; its columns must be known";
    for (auto [side, number] : {std::pair(&q, heads), std::pair(&k, keyHeads)}) {
      AffineExpr columns = side->count() * side->size();
      LoweredValue flat = c.reshape(side->value, {batch, side->length(), columns});
      flat = c.call("RotaryEmbedding", {flat, cosine, sine, places},
                    {c.attr("interleaved", interleaved), c.attr("num_heads", number), c.attr("rotary_embedding_dim", width.getValue() * 2)});
      if (!c.ok())
        return failure();
      side->value = c.reshape(flat, side->value.shape);
    }
  }

  AttentionInputs in = inputsOf(q, k, v);
  in.scale = scaleAttr(l);
  in.softcap = l.floatAttr("softcap", 0);
  // Caches as long as the sequence may become, or as it was until now; what is not filled is 0.
  auto totalLength = l.ints(total);
  if (hasPast || c.wants(1) || c.wants(2)) {
    for (auto [index, side] : {std::pair(PastKey, &in.k), std::pair(PastValue, &in.v)}) {
      LoweredValue cache = l.splatValue(numberAttr(side->value.elementType, 0),
                                        {batch, side->count(), l.constant(0), side->size()}, side->value.elementType);
      if (hasPast)
        cache = l.input(index);
      if (cache.rank() != 4)
        return l.error() << "a cache of shape " << l.print(cache.shape) << " is not [batch, heads, rows, size]";
      AffineExpr room = cache.shape[2], length = hasPast ? room : rows;
      if (totalLength && hasPast) {
        AffineExpr stated = (*totalLength)[0];
        auto longer = l.extremum(stated, room, /*larger=*/true);
        // An open length is taken to be that of a cache that grows by what is new.
        bool isFound = longer && l.dims.isOfExtremum(*longer) && l.dims.isOpen(stated - room);
        if (!longer || (isFound && !l.same(stated, room + rows)))
          return l.error() << "a total length of " << l.dims.print(stated) << " and a cache of " << l.dims.print(room)
                           << " rows do not tell how long the next cache is; give the dims so that one of them is the longer one";
        length = *longer;
      }
      if (length != room) {
        Extents none(4, l.constant(0)), after = none;
        after[2] = length - room;
        cache = c.keep(l.pad(cache, none, after, numberAttr(side->value.elementType, 0)));
      }
      if (!c.ok())
        return failure();
      *side = {filled(c, cache, *side, before)};
    }
    c.also(1, in.k.value);
    c.also(2, in.v.value);
  }
  in.keyCount = count;
  in.before = before;
  bool isCausal = l.intAttr("causal", 1);
  if (isCausal)
    in.right = 0;
  if (int64_t window = l.intAttr("local_window_size", -1); window > 0)
    in.left = window - 1;
  if (l.hasInput(Bias))
    in.masks.push_back(l.input(Bias));
  return finishAttention(c, in);
}
} // namespace

void snug::addGroupQueryAttention(LoweringTable &t) {
  t.add("GroupQueryAttention", 1, groupQueryAttention, types::of(1, 10, 16) | types::of(6, 7), kContribDomain);
}
