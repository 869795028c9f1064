// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/RowsInParts.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace snug;

namespace {
using Body = function_ref<Value(OpBuilder &, Location, ValueRange)>;

class RowsInParts {
public:
  RowsInParts(OpBuilder &b, Operation *op, ValueRange operands, ArrayRef<int64_t> axes, int64_t groupSize)
      : b(b), loc(op->getLoc()), x(operands[0]), init(operands.back()), axes(axes), groupSize(groupSize) {
    auto type = cast<RankedTensorType>(x.getType());
    rank = type.getRank();
    element = computeType(cast<FloatType>(type.getElementType()));
    all = b.getMultiDimIdentityMap(rank);
    rows = AffineMap::get(rank, 0, all.getResults().drop_back(), b.getContext());
    alongRow = AffineMap::get(rank, 0, all.getResults().take_back(1), b.getContext());
  }

  Value softmax(nn::SoftmaxOp op) {
    auto scaled = [&](OpBuilder &o, Location l, Value value) -> Value {
      double scale = op.getScale().convertToDouble();
      value = extendToCompute(o, l, value);
      return scale == 1 ? value : arith::MulFOp::create(o, l, value, constant(o, l, scale)).getResult();
    };
    Value most = allReduce(mesh::Reduction::Max, reduce(-INFINITY, {x}, {all}, [&](OpBuilder &o, Location l, ValueRange v) -> Value {
      return arith::MaximumFOp::create(o, l, scaled(o, l, v[0]), v.back());
    }));
    auto power = [&](OpBuilder &o, Location l, ValueRange v) -> Value {
      return math::ExpOp::create(o, l, arith::SubFOp::create(o, l, scaled(o, l, v[0]), v[1]));
    };
    Value sum = allReduce(mesh::Reduction::Sum, total({x, most}, {all, rows}, power));
    return each({x, most, sum}, {all, rows, rows}, [&](OpBuilder &o, Location l, ValueRange v) -> Value {
      return arith::DivFOp::create(o, l, power(o, l, v), v[2]);
    });
  }

