// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reductions over any axes: a fill of the neutral element, a linalg.generic, and what is left to do on the result.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
enum class Reduction { Sum, Mean, Max, Min, Prod };

TypedAttr neutral(OpBuilder &b, Reduction kind, FloatType type) {
  const llvm::fltSemantics &semantics = type.getFloatSemantics();
  switch (kind) {
  case Reduction::Max:
    return b.getFloatAttr(type, APFloat::getInf(semantics, /*Negative=*/true));
  case Reduction::Min:
    return b.getFloatAttr(type, APFloat::getInf(semantics));
  case Reduction::Prod:
    return b.getFloatAttr(type, 1.0);
  default:
    return b.getFloatAttr(type, 0.0);
  }
}

Value combine(OpBuilder &b, Location loc, Reduction kind, Value element, Value accumulator) {
  // Only declared sums may be reassociated (vectorised).
  auto reassociate = arith::FastMathFlagsAttr::get(b.getContext(), arith::FastMathFlags::reassoc);
  switch (kind) {
  case Reduction::Max:
    return arith::MaximumFOp::create(b, loc, element, accumulator);
  case Reduction::Min:
    return arith::MinimumFOp::create(b, loc, element, accumulator);
  case Reduction::Prod:
    return arith::MulFOp::create(b, loc, element, accumulator);
  default:
    return arith::AddFOp::create(b, loc, element, accumulator, reassociate);
  }
}

template <Reduction Kind> LogicalResult reduce(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto type = dyn_cast<FloatType>(in.elementType);
  if (!type) {
    l.error() << "only floating-point inputs are supported";
    return failure();
  }
  std::optional<SmallVector<int64_t>> axes = l.intsAttr("axes");
  if (!axes && l.hasInput(1) && !(axes = l.constantInts(l.input(1)))) {
    l.error() << "axes that are not constant are not supported";
    return failure();
  }
  if ((!axes || axes->empty()) && l.intAttr("noop_with_empty_axes", 0)) {
    l.define(0, in);
    return success();
  }
  SmallVector<bool> reduced(in.rank(), !axes || axes->empty());
  for (int64_t axis : axes.value_or(SmallVector<int64_t>())) {
    auto normal = l.normalizeAxis(axis, in.rank());
    if (!normal)
      return failure();
    reduced[*normal] = true;
  }
  MLIRContext *context = l.b.getContext();
  Extents small, kept;
  AffineExpr count = l.constant(1);
  SmallVector<AffineExpr> resultExprs;
  SmallVector<utils::IteratorType> iterators;
  for (auto [dim, extent] : llvm::enumerate(in.shape)) {
    iterators.push_back(reduced[dim] ? utils::IteratorType::reduction : utils::IteratorType::parallel);
    if (reduced[dim]) {
      count = count * extent;
      kept.push_back(l.constant(1));
      continue;
    }
    small.push_back(extent);
    kept.push_back(extent);
    resultExprs.push_back(getAffineDimExpr(dim, context));
  }
  SmallVector<AffineMap> maps = {AffineMap::getMultiDimIdentityMap(in.rank(), context),
                                 AffineMap::get(in.rank(), 0, resultExprs, context)};
  Value zero = arith::ConstantOp::create(l.b, l.loc(), neutral(l.b, Kind, type));
  Value init = linalg::FillOp::create(l.b, l.loc(), zero, l.empty(small, type)).getResult(0);
  auto op = linalg::GenericOp::create(l.b, l.loc(), init.getType(), l.tensor(in), init, maps, iterators,
                                      [&](OpBuilder &b, Location loc, ValueRange args) {
                                        linalg::YieldOp::create(b, loc, combine(b, loc, Kind, args[0], args[1]));
                                      });
  LoweredValue result = l.tensorValue(op.getResult(0), small);
  if (Kind == Reduction::Mean) {
    auto mean = l.elementwise({&result}, type, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
      Value n = arith::SIToFPOp::create(b, loc, type, l.scalarOf(b, loc, count, b.getI64Type()));
      return b.createOrFold<arith::DivFOp>(loc, x[0], n);
    });
    if (failed(mean))
      return failure();
    result = *mean;
  }
  if (l.intAttr("keepdims", 1)) {
    auto full = l.reshape(result, kept);
    if (failed(full))
      return failure();
    result = *full;
  }
  l.define(0, result);
  return success();
}
} // namespace

void snug::addReduceOps(LoweringTable &t) {
  t.add("ReduceSum", 1, reduce<Reduction::Sum>);
  t.add("ReduceMean", 1, reduce<Reduction::Mean>);
  t.add("ReduceMax", 1, reduce<Reduction::Max>);
  t.add("ReduceMin", 1, reduce<Reduction::Min>);
  t.add("ReduceProd", 1, reduce<Reduction::Prod>);
}
