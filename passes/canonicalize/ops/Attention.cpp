// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention and RotaryEmbedding as operators of their own (opset 23).
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include <cmath>

using namespace mlir;
using namespace snug;

namespace {
// (b, s, h * d) with a number of heads as (b, s, h, d); (b, h, s, d) stays.
FailureOr<LoweredValue> withHeads(Lowering &l, LoweredValue &value, int64_t heads) {
  if (value.rank() == 4)
    return value;
  auto width = value.rank() == 3 ? dyn_cast<AffineConstantExpr>(value.shape[2]) : AffineConstantExpr();
  if (!width || heads < 1 || width.getValue() % heads != 0) {
    l.error() << "shape " << l.print(value.shape) << " does not have " << heads << " heads";
    return failure();
  }
  return l.reshape(value, {value.shape[0], value.shape[1], l.constant(heads), l.constant(width.getValue() / heads)});
}

// A mask as what is added to scores, with all four dims (b, h, s, t).
FailureOr<LoweredValue> biasOf(Lowering &l, LoweredValue &mask, Type type) {
  LoweredValue bias = mask;
  if (mask.elementType.isInteger(1)) {
    auto added = l.elementwise({&mask}, type, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
      const llvm::fltSemantics &semantics = cast<FloatType>(type).getFloatSemantics();
      Value zero = arith::ConstantOp::create(b, loc, b.getFloatAttr(type, 0));
      Value never = arith::ConstantOp::create(b, loc, b.getFloatAttr(type, APFloat::getInf(semantics, /*Negative=*/true)));
      return b.createOrFold<arith::SelectOp>(loc, x[0], zero, never);
    });
    if (failed(added))
      return failure();
    bias = *added;
  }
  Extents shape(4 - std::min<int64_t>(mask.rank(), 4), l.constant(1));
  llvm::append_range(shape, mask.shape);
  return l.reshape(bias, shape);
}

LogicalResult attention(Lowering &l) {
  OpBuilder &b = l.b;
  int64_t heads = l.intAttr("q_num_heads", 0), sharedHeads = l.intAttr("kv_num_heads", 0);
  bool flat = l.input(0).rank() == 3;
  auto q = withHeads(l, l.input(0), heads), k = withHeads(l, l.input(1), sharedHeads), v = withHeads(l, l.input(2), sharedHeads);
  if (failed(q) || failed(k) || failed(v))
    return failure();
  Type type = q->elementType;
  bool scores = l.node()->getNumResults() > 3 && !l.node()->getResult(3).use_empty();
  if (!type.isF32() || l.floatAttr("softcap", 0) != 0 || l.hasInput(6) || scores) {
    l.error() << "element type " << type << ", softcap, lengths of keys (nonpad_kv_seqlen) and the output of scores are "
              << "not supported beyond f32 attention";
    return failure();
  }
  bool past = l.hasInput(4) && l.hasInput(5), keysFlat = flat;
  if (past) {
    // The caches are (b, h, t, d), and so are the outputs for them.
    auto grow = [&](LoweredValue &cache, LoweredValue &value) -> FailureOr<LoweredValue> {
      auto own = flat ? l.transpose(value, {0, 2, 1, 3}) : FailureOr<LoweredValue>(value);
      if (failed(own))
        return failure();
      LoweredValue parts[] = {cache, *own};
      return l.concat(parts, 2);
    };
    k = grow(l.input(4), *k);
    v = grow(l.input(5), *v);
    if (failed(k) || failed(v))
      return failure();
    keysFlat = false;
  }
  for (auto [index, value] : {std::pair(1u, &*k), std::pair(2u, &*v)})
    if (index < l.node()->getNumResults() && !l.node()->getResult(index).use_empty()) {
      auto cache = keysFlat ? l.transpose(*value, {0, 2, 1, 3}) : FailureOr<LoweredValue>(*value);
      if (failed(cache))
        return failure();
      l.define(index, *cache);
    }
  // Iteration dims of snug_nn.attention: b, h, s, t, d, e.
  auto d = [&](unsigned dim) { return getAffineDimExpr(dim, b.getContext()); };
  auto map = [&](bool rowsFirst, unsigned row, unsigned column) {
    return rowsFirst ? AffineMap::get(6, 0, {d(0), d(row), d(1), d(column)}, b.getContext())
                     : AffineMap::get(6, 0, {d(0), d(1), d(row), d(column)}, b.getContext());
  };
  unsigned rowDim = flat ? 1 : 2, headDim = flat ? 2 : 1, keyDim = keysFlat ? 1 : 2, keyHeads = keysFlat ? 2 : 1;
  auto queryHeads = dyn_cast<AffineConstantExpr>(q->shape[headDim]);
  auto ownHeads = dyn_cast<AffineConstantExpr>(k->shape[keyHeads]);
  if (!queryHeads || !ownHeads || queryHeads.getValue() % ownHeads.getValue() != 0 ||
      !l.same(k->shape[keyDim], v->shape[keyDim]) || !l.same(q->shape[3], k->shape[3])) {
    l.error() << "queries " << l.print(q->shape) << ", keys " << l.print(k->shape) << " and values " << l.print(v->shape)
              << " do not fit each other";
    return failure();
  }
  auto size = dyn_cast<AffineConstantExpr>(q->shape[3]);
  double scale = l.floatAttr("scale", size ? 1 / std::sqrt(static_cast<double>(size.getValue())) : 1);
  SmallVector<AffineMap> maps = {map(flat, 2, 4), map(keysFlat, 3, 4), map(keysFlat, 3, 5)};
  Value bias, place;
  if (l.hasInput(3)) {
    auto added = biasOf(l, l.input(3), type);
    if (failed(added))
      return failure();
    bias = l.tensor(*added);
    SmallVector<AffineExpr> read;
    for (auto [dim, extent] : llvm::enumerate(added->shape))
      read.push_back(extent == l.constant(1) ? l.constant(0) : d(dim));
    maps.push_back(AffineMap::get(6, 0, read, b.getContext()));
  }
  bool causal = l.intAttr("is_causal", 0);
  if (causal && !past && q->shape[rowDim] != k->shape[keyDim])
    place = l.materialize(l.constant(0)); // the first row sees the first key alone, however many keys there are
  maps.push_back(map(flat, 2, 5));
  Extents shape = q->shape;
  shape[3] = v->shape[3];
  Value init = l.empty(shape, type);
  auto op = nn::AttentionOp::create(b, l.loc(), TypeRange{init.getType()}, l.tensor(*q), l.tensor(*k), l.tensor(*v), bias,
                                    place, init, b.getAffineMapArrayAttr(maps), b.getF32FloatAttr(scale),
                                    causal ? b.getUnitAttr() : UnitAttr(), UnitAttr());
  LoweredValue result = l.tensorValue(op->getResult(0), shape);
  auto back = flat ? l.reshape(result, {shape[0], shape[1], shape[2] * shape[3]}) : FailureOr<LoweredValue>(result);
  if (failed(back))
    return failure();
  l.define(0, *back);
  return success();
}