  Value norm(nn::NormOp op, ValueRange operands) {
    bool centers = op.getKind() == nn::NormKind::Layer;
    Value length = partLength();
    Value mean, squares;
    if (centers)
      std::tie(mean, squares) = combined(length);
    else
      squares = allReduce(mesh::Reduction::Sum, total({x}, {all}, [&](OpBuilder &o, Location l, ValueRange v) -> Value {
        Value value = extendToCompute(o, l, v[0]);
        return arith::MulFOp::create(o, l, value, value);
      }));
    SmallVector<Value> inputs{x, squares};
    SmallVector<AffineMap> maps{all, rows};
    auto take = [&](Value value, AffineMap map) {
      inputs.push_back(value);
      maps.push_back(map);
      return inputs.size() - 1;
    };
    size_t meanAt = mean ? take(mean, rows) : 0, next = 1;
    size_t scaleAt = op.getScale() ? take(operands[next++], alongRow) : 0;
    size_t shiftAt = op.getShift() ? take(operands[next++], alongRow) : 0;
    Value count = arith::MulFOp::create(b, loc, length, constant(b, loc, static_cast<double>(groupSize)));
    Value epsilon = constant(b, loc, op.getEpsilon().convertToDouble());
    return each(inputs, maps, [&](OpBuilder &o, Location l, ValueRange v) -> Value {
      Value value = extendToCompute(o, l, v[0]);
      if (meanAt)
        value = arith::SubFOp::create(o, l, value, v[meanAt]);
      Value variance = arith::AddFOp::create(o, l, arith::DivFOp::create(o, l, v[1], count), epsilon);
      value = arith::DivFOp::create(o, l, value, math::SqrtOp::create(o, l, variance));
      if (scaleAt)
        value = arith::MulFOp::create(o, l, value, extendToCompute(o, l, v[scaleAt]));
      if (shiftAt)
        value = arith::AddFOp::create(o, l, value, extendToCompute(o, l, v[shiftAt]));
      return value;
    });
  }

private:
  // Mean, and sum of squared differences from it, of the rows as a whole. Each device gives those of its part: the squares of
  // all of them are those of the parts, and their length times how far their means are from the common one, squared.
  std::pair<Value, Value> combined(Value length) {
    Value mean = total({x}, {all}, [&](OpBuilder &o, Location l, ValueRange v) { return extendToCompute(o, l, v[0]); });
    mean = perRow({mean}, [&](OpBuilder &o, Location l, ValueRange v) -> Value { return arith::DivFOp::create(o, l, v[0], length); });
    Value squares = total({x, mean}, {all, rows}, [&](OpBuilder &o, Location l, ValueRange v) -> Value {
      Value difference = arith::SubFOp::create(o, l, extendToCompute(o, l, v[0]), v[1]);
      return arith::MulFOp::create(o, l, difference, difference);
    });
    SmallVector<OpFoldResult> sizes = rowSizes(), both = sizes;
    both.insert(both.begin(), b.getIndexAttr(2));
    Value moments = tensor::EmptyOp::create(b, loc, both, element);
    for (auto [place, value] : llvm::enumerate(SmallVector<Value>{mean, squares}))
      moments = tensor::InsertSliceOp::create(b, loc, value, moments, offsetsOf(place, both.size(), 0), with(sizes, {1}),
                                              ones(both.size()));
    both.insert(both.begin(), b.getIndexAttr(groupSize));
    Value gathered = tensor::EmptyOp::create(b, loc, both, element);
    gathered = mesh::AllGatherOp::create(b, loc, gathered.getType(), axes, moments, gathered).getResult(0);
    SmallVector<int64_t> shape{groupSize};
    llvm::append_range(shape, cast<RankedTensorType>(mean.getType()).getShape());
    auto ofAll = [&](int64_t place) -> Value {
      return tensor::ExtractSliceOp::create(b, loc, RankedTensorType::get(shape, element), gathered,
                                            offsetsOf(place, both.size(), 1), with(sizes, {groupSize, 1}), ones(both.size()));
    };
    Value means = ofAll(0), parts = ofAll(1);
    // The group's dim is the last of the iterations, and the first of what they read.
    SmallVector<AffineExpr> read{b.getAffineDimExpr(rank - 1)};
    llvm::append_range(read, rows.getResults());
    AffineMap group = AffineMap::get(rank, 0, read, b.getContext());
    Value n = constant(b, loc, static_cast<double>(groupSize));
    Value common = total({means}, {group}, [&](OpBuilder &, Location, ValueRange v) { return v[0]; });
    common = perRow({common}, [&](OpBuilder &o, Location l, ValueRange v) -> Value { return arith::DivFOp::create(o, l, v[0], n); });
    Value sum = total({parts, means, common}, {group, group, rows}, [&](OpBuilder &o, Location l, ValueRange v) -> Value {
      Value away = arith::SubFOp::create(o, l, v[1], v[2]);
      Value square = arith::MulFOp::create(o, l, away, away);
      return arith::AddFOp::create(o, l, v[0], arith::MulFOp::create(o, l, square, length));
    });
    return {common, sum};
  }

  Value constant(OpBuilder &o, Location l, double value) {
    return arith::ConstantOp::create(o, l, o.getFloatAttr(element, value));
  }

  Value partLength() {
    Value extent = getValueOrCreateConstantIndexOp(b, loc, tensor::getMixedSize(b, loc, x, rank - 1));
    return arith::SIToFPOp::create(b, loc, element, arith::IndexCastOp::create(b, loc, b.getI64Type(), extent));
  }

  SmallVector<OpFoldResult> rowSizes() {
    SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, loc, x);
    sizes.pop_back();
    return sizes;
  }
  SmallVector<OpFoldResult> ones(size_t count) { return SmallVector<OpFoldResult>(count, b.getIndexAttr(1)); }
  SmallVector<OpFoldResult> offsetsOf(int64_t place, size_t count, size_t dim) {
    SmallVector<OpFoldResult> offsets(count, b.getIndexAttr(0));
    offsets[dim] = b.getIndexAttr(place);
    return offsets;
  }
  SmallVector<OpFoldResult> with(ArrayRef<OpFoldResult> sizes, ArrayRef<int64_t> front) {
    SmallVector<OpFoldResult> result;
    for (int64_t extent : front)
      result.push_back(b.getIndexAttr(extent));
    llvm::append_range(result, sizes);
    return result;
  }

