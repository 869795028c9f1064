// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/fuse/SpellOutRows.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace snug;

namespace {
// Rows along the last dim of `input`.
class RowSpeller {
public:
  using Body = function_ref<Value(OpBuilder &, Location, ValueRange)>;

  RowSpeller(Operation *op, Value input, Value init)
      : b(op), loc(op->getLoc()), op(op), input(input), init(init), stored(cast<FloatType>(getElementTypeOrSelf(init))),
        real(computeType(stored)), rank(cast<RankedTensorType>(input.getType()).getRank()), all(b.getMultiDimIdentityMap(rank)),
        ofRow(AffineMap::get(rank, 0, all.getResults().drop_back(), b.getContext())) {}

  Value number(double value) { return arith::ConstantOp::create(b, loc, b.getFloatAttr(real, value)); }
  Value length() {
    Value extent = tensor::DimOp::create(b, loc, input, rank - 1);
    return arith::SIToFPOp::create(b, loc, real, arith::IndexCastOp::create(b, loc, b.getI64Type(), extent));
  }
  // `combine` of each row's body(x, stats...) and what there is so far.
  Value reduce(double neutral, ValueRange stats, Body body, function_ref<Value(OpBuilder &, Location, Value, Value)> combine) {
    SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(b, loc, input);
    sizes.pop_back();
    Value empty = tensor::EmptyOp::create(b, loc, sizes, real);
    Value start = linalg::FillOp::create(b, loc, number(neutral), empty).getResult(0);
    SmallVector<Value> inputs{input};
    llvm::append_range(inputs, stats);
    SmallVector<AffineMap> maps{all};
    maps.append(stats.size() + 1, ofRow);
    SmallVector<utils::IteratorType> kinds(rank, utils::IteratorType::parallel);
    kinds.back() = utils::IteratorType::reduction;
    auto made = linalg::GenericOp::create(b, loc, start.getType(), inputs, start, maps, kinds, [&](OpBuilder &o, Location l, ValueRange x) {
      linalg::YieldOp::create(o, l, combine(o, l, body(o, l, x), x.back()));
    });
    return made.getResult(0);
  }
  Value sum(ValueRange stats, Body body) {
    return reduce(0, stats, body, [](OpBuilder &o, Location l, Value x, Value sum) -> Value {
      auto reassociates = arith::FastMathFlagsAttr::get(o.getContext(), arith::FastMathFlags::reassoc);
      return arith::AddFOp::create(o, l, x, sum, reassociates);
    });
  }
  // The op's result is body(x, stats..., columns...).
  void finish(ValueRange stats, ValueRange columns, Body body) {
    SmallVector<Value> inputs{input};
    llvm::append_range(inputs, stats);
    llvm::append_range(inputs, columns);
    SmallVector<AffineMap> maps{all};
    maps.append(stats.size(), ofRow);
    maps.append(columns.size(), AffineMap::get(rank, 0, all.getResults().back(), b.getContext()));
    maps.push_back(all);
    SmallVector<utils::IteratorType> kinds(rank, utils::IteratorType::parallel);
    auto made = linalg::GenericOp::create(b, loc, init.getType(), inputs, init, maps, kinds, [&](OpBuilder &o, Location l, ValueRange x) {
      linalg::YieldOp::create(o, l, roundToStore(o, l, body(o, l, x), stored));
    });
    op->replaceAllUsesWith(made);
    op->erase();
  }

private:
  OpBuilder b;
  Location loc;
  Operation *op;
  Value input, init;
  FloatType stored, real;
  int64_t rank;
  AffineMap all, ofRow;
};
} // namespace

void snug::spellOut(nn::SoftmaxOp op) {
  RowSpeller row(op, op.getInput(), op.getInit());
  double factor = op.getScale().convertToDouble();
  Value scale = factor == 1 ? Value() : row.number(factor);
  auto score = [&](OpBuilder &o, Location l, ValueRange x) -> Value {
    Value wide = extendToCompute(o, l, x[0]);
    return scale ? arith::MulFOp::create(o, l, wide, scale).getResult() : wide;
  };
  auto power = [&](OpBuilder &o, Location l, ValueRange x) -> Value {
    return math::ExpOp::create(o, l, arith::SubFOp::create(o, l, score(o, l, x), x[1]));
  };
  Value most = row.reduce(-INFINITY, {}, score, [](OpBuilder &o, Location l, Value x, Value most) -> Value {
    return arith::MaximumFOp::create(o, l, x, most);
  });
  Value total = row.sum(most, power), one = row.number(1);
  row.finish({most, total}, {}, [&](OpBuilder &o, Location l, ValueRange x) -> Value {
    return arith::MulFOp::create(o, l, power(o, l, x), arith::DivFOp::create(o, l, one, x[2]));
  });
}

void snug::spellOut(nn::NormOp op) {
  RowSpeller row(op, op.getInput(), op.getInit());
  bool centers = op.getKind() == nn::NormKind::Layer;
  Value count = row.length(), epsilon = row.number(op.getEpsilon().convertToDouble()), one = row.number(1);
  SmallVector<Value> stats, columns;
  if (centers)
    stats.push_back(row.sum({}, [](OpBuilder &o, Location l, ValueRange x) { return extendToCompute(o, l, x[0]); }));
  auto centered = [&](OpBuilder &o, Location l, ValueRange x) -> Value {
    Value wide = extendToCompute(o, l, x[0]);
    return centers ? arith::SubFOp::create(o, l, wide, arith::DivFOp::create(o, l, x[1], count)).getResult() : wide;
  };
  stats.push_back(row.sum(stats, [&](OpBuilder &o, Location l, ValueRange x) -> Value {
    Value difference = centered(o, l, x);
    return arith::MulFOp::create(o, l, difference, difference);
  }));
  for (Value column : {op.getScale(), op.getShift()})
    if (column)
      columns.push_back(column);
  bool scales = bool(op.getScale()), shifts = bool(op.getShift());
  row.finish(stats, columns, [&](OpBuilder &o, Location l, ValueRange x) -> Value {
    unsigned next = stats.size();
    Value variance = arith::AddFOp::create(o, l, arith::DivFOp::create(o, l, x[next++], count), epsilon);
    Value inverse = arith::DivFOp::create(o, l, one, math::SqrtOp::create(o, l, variance));
    Value result = arith::MulFOp::create(o, l, centered(o, l, x), inverse);
    if (scales)
      result = arith::MulFOp::create(o, l, result, extendToCompute(o, l, x[next++]));
    if (shifts)
      result = arith::AddFOp::create(o, l, result, extendToCompute(o, l, x[next++]));
    return result;
  });
}
