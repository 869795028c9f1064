// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/KeysInParts.h"
#include "dialects/mesh/MeshDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace snug;

namespace {
using Sizes = SmallVector<OpFoldResult>;
using Body = function_ref<Value(OpBuilder &, Location, ValueRange)>;

Value generic(OpBuilder &b, Location loc, ValueRange inputs, Value init, ArrayRef<AffineMap> maps, unsigned reductions, Body body) {
  SmallVector<utils::IteratorType> kinds(maps[0].getNumDims(), utils::IteratorType::parallel);
  for (unsigned i = 0; i < reductions; ++i)
    kinds[kinds.size() - 1 - i] = utils::IteratorType::reduction;
  return linalg::GenericOp::create(b, loc, init.getType(), inputs, init, maps, kinds,
                                   [&](OpBuilder &o, Location l, ValueRange v) { linalg::YieldOp::create(o, l, body(o, l, v)); })
      .getResult(0);
}

Value number(OpBuilder &o, Location l, double value) { return arith::ConstantOp::create(o, l, o.getF32FloatAttr(value)); }

// exp(score - most), where most may be that of a row which saw nothing.
Value weight(OpBuilder &o, Location l, Value score, Value most) {
  Value none = arith::CmpFOp::create(o, l, arith::CmpFPredicate::OEQ, most, number(o, l, -INFINITY));
  Value base = arith::SelectOp::create(o, l, none, number(o, l, 0), most);
  return math::ExpOp::create(o, l, arith::SubFOp::create(o, l, score, base));
}
// From the dims of what is stored to those of rows.
AffineMap rowsOf(nn::AttentionOp op, OpBuilder &b) {
  AffineMap stored = op.getMaps().back();
  SmallVector<AffineExpr> places;
  for (unsigned dim = 0; dim <= op.rowDim(); ++dim)
    places.push_back(b.getAffineDimExpr(*stored.getResultPosition(b.getAffineDimExpr(dim))));
  return AffineMap::get(stored.getNumResults(), 0, places, b.getContext());
}

Value emptyOf(OpBuilder &b, Location loc, Value like, Type element) {
  return tensor::EmptyOp::create(b, loc, tensor::getMixedSizes(b, loc, like), element);
}
} // namespace

RowsSeen snug::seenBy(nn::AttentionOp part) { return {part->getResult(0), part->getResult(1), part->getResult(2)}; }

RowsSeen snug::seenTogether(OpBuilder &b, Location loc, const RowsSeen &a, const RowsSeen &c, nn::AttentionOp op) {
  AffineMap row = b.getMultiDimIdentityMap(cast<RankedTensorType>(a.most.getType()).getRank());
  AffineMap element = b.getMultiDimIdentityMap(cast<RankedTensorType>(a.values.getType()).getRank()), ofRow = rowsOf(op, b);
  Type f32 = b.getF32Type();
  RowsSeen both;
  both.most = generic(b, loc, {a.most, c.most}, emptyOf(b, loc, a.most, f32), {row, row, row}, 0, [](OpBuilder &o, Location l, ValueRange v) -> Value {
    return arith::MaximumFOp::create(o, l, v[0], v[1]);
  });
  auto sum = [](OpBuilder &o, Location l, Value firstTotal, Value firstMost, Value secondTotal, Value secondMost, Value most) {
    Value first = arith::MulFOp::create(o, l, firstTotal, weight(o, l, firstMost, most));
    Value second = arith::MulFOp::create(o, l, secondTotal, weight(o, l, secondMost, most));
    return std::pair(first, second);
  };
  both.total = generic(b, loc, {a.total, a.most, c.total, c.most, both.most}, emptyOf(b, loc, a.total, f32), {row, row, row, row, row, row}, 0,
                       [&](OpBuilder &o, Location l, ValueRange v) -> Value {
                         auto [first, second] = sum(o, l, v[0], v[1], v[2], v[3], v[4]);
                         return arith::AddFOp::create(o, l, first, second);
                       });
  both.values = generic(b, loc, {a.values, c.values, a.total, a.most, c.total, c.most, both.most, both.total},
                        emptyOf(b, loc, a.values, f32), {element, element, ofRow, ofRow, ofRow, ofRow, ofRow, ofRow, element}, 0,
                        [&](OpBuilder &o, Location l, ValueRange v) -> Value {
                          auto [first, second] = sum(o, l, v[2], v[3], v[4], v[5], v[6]);
                          Value value = arith::AddFOp::create(o, l, arith::MulFOp::create(o, l, v[0], first),
                                                              arith::MulFOp::create(o, l, v[1], second));
                          Value any = arith::CmpFOp::create(o, l, arith::CmpFPredicate::OGT, v[7], number(o, l, 0));
                          return arith::SelectOp::create(o, l, any, arith::DivFOp::create(o, l, value, v[7]), number(o, l, 0));
                        });
  return both;
}

