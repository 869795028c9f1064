// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Pools over windows or whole planes, and upsampling by whole factors.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/Window.h"

using namespace mlir;
using namespace snug;

namespace {
// How many elements of the input (with `padded`: of it and its pads) each window has, along one dim.
Value countInWindow(OpBuilder &b, Location loc, Lowering &l, const Window &window, unsigned i, AffineExpr extent,
                    bool padded) {
  auto at = [&](AffineExpr expr) { return l.scalarOf(b, loc, expr, b.getI64Type()); };
  Value index = arith::IndexCastOp::create(b, loc, b.getI64Type(), linalg::IndexOp::create(b, loc, 2 + i));
  Value first = arith::SubIOp::create(
      b, loc, arith::MulIOp::create(b, loc, index, at(l.constant(window.strides[i]))), at(window.before[i]));
  Value last = arith::AddIOp::create(b, loc, first, at(l.constant(window.kernel[i])));
  if (padded)
    return arith::SubIOp::create(b, loc, arith::MinSIOp::create(b, loc, last, at(extent + window.statedAfter[i])), first);
  return arith::SubIOp::create(b, loc, arith::MinSIOp::create(b, loc, last, at(extent)),
                               arith::MaxSIOp::create(b, loc, first, at(l.constant(0))));
}

template <bool Max> LogicalResult pool(Lowering &l) {
  LoweredValue &x = l.input(0);
  auto kernel = l.intsAttr("kernel_shape");
  Type type = x.elementType;
  if (!kernel || x.rank() != static_cast<int64_t>(kernel->size()) + 2) {
    l.error() << "an input of shape " << l.print(x.shape) << " and type " << x.elementType
              << " with this kernel_shape is not supported";
    return failure();
  }
  if (l.node()->getNumResults() > 1 && !l.node()->getResult(1).use_empty()) {
    l.error() << "the output of indices is not supported";
    return failure();
  }
  ArrayRef<AffineExpr> spatial = ArrayRef(x.shape).drop_front(2);
  auto window = windowOf(l, spatial, *kernel);
  if (!window)
    return failure();
  unsigned rank = kernel->size();
  bool include = l.intAttr("count_include_pad", 0);
  if (!Max && llvm::any_of(window->dilations, [](int64_t d) { return d != 1; })) {
    l.error() << "dilations are not supported";
    return failure();
  }
  Extents before(2, l.constant(0)), after = before;
  llvm::append_range(before, window->before);
  llvm::append_range(after, window->after);
  TypedAttr neutral = Max ? extremeAttr(type, /*least=*/true) : numberAttr(type, 0);
  auto padded = l.pad(x, before, after, neutral);
  if (failed(padded))
    return failure();
  // Loops n, c, o.. without the last, k.., last o. The window's extents are told by a constant that is not read.
  OpBuilder &b = l.b;
  auto windowType = RankedTensorType::get(*kernel, storedAs(type));
  LoweredValue shape = l.dataValue(DenseElementsAttr::get(windowType, Attribute(numberAttr(type, 0))));
  unsigned numLoops = 2 * rank + 2;
  auto d = [&](unsigned dim) { return getAffineDimExpr(dim, b.getContext()); };
  SmallVector<AffineExpr> in = {d(0), d(1)}, out = in, inside;
  SmallVector<utils::IteratorType> iterators(numLoops, utils::IteratorType::parallel);
  for (unsigned i = 0; i < rank; ++i) {
    unsigned o = i + 1 == rank ? numLoops - 1 : 2 + i, k = rank + 1 + i;
    iterators[k] = utils::IteratorType::reduction;
    in.push_back(d(o) * window->strides[i] + d(k) * window->dilations[i]);
    out.push_back(d(o));
    inside.push_back(d(k));
  }
  auto map = [&](ArrayRef<AffineExpr> exprs) { return AffineMap::get(numLoops, 0, exprs, b.getContext()); };
  Extents result = {x.shape[0], x.shape[1]};
  llvm::append_range(result, window->out);
  Value start = arith::ConstantOp::create(b, l.loc(), neutral);
  Value init = linalg::FillOp::create(b, l.loc(), start, l.empty(result, type)).getResult(0);
  auto op = linalg::GenericOp::create(
      b, l.loc(), init.getType(), ValueRange{l.tensor(*padded), l.tensor(shape)}, init,
      ArrayRef<AffineMap>{map(in), map(inside), map(out)}, iterators, [&](OpBuilder &body, Location loc, ValueRange a) {
        auto reassociate = arith::FastMathFlagsAttr::get(body.getContext(), arith::FastMathFlags::reassoc);
        Value value = Max ? larger(body, loc, type, a[0], a[2])
                          : Value(arith::AddFOp::create(body, loc, a[0], a[2], reassociate));
        linalg::YieldOp::create(body, loc, value);
      });
  if (Max) {
    l.define(0, l.tensorValue(op.getResult(0), result, type));
    return success();
  }
  auto identity = AffineMap::getMultiDimIdentityMap(rank + 2, b.getContext());
  Value mean = l.generic({op.getResult(0)}, {identity}, result, type, [&](OpBuilder &body, Location loc, ValueRange a) -> Value {
    Value count = arith::ConstantOp::create(body, loc, body.getI64IntegerAttr(1));
    for (unsigned i = 0; i < rank; ++i)
      count = arith::MulIOp::create(body, loc, count, countInWindow(body, loc, l, *window, i, spatial[i], include));
    return arith::DivFOp::create(body, loc, a[0], arith::SIToFPOp::create(body, loc, type, count));
  });
  l.define(0, l.tensorValue(mean, result));
  return success();
}

template <bool Max> LogicalResult globalPool(Lowering &l) {
  LoweredValue &x = l.input(0);
  if (x.rank() < 3 || !isa<FloatType>(x.elementType)) {
    l.error() << "an input of shape " << l.print(x.shape) << " and type " << x.elementType << " is not supported";
    return failure();
  }
  SmallVector<bool> reduced(x.rank(), true);
  reduced[0] = reduced[1] = false;
  LoweredValue result = l.reduce(Max ? Reduction::Max : Reduction::Sum, x, reduced);
  if (!Max) {
    AffineExpr count = l.constant(1);
    for (AffineExpr extent : ArrayRef(x.shape).drop_front(2))
      count = count * extent;
    auto mean = l.elementwise({&result}, x.elementType, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
      Value n = arith::SIToFPOp::create(b, loc, a[0].getType(), l.scalarOf(b, loc, count, b.getI64Type()));
      return b.createOrFold<arith::DivFOp>(loc, a[0], n);
    });
    if (failed(mean))
      return failure();
    result = *mean;
  }
  Extents shape(x.rank(), l.constant(1));
  shape[0] = x.shape[0];
  shape[1] = x.shape[1];
  auto full = l.reshape(result, shape);
  if (failed(full))
    return failure();
  l.define(0, *full);
  return success();
}
} // namespace

void snug::addPoolingOps(LoweringTable &t) {
  t.add("MaxPool", 1, pool<true>);
  t.add("AveragePool", 1, pool<false>, types::Floats);
  t.add("GlobalMaxPool", 1, globalPool<true>);
  t.add("GlobalAveragePool", 1, globalPool<false>);
}