LogicalResult rotaryEmbedding(Lowering &l) {
  bool flat = l.input(0).rank() == 3;
  auto x = withHeads(l, l.input(0), l.intAttr("num_heads", 0));
  if (failed(x))
    return failure();
  auto width = dyn_cast<AffineConstantExpr>(x->shape[3]);
  int64_t rotated = l.intAttr("rotary_embedding_dim", 0);
  rotated = rotated ? rotated : width ? width.getValue() : 0;
  if (!width || rotated < 2 || rotated % 2 || rotated > width.getValue()) {
    l.error() << "an input of shape " << l.print(x->shape) << " with " << rotated << " rotated elements is not supported";
    return failure();
  }
  int64_t half = rotated / 2;
  bool interleaved = l.intAttr("interleaved", 0);
  // Angles (b, s, d / 2) beside the heads; with positions they are rows of a table.
  auto angles = [&](LoweredValue table) -> FailureOr<LoweredValue> {
    if (l.hasInput(3) && table.rank() == 2 && l.input(3).rank() == 2) {
      Extents shape = l.input(3).shape;
      shape.push_back(table.shape[1]);
      Value init = l.empty(shape, table.elementType);
      auto rows = nn::GatherOp::create(l.b, l.loc(), init.getType(), l.tensor(table), l.tensor(l.input(3)), init,
                                       l.b.getI64IntegerAttr(0));
      table = l.tensorValue(rows->getResult(0), shape);
    }
    if (table.rank() != 3) {
      l.error() << "tables of shape " << l.print(table.shape) << " are not supported";
      return failure();
    }
    Extents shape = table.shape;
    shape.insert(shape.begin() + (flat ? 2 : 1), l.constant(1));
    return l.reshape(table, shape);
  };
  auto cosine = angles(l.input(1)), sine = angles(l.input(2));
  if (failed(cosine) || failed(sine))
    return failure();
  auto part = [&](int64_t offset, int64_t size, int64_t step) {
    Extents offsets(4, l.constant(0)), sizes = x->shape;
    offsets[3] = l.constant(offset);
    sizes[3] = l.constant(size);
    SmallVector<int64_t> steps(4, 1);
    steps[3] = step;
    return l.slice(*x, offsets, sizes, steps);
  };
  LoweredValue first = interleaved ? part(0, half, 2) : part(0, half, 1);
  LoweredValue second = interleaved ? part(1, half, 2) : part(half, half, 1);
  // sign 1: p * cos - q * sin, the other way round q * cos + p * sin.
  auto turn = [&](LoweredValue &p, LoweredValue &q, bool minus) {
    return l.elementwise({&p, &*cosine, &q, &*sine}, x->elementType, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
      Value left = b.createOrFold<arith::MulFOp>(loc, a[0], a[1]), right = b.createOrFold<arith::MulFOp>(loc, a[2], a[3]);
      return minus ? b.createOrFold<arith::SubFOp>(loc, left, right) : b.createOrFold<arith::AddFOp>(loc, left, right);
    });
  };
  auto real = turn(first, second, true), imaginary = turn(second, first, false);
  if (failed(real) || failed(imaginary))
    return failure();
  FailureOr<LoweredValue> turned = failure();
  if (interleaved) {
    Extents pair = real->shape;
    pair.push_back(l.constant(1));
    auto even = l.reshape(*real, pair), odd = l.reshape(*imaginary, pair);
    if (failed(even) || failed(odd))
      return failure();
    LoweredValue parts[] = {*even, *odd};
    turned = l.concat(parts, 4);
    Extents merged = real->shape;
    merged[3] = l.constant(rotated);
    if (succeeded(turned))
      turned = l.reshape(*turned, merged);
  } else {
    LoweredValue parts[] = {*real, *imaginary};
    turned = l.concat(parts, 3);
  }
  if (succeeded(turned) && rotated < width.getValue()) {
    LoweredValue parts[] = {*turned, part(rotated, width.getValue() - rotated, 1)};
    turned = l.concat(parts, 3);
  }
  auto result = succeeded(turned) ? l.reshape(*turned, l.input(0).shape) : turned;
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
} // namespace

void snug::addAttentionOps(LoweringTable &t) {
  t.add("Attention", 23, attention);
  t.add("RotaryEmbedding", 23, rotaryEmbedding);
}