  // Of each row of what is read, `body` of its elements and of what has been made of those before.
  Value reduce(double start, ArrayRef<Value> inputs, ArrayRef<AffineMap> inputMaps, Body body) {
    Value begin = linalg::FillOp::create(b, loc, constant(b, loc, start),
                                         Value(tensor::EmptyOp::create(b, loc, rowSizes(), element)))
                      .getResult(0);
    SmallVector<AffineMap> maps(inputMaps);
    maps.push_back(rows);
    SmallVector<utils::IteratorType> kinds(rank, utils::IteratorType::parallel);
    kinds.back() = utils::IteratorType::reduction;
    return linalg::GenericOp::create(b, loc, begin.getType(), inputs, begin, maps, kinds,
                                     [&](OpBuilder &o, Location l, ValueRange v) { linalg::YieldOp::create(o, l, body(o, l, v)); })
        .getResult(0);
  }
  Value total(ArrayRef<Value> inputs, ArrayRef<AffineMap> inputMaps, Body summand) {
    return reduce(0, inputs, inputMaps, [&](OpBuilder &o, Location l, ValueRange v) -> Value {
      auto reassociate = arith::FastMathFlagsAttr::get(o.getContext(), arith::FastMathFlags::reassoc);
      return arith::AddFOp::create(o, l, summand(o, l, v), v.back(), reassociate);
    });
  }

  Value perRow(ArrayRef<Value> inputs, Body body) {
    SmallVector<AffineMap> maps(inputs.size() + 1, b.getMultiDimIdentityMap(rank - 1));
    SmallVector<utils::IteratorType> kinds(rank - 1, utils::IteratorType::parallel);
    Value into = tensor::EmptyOp::create(b, loc, rowSizes(), element);
    return linalg::GenericOp::create(b, loc, into.getType(), inputs, into, maps, kinds,
                                     [&](OpBuilder &o, Location l, ValueRange v) { linalg::YieldOp::create(o, l, body(o, l, v)); })
        .getResult(0);
  }

  // The result, as it is stored.
  Value each(ArrayRef<Value> inputs, ArrayRef<AffineMap> inputMaps, Body body) {
    SmallVector<AffineMap> maps(inputMaps);
    maps.push_back(all);
    SmallVector<utils::IteratorType> kinds(rank, utils::IteratorType::parallel);
    Type stored = getElementTypeOrSelf(init);
    return linalg::GenericOp::create(b, loc, init.getType(), inputs, init, maps, kinds,
                                     [&](OpBuilder &o, Location l, ValueRange v) {
                                       linalg::YieldOp::create(o, l, roundToStore(o, l, body(o, l, v), stored));
                                     })
        .getResult(0);
  }

  Value allReduce(mesh::Reduction kind, Value value) {
    Value into = tensor::EmptyOp::create(b, loc, rowSizes(), element);
    return mesh::AllReduceOp::create(b, loc, into.getType(), kind, axes, value, into).getResult(0);
  }

  OpBuilder &b;
  Location loc;
  Value x, init;
  ArrayRef<int64_t> axes;
  int64_t groupSize, rank;
  Type element;
  AffineMap all, rows, alongRow;
};
} // namespace

bool snug::takesRowsInParts(Operation *op) {
  return isa<nn::NormOp, nn::SoftmaxOp>(op) && isa<FloatType>(getElementTypeOrSelf(op->getOperand(0)));
}

double snug::bytesOfRowInParts(Operation *op, int64_t groupSize) {
  auto bytes = static_cast<double>(
      computeType(cast<FloatType>(getElementTypeOrSelf(op->getOperand(0)))).getIntOrFloatBitWidth() / 8);
  auto n = static_cast<double>(groupSize);
  auto norm = dyn_cast<nn::NormOp>(op);
  if (norm && norm.getKind() == nn::NormKind::Layer)
    return 2 * bytes * (n - 1);                     // an all-gather of two
  return (norm ? 1 : 2) * bytes * 2 * (n - 1) / n; // all-reduces of one
}

Value snug::computeRowsInParts(OpBuilder &builder, Operation *op, ValueRange operands, ArrayRef<int64_t> axes,
                               int64_t groupSize) {
  RowsInParts rows(builder, op, operands, axes, groupSize);
  if (auto norm = dyn_cast<nn::NormOp>(op))
    return rows.norm(norm, operands);
  return rows.softmax(cast<nn::SoftmaxOp>(op));
}