Value snug::resultOf(OpBuilder &b, Location loc, const RowsSeen &seen, nn::AttentionOp op) {
  AffineMap element = b.getMultiDimIdentityMap(cast<RankedTensorType>(seen.values.getType()).getRank()), ofRow = rowsOf(op, b);
  Type stored = cast<RankedTensorType>(op.getInit().getType()).getElementType();
  Value init = emptyOf(b, loc, seen.values, stored);
  return generic(b, loc, {seen.values, seen.total}, init, {element, ofRow, element}, 0, [&](OpBuilder &o, Location l, ValueRange v) -> Value {
    Value value = v[0];
    if (!op.getZeroIfMasked()) // NaN where there is no weight at all
      value = arith::MulFOp::create(o, l, value, arith::DivFOp::create(o, l, v[1], v[1]));
    return roundToStore(o, l, value, stored);
  });
}

nn::AttentionOp snug::attendToPart(OpBuilder &b, nn::AttentionOp op, ValueRange operands) {
  Location loc = op.getLoc();
  SmallVector<AffineMap> maps = op.getMaps();
  Value init = operands.back();
  Sizes sizes = tensor::getMixedSizes(b, loc, init), rows;
  SmallVector<AffineExpr> dims;
  for (unsigned dim = 0; dim <= op.rowDim(); ++dim) {
    dims.push_back(b.getAffineDimExpr(dim));
    rows.push_back(sizes[*maps.back().getResultPosition(dims.back())]);
  }
  AffineMap ofRows = AffineMap::get(maps[0].getNumDims(), 0, dims, b.getContext());
  maps.insert(maps.end() - 1, 2, ofRows);
  Value most = tensor::EmptyOp::create(b, loc, rows, b.getF32Type()), total = tensor::EmptyOp::create(b, loc, rows, b.getF32Type());
  SmallVector<Type> types{most.getType(), total.getType(), init.getType()};
  auto part = nn::AttentionOp::create(b, loc, types, operands[0], operands[1], operands[2],
                                      operands.slice(3, op.getScoreIns().size()), most, total, init,
                                      b.getAffineMapArrayAttr(maps), b.getUnitAttr());
  IRMapping mapping;
  op.getScore().cloneInto(&part.getScore(), mapping);
  return part;
}

Value snug::keysOf(OpBuilder &b, nn::AttentionOp op, unsigned operand, Value value, OpFoldResult first, OpFoldResult count) {
  auto dim = op.getMaps()[operand].getResultPosition(b.getAffineDimExpr(op.keyDim()));
  if (!dim)
    return value;
  Sizes sizes = tensor::getMixedSizes(b, op.getLoc(), value), offsets(sizes.size(), b.getIndexAttr(0)),
        strides(sizes.size(), b.getIndexAttr(1));
  offsets[*dim] = first;
  sizes[*dim] = count;
  return tensor::ExtractSliceOp::create(b, op.getLoc(), value, offsets, sizes, strides);
}

