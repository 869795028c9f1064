// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels over whole rows: softmax and norm (passes over a row that stays in the first-level cache), gather (row
// copies).
#include "codegen/cpu/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
MemRefType typeOf(Value value) { return cast<MemRefType>(value.getType()); }

Value addReassociated(CpuKernelBuilder &b, Value x, Value y) {
  auto sum = arith::AddFOp::create(b, x, y);
  sum.setFastmath(arith::FastMathFlags::reassoc);
  return sum;
}

// Loops over the rows of [lo, hi) of `like`; `body` takes a function from a column to the indices of an element.
using RowIndices = function_ref<SmallVector<Value>(Value)>;
void rowLoop(CpuKernelBuilder &b, Value like, function_ref<void(RowIndices, Value)> body) {
  unsigned rank = typeOf(like).getRank();
  SmallVector<Value> sizes;
  for (unsigned dim = 0; dim < rank; ++dim)
    sizes.push_back(b.size(like, dim));
  Value n = sizes.pop_back_val();
  b.overRange(sizes, [&](ArrayRef<Value> outer, Value from, Value to) {
    b.loop(from, to, 1, [&](Value row) {
      SmallVector<Value> leading(outer);
      if (!sizes.empty())
        leading.push_back(row);
      body(
          [&](Value column) {
            SmallVector<Value> indices = leading;
            indices.push_back(column);
            return indices;
          },
          n);
    });
  });
}
} // namespace

KernelRange codegen::planRows(Operation *op) {
  auto type = typeOf(cast<DestinationStyleOpInterface>(op).getDpsInits()[0]);
  unsigned destination = op->getNumOperands() - 1;
  KernelRange range;
  for (unsigned dim = 0; dim + 1 < type.getRank(); ++dim)
    range.factors.push_back({{{destination, dim}}});
  range.grain = grainOf(0.7 * guessExtent(type.getShape().back()));
  return range;
}

// The type that the rows are computed in.
static Type realType(nn::SoftmaxOp op) { return computeType(cast<FloatType>(typeOf(op.getInit()).getElementType())); }
static Type realType(nn::NormOp op) { return computeType(cast<FloatType>(typeOf(op.getInit()).getElementType())); }

LogicalResult codegen::lowerSoftmax(nn::SoftmaxOp op, CpuKernelBuilder &b) {
  Type real = realType(op);
  auto number = [&](double value) { return b.constantFloat(real, value); };
  Value zero = b.constant(0), scale = number(op.getScale().convertToDouble());
  bool scaled = op.getScale().convertToFloat() != 1.0f;
  // Powers are kept in the destination, unless it would round them: then they are computed again.
  bool keeps = typeOf(op.getInit()).getElementType() == real;
  rowLoop(b, op.getInit(), [&](RowIndices at, Value n) {
    // scale * x first, as written; so a negative scale is right too.
    auto element = [&](Value j) -> Value {
      Value x = b.loadWide(op.getInput(), at(j));
      return scaled ? arith::MulFOp::create(b, x, scale).getResult() : x;
    };
    Value max = b.reduceLoop(zero, n, number(-INFINITY),
                             [&](Value j, Value m) -> Value { return arith::MaximumFOp::create(b, m, element(j)); });
    auto power = [&](Value j) -> Value { return math::ExpOp::create(b, arith::SubFOp::create(b, element(j), max)); };
    Value sum = b.reduceLoop(zero, n, number(0), [&](Value j, Value s) -> Value {
      Value e = power(j);
      if (keeps)
        b.store(e, op.getInit(), at(j));
      return addReassociated(b, s, e);
    });
    Value inverse = arith::DivFOp::create(b, number(1), sum);
    b.loop(zero, n, 1, [&](Value j) {
      Value e = keeps ? b.load(op.getInit(), at(j)) : power(j);
      b.store(arith::MulFOp::create(b, e, inverse), op.getInit(), at(j));
    });
  });
  return success();
}

LogicalResult codegen::checkNorm(nn::NormOp op) {
  Type real = realType(op);
  for (Value vector : {op.getScale(), op.getShift()})
    if (auto type = vector ? dyn_cast<FloatType>(typeOf(vector).getElementType()) : nullptr;
        vector && (!type || computeType(type) != real))
      return op.emitOpError() << "is generated for a scale and a shift that are computed with in " << real << ", not "
                              << typeOf(vector).getElementType();
  return success();
}

