// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// RotaryEmbedding as an operator of its own (opset 23).
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
// (b, s, h * d) with a number of heads as (b, s, h, d); (b, h, s, d) stays.
FailureOr<LoweredValue> withHeads(Lowering &l, LoweredValue &value, int64_t heads) {
  if (value.rank() == 4)
    return value;
  auto width = value.rank() == 3 && heads > 0 ? l.quotient(value.shape[2], l.constant(heads)) : std::nullopt;
  if (!width) {
    l.error() << "shape " << l.print(value.shape) << " does not have " << heads << " heads";
    return failure();
  }
  return l.reshape(value, {value.shape[0], value.shape[1], l.constant(heads), *width});
}

LogicalResult rotaryEmbedding(Lowering &l) {
  bool flat = l.input(0).rank() == 3;
  auto x = withHeads(l, l.input(0), l.intAttr("num_heads", 0));
  if (failed(x))
    return failure();
  AffineExpr width = x->shape[3], rotated = l.constant(l.intAttr("rotary_embedding_dim", 0));
  rotated = rotated == l.constant(0) ? width : rotated;
  auto even = l.quotient(rotated, l.constant(2));
  if (!even || !l.isAtLeast(rotated, 2) || !l.isAtLeast(width, rotated)) {
    l.error() << "an input of shape " << l.print(x->shape) << " with " << l.dims.print(rotated)
              << " rotated elements is not supported";
    return failure();
  }
  AffineExpr half = *even, zero = l.constant(0);
  bool interleaved = l.intAttr("interleaved", 0);
  // Angles (b, s, d / 2) beside the heads; with positions they are rows of a table.
  auto angles = [&](LoweredValue table) -> FailureOr<LoweredValue> {
    if (l.hasInput(3) && table.rank() == 2 && l.input(3).rank() == 2) {
      Extents shape = l.input(3).shape;
      shape.push_back(table.shape[1]);
      Value init = l.empty(shape, table.elementType);
      auto rows = nn::GatherOp::create(l.b, l.loc(), init.getType(), l.tensor(table), l.tensor(l.input(3)), Value(), init,
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
  auto part = [&](AffineExpr offset, AffineExpr size, int64_t step) {
    Extents offsets(4, zero), sizes = x->shape;
    offsets[3] = offset;
    sizes[3] = size;
    SmallVector<int64_t> steps(4, 1);
    steps[3] = step;
    return l.slice(*x, offsets, sizes, steps);
  };
  LoweredValue first = interleaved ? part(zero, half, 2) : part(zero, half, 1);
  LoweredValue second = interleaved ? part(l.constant(1), half, 2) : part(half, half, 1);
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
    auto first = l.reshape(*real, pair), second = l.reshape(*imaginary, pair);
    if (failed(first) || failed(second))
      return failure();
    LoweredValue parts[] = {*first, *second};
    turned = l.concat(parts, 4);
    Extents merged = real->shape;
    merged[3] = rotated;
    if (succeeded(turned))
      turned = l.reshape(*turned, merged);
  } else {
    LoweredValue parts[] = {*real, *imaginary};
    turned = l.concat(parts, 3);
  }
  if (succeeded(turned) && rotated != width) {
    LoweredValue parts[] = {*turned, part(rotated, width - rotated, 1)};
    turned = l.concat(parts, 3);
  }
  auto result = succeeded(turned) ? l.reshape(*turned, l.input(0).shape) : turned;
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
} // namespace

void snug::addRotaryEmbedding(LoweringTable &t) { t.add("RotaryEmbedding", 23, rotaryEmbedding); }