Value snug::summandOfAll(OpBuilder &b, nn::AttentionOp part, ArrayRef<int64_t> axes, int64_t groupSize, bool zeroIfMasked) {
  Location loc = part.getLoc();
  Value most = part->getResult(0), total = part->getResult(1), seen = part->getResult(2);
  auto type = cast<RankedTensorType>(most.getType());
  int64_t rank = type.getRank();
  Sizes rows = tensor::getMixedSizes(b, loc, most);
  auto with = [&](ArrayRef<int64_t> front) {
    Sizes sizes;
    for (int64_t extent : front)
      sizes.push_back(b.getIndexAttr(extent));
    llvm::append_range(sizes, rows);
    return sizes;
  };
  auto offsets = [&](int64_t place, size_t dim, size_t count) {
    Sizes all(count, b.getIndexAttr(0));
    all[dim] = b.getIndexAttr(place);
    return all;
  };
  auto ones = [&](size_t count) { return Sizes(count, b.getIndexAttr(1)); };
  Value both = tensor::EmptyOp::create(b, loc, with({2}), b.getF32Type());
  for (auto [place, value] : llvm::enumerate(SmallVector<Value>{most, total}))
    both = tensor::InsertSliceOp::create(b, loc, value, both, offsets(place, 0, rank + 1), with({1}), ones(rank + 1));
  Value all = tensor::EmptyOp::create(b, loc, with({groupSize, 2}), b.getF32Type());
  all = mesh::AllGatherOp::create(b, loc, all.getType(), axes, both, all).getResult(0);
  SmallVector<int64_t> shape{groupSize};
  llvm::append_range(shape, type.getShape());
  auto ofAll = [&](int64_t place) -> Value {
    return tensor::ExtractSliceOp::create(b, loc, RankedTensorType::get(shape, b.getF32Type()), all, offsets(place, 1, rank + 2),
                                          with({groupSize, 1}), ones(rank + 2));
  };
  // Iterations: rows, then the devices of the group, whose dim is the first of what is read.
  AffineMap bare = AffineMap::getMultiDimIdentityMap(rank + 1, b.getContext()), row = bare.dropResult(rank);
  SmallVector<AffineExpr> reads{b.getAffineDimExpr(rank)};
  llvm::append_range(reads, row.getResults());
  AffineMap group = AffineMap::get(rank + 1, 0, reads, b.getContext());
  auto begin = [&](double value) {
    Value empty = tensor::EmptyOp::create(b, loc, rows, b.getF32Type());
    return linalg::FillOp::create(b, loc, number(b, loc, value), empty).getResult(0);
  };
  Value largest = generic(b, loc, {ofAll(0)}, begin(-INFINITY), {group, row}, 1, [](OpBuilder &o, Location l, ValueRange v) -> Value {
    return arith::MaximumFOp::create(o, l, v[0], v[1]);
  });
  Value sum = generic(b, loc, {ofAll(0), ofAll(1), largest}, begin(0), {group, group, row, row}, 1,
                      [](OpBuilder &o, Location l, ValueRange v) -> Value {
                        auto reassociate = arith::FastMathFlagsAttr::get(o.getContext(), arith::FastMathFlags::reassoc);
                        Value own = arith::MulFOp::create(o, l, v[1], weight(o, l, v[0], v[2]));
                        return arith::AddFOp::create(o, l, own, v[3], reassociate);
                      });
  // What this device's rows saw is made of its share of the weights.
  auto outType = cast<RankedTensorType>(seen.getType());
  AffineMap element = b.getMultiDimIdentityMap(outType.getRank()), ofRow = rowsOf(part, b);
  Value init = emptyOf(b, loc, seen, outType.getElementType());
  return generic(b, loc, {seen, most, total, largest, sum}, init, {element, ofRow, ofRow, ofRow, ofRow, element}, 0,
                 [&](OpBuilder &o, Location l, ValueRange v) -> Value {
                   Value own = arith::MulFOp::create(o, l, v[2], weight(o, l, v[1], v[3]));
                   Value share = arith::DivFOp::create(o, l, own, v[4]);
                   if (zeroIfMasked) { // no weight at all, or NaN
                     Value any = arith::CmpFOp::create(o, l, arith::CmpFPredicate::OGT, v[4], number(o, l, 0));
                     share = arith::SelectOp::create(o, l, any, share, number(o, l, 0));
                   }
                   Value value = arith::MulFOp::create(o, l, extendToCompute(o, l, v[0]), share);
                   return roundToStore(o, l, value, outType.getElementType());
                 });
}