LogicalResult codegen::lowerNorm(nn::NormOp op, CpuKernelBuilder &b) {
  Type real = realType(op);
  auto number = [&](double value) { return b.constantFloat(real, value); };
  Value zero = b.constant(0);
  bool layer = op.getKind() == nn::NormKind::Layer;
  rowLoop(b, op.getInit(), [&](RowIndices at, Value n) {
    Value count = arith::SIToFPOp::create(b, real, arith::IndexCastOp::create(b, b.getI64Type(), n));
    Value mean;
    if (layer)
      mean = arith::DivFOp::create(
          b,
          b.reduceLoop(zero, n, number(0),
                       [&](Value j, Value s) { return addReassociated(b, s, b.loadWide(op.getInput(), at(j))); }),
          count);
    auto centered = [&](Value j) -> Value {
      Value x = b.loadWide(op.getInput(), at(j));
      return layer ? arith::SubFOp::create(b, x, mean).getResult() : x;
    };
    Value squares = b.reduceLoop(zero, n, number(0), [&](Value j, Value s) {
      Value x = centered(j);
      return addReassociated(b, s, arith::MulFOp::create(b, x, x));
    });
    Value variance = arith::DivFOp::create(b, squares, count);
    Value epsilon = number(op.getEpsilon().convertToDouble());
    Value root = math::SqrtOp::create(b, arith::AddFOp::create(b, variance, epsilon));
    Value inverse = arith::DivFOp::create(b, number(1), root);
    b.loop(zero, n, 1, [&](Value j) {
      Value x = arith::MulFOp::create(b, centered(j), inverse);
      if (op.getScale())
        x = arith::MulFOp::create(b, x, b.loadWide(op.getScale(), j));
      if (op.getShift())
        x = arith::AddFOp::create(b, x, b.loadWide(op.getShift(), j));
      b.store(x, op.getInit(), at(j));
    });
  });
  return success();
}

KernelRange codegen::planGather(nn::GatherOp op) {
  auto type = typeOf(op.getInit());
  unsigned destination = op->getNumOperands() - 1;
  KernelRange range;
  double ns = op.getWeights() ? guessExtent(typeOf(op.getWeights()).getShape().back()) : 1;
  for (unsigned dim = 0; dim < type.getRank(); ++dim) {
    if (dim < op.getAxis() + op.getNumChosenDims())
      range.factors.push_back({{{destination, dim}}});
    else
      ns *= guessExtent(type.getDimSize(dim)) * 0.3;
  }
  range.grain = grainOf(ns + 2);
  return range;
}

// Taps that are held in registers for all elements behind the chosen dims.
static constexpr int64_t kMostTaps = 64;

LogicalResult codegen::lowerGather(nn::GatherOp op, CpuKernelBuilder &b) {
  unsigned rank = typeOf(op.getInit()).getRank(), axis = op.getAxis();
  unsigned chosen = op.getNumChosenDims(), outer = axis + chosen;
  Value zero = b.constant(0);
  SmallVector<Value> sizes;
  for (unsigned dim = 0; dim < rank; ++dim)
    sizes.push_back(b.size(op.getInit(), dim));
  // Loops over the dims behind; `body` takes data's place, with nothing at the axis, and the result's.
  auto behind = [&](SmallVector<Value> at, function_ref<void(SmallVector<Value> &, ArrayRef<Value>)> body) {
    SmallVector<Value> from(at.begin(), at.begin() + axis);
    from.push_back({});
    std::function<void(unsigned)> nest = [&](unsigned dim) {
      if (dim == rank)
        return body(from, at);
      b.loop(zero, sizes[dim], 1, [&](Value j) {
        at.push_back(j);
        from.push_back(j);
        nest(dim + 1);
        at.pop_back();
        from.pop_back();
      });
    };
    nest(outer);
  };
  auto copy = [&](const SmallVector<Value> &at) {
    Value index = emitGatherIndex(op, b, ArrayRef(at).slice(axis, chosen));
    behind(at, [&](SmallVector<Value> &from, ArrayRef<Value> to) {
      from[axis] = index;
      b.store(b.load(op.getData(), from), op.getInit(), to);
    });
  };
  auto weigh = [&](const SmallVector<Value> &at) {
    int64_t taps = typeOf(op.getWeights()).getShape().back();
    Type real = computeType(cast<FloatType>(typeOf(op.getInit()).getElementType()));
    auto tap = [&](Value t) {
      SmallVector<Value> place(ArrayRef(at).slice(axis, chosen));
      place.push_back(t);
      return std::pair(emitGatherIndex(op, b, place), b.loadWide(op.getWeights(), place));
    };
    auto add = [&](SmallVector<Value> &from, std::pair<Value, Value> tap, Value sum) -> Value {
      from[axis] = tap.first;
      Value product = arith::MulFOp::create(b, b.loadWide(op.getData(), from), tap.second);
      return sum ? arith::AddFOp::create(b, sum, product).getResult() : product;
    };
    SmallVector<std::pair<Value, Value>> held;
    for (int64_t t = 0; taps <= kMostTaps && t < taps; ++t) // a dynamic number is negative
      held.push_back(tap(b.constant(t)));
    behind(at, [&](SmallVector<Value> &from, ArrayRef<Value> to) {
      Value sum;
      if (held.empty())
        sum = b.reduceLoop(zero, b.size(op.getWeights(), chosen), b.constantFloat(real, 0),
                           [&](Value t, Value s) { return add(from, tap(t), s); });
      for (auto one : held)
        sum = add(from, one, sum);
      b.store(sum, op.getInit(), to);
    });
  };
  b.overRange(ArrayRef(sizes).take_front(outer), [&](ArrayRef<Value> indices, Value first, Value end) {
    b.loop(first, end, 1, [&](Value i) {
      SmallVector<Value> at(indices);
      if (outer)
        at.push_back(i);
      op.getWeights() ? weigh(at) : copy(at);
    });
  });
  return success();
}
