// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reductions over any axes: a fill of the neutral element, a linalg.generic, and what is left to do on the result.
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
TypedAttr neutral(Reduction kind, Type type) {
  if (kind == Reduction::Max || kind == Reduction::Min)
    return extremeAttr(type, /*least=*/kind == Reduction::Max);
  return numberAttr(type, kind == Reduction::Prod);
}

Value combine(OpBuilder &b, Location loc, Reduction kind, Type type, Value element, Value accumulator) {
  bool integer = isa<IntegerType>(element.getType());
  // Only declared sums may be reassociated (vectorised).
  auto reassociate = arith::FastMathFlagsAttr::get(b.getContext(), arith::FastMathFlags::reassoc);
  switch (kind) {
  case Reduction::Max:
    return larger(b, loc, type, element, accumulator);
  case Reduction::Min:
    return smaller(b, loc, type, element, accumulator);
  case Reduction::Prod:
    return integer ? Value(b.createOrFold<arith::MulIOp>(loc, element, accumulator))
                   : Value(b.createOrFold<arith::MulFOp>(loc, element, accumulator));
  default:
    return integer ? Value(b.createOrFold<arith::AddIOp>(loc, element, accumulator))
                   : Value(b.createOrFold<arith::AddFOp>(loc, element, accumulator, reassociate));
  }
}
} // namespace

LoweredValue Lowering::reduce(Reduction kind, LoweredValue &in, ArrayRef<bool> reduced) {
  MLIRContext *context = b.getContext();
  // Numbers that shapes are computed from.
  if (auto elements = llvm::all_of(reduced, [](bool is) { return is; }) ? constantElements(in) : std::nullopt) {
    Value all = arith::ConstantOp::create(b, loc(), neutral(kind, in.elementType));
    for (Attribute element : *elements)
      all = combine(b, loc(), kind, in.elementType, arith::ConstantOp::create(b, loc(), cast<TypedAttr>(element)), all);
    if (Attribute known; matchPattern(all, m_Constant(&known)))
      return splatValue(cast<TypedAttr>(known), {}, in.elementType);
  }
  Extents kept;
  SmallVector<AffineExpr> resultExprs;
  SmallVector<utils::IteratorType> iterators;
  for (auto [dim, extent] : llvm::enumerate(in.shape)) {
    iterators.push_back(reduced[dim] ? utils::IteratorType::reduction : utils::IteratorType::parallel);
    if (reduced[dim])
      continue;
    kept.push_back(extent);
    resultExprs.push_back(getAffineDimExpr(dim, context));
  }
  SmallVector<AffineMap> maps = {AffineMap::getMultiDimIdentityMap(in.rank(), context),
                                 AffineMap::get(in.rank(), 0, resultExprs, context)};
  Value start = arith::ConstantOp::create(b, loc(), neutral(kind, in.elementType));
  Value init = linalg::FillOp::create(b, loc(), start, empty(kept, in.elementType)).getResult(0);
  auto op = linalg::GenericOp::create(b, loc(), init.getType(), tensor(in), init, maps, iterators,
                                      [&](OpBuilder &builder, Location l, ValueRange args) {
                                        linalg::YieldOp::create(builder, l, combine(builder, l, kind, in.elementType, args[0], args[1]));
                                      });
  return tensorValue(op.getResult(0), kept, in.elementType);
}

namespace {
// Products, sums and extremes of a shape list (element counts, mostly) stay expressions of dims.
std::optional<AffineExpr> reduceList(Lowering &l, Reduction kind, ArrayRef<AffineExpr> elements) {
  if (elements.empty())
    return std::nullopt;
  AffineExpr result = elements[0];
  for (AffineExpr element : elements.drop_front()) {
    if (kind == Reduction::Sum)
      result = result + element;
    else if (kind == Reduction::Prod)
      result = result * element;
    else if (auto chosen = l.extremum(result, element, kind == Reduction::Max))
      result = *chosen;
    else
      return std::nullopt;
  }
  return result;
}

using Step = Value (*)(OpBuilder &, Location, Type, Value);
Value square(OpBuilder &b, Location loc, Type type, Value x) {
  return isa<FloatType>(type) ? b.createOrFold<arith::MulFOp>(loc, x, x) : b.createOrFold<arith::MulIOp>(loc, x, x);
}
Value absolute(OpBuilder &b, Location loc, Type type, Value x) {
  if (isUnsigned(type))
    return x;
  return isa<FloatType>(type) ? b.createOrFold<math::AbsFOp>(loc, x) : b.createOrFold<math::AbsIOp>(loc, x);
}
// Of an integer, the whole part of what it is of the number.
template <class Op> Value ofNumber(OpBuilder &b, Location loc, Type type, Value x) {
  Type real = isa<FloatType>(type) ? type : b.getF64Type();
  return convert(b, loc, b.createOrFold<Op>(loc, convert(b, loc, x, type, real)), real, type);
}
Value root(OpBuilder &b, Location loc, Type type, Value x) { return ofNumber<math::SqrtOp>(b, loc, type, x); }
Value logarithm(OpBuilder &b, Location loc, Type type, Value x) { return ofNumber<math::LogOp>(b, loc, type, x); }

// Which dims the node reduces: none of them where its axes are empty and it says that this means so.
std::optional<SmallVector<bool>> reducedDims(Lowering &l, const LoweredValue &in) {
  std::optional<SmallVector<int64_t>> axes = l.intsAttr("axes");
  if (!axes && l.hasInput(1) && !(axes = l.constantInts(l.input(1)))) {
    l.error() << "axes that are not constant are not supported; give them with --value";
    return std::nullopt;
  }
  bool all = (!axes || axes->empty()) && !l.intAttr("noop_with_empty_axes", 0);
  SmallVector<bool> reduced(in.rank(), all);
  for (int64_t axis : axes.value_or(SmallVector<int64_t>())) {
    auto normal = l.normalizeAxis(axis, in.rank());
    if (!normal)
      return std::nullopt;
    reduced[*normal] = true;
  }
  return reduced;
}

Extents keptDims(Lowering &l, const LoweredValue &in, ArrayRef<bool> reduced) {
  Extents kept;
  for (auto [dim, extent] : llvm::enumerate(in.shape))
    kept.push_back(reduced[dim] ? l.constant(1) : extent);
  return kept;
}

// log(sum(exp(x))), of differences to the largest element: nothing overflows.
LogicalResult reduceLogSumExp(Lowering &l) {
  LoweredValue in = l.input(0);
  Type given = in.elementType, type = isa<FloatType>(given) ? given : l.b.getF64Type();
  std::optional<SmallVector<bool>> reduced = reducedDims(l, in);
  if (!reduced)
    return failure();
  auto converted = [&](LoweredValue &value, Type from, Type to) -> FailureOr<LoweredValue> {
    if (from == to)
      return value;
    return l.elementwise({&value}, to, [&](OpBuilder &b, Location loc, ValueRange x) { return convert(b, loc, x[0], from, to); });
  };
  auto real = converted(in, given, type);
  if (failed(real))
    return failure();
  in = *real;
  Extents kept = keptDims(l, in, *reduced);
  LoweredValue largest = l.reduce(Reduction::Max, in, *reduced);
  // Infinite ones are no measure of a difference.
  auto finite = l.elementwise({&largest}, type, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
    Value none = b.createOrFold<arith::SubFOp>(loc, x[0], x[0]); // zero, but for what is infinite or no number
    Value usable = b.createOrFold<arith::CmpFOp>(loc, arith::CmpFPredicate::OEQ, none, zero);
    return b.createOrFold<arith::SelectOp>(loc, usable, x[0], zero);
  });
  auto spread = failed(finite) ? FailureOr<LoweredValue>(failure()) : l.reshape(*finite, kept);
  if (failed(spread))
    return failure();
  auto power = l.elementwise({&in, &*spread}, type, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    return b.createOrFold<math::ExpOp>(loc, b.createOrFold<arith::SubFOp>(loc, x[0], x[1]));
  });
  if (failed(power))
    return failure();
  LoweredValue total = l.reduce(Reduction::Sum, *power, *reduced);
  auto result = l.elementwise({&total, &*finite}, type, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
    return b.createOrFold<arith::AddFOp>(loc, b.createOrFold<math::LogOp>(loc, x[0]), x[1]);
  });
  if (succeeded(result))
    result = converted(*result, type, given);
  if (succeeded(result) && l.intAttr("keepdims", 1))
    result = l.reshape(*result, kept);
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// after(reduction of before(x)); `Mean` divides by the number of elements reduced.
template <Reduction Kind, bool Mean = false, Step Before = nullptr, Step After = nullptr>
LogicalResult reduce(Lowering &l) {
  LoweredValue in = l.input(0);
  Type type = in.elementType;
  constexpr bool prepares = Before != nullptr, finishes = After != nullptr;
  std::optional<SmallVector<bool>> dims = reducedDims(l, in);
  if (!dims)
    return failure();
  ArrayRef<bool> reduced = *dims;
  if (in.rank() && !llvm::is_contained(reduced, true) && !prepares && !finishes) {
    l.define(0, in);
    return success();
  }
  if (auto list = l.list(in); list && in.rank() == 1 && isShapeInteger(type) && reduced[0] && !prepares && !finishes && !Mean)
    if (auto folded = reduceList(l, Kind, *list)) {
      l.define(0, l.intsValue(type, {*folded}, /*scalar=*/!l.intAttr("keepdims", 1)));
      return success();
    }
  Extents kept = keptDims(l, in, reduced);
  AffineExpr count = l.constant(1);
  for (auto [dim, extent] : llvm::enumerate(in.shape))
    if (reduced[dim])
      count = count * extent;
  auto step = [&](Step function, LoweredValue &value) {
    return l.elementwise({&value}, type, [&](OpBuilder &b, Location loc, ValueRange x) { return function(b, loc, type, x[0]); });
  };
  if constexpr (prepares) {
    auto prepared = step(Before, in);
    if (failed(prepared))
      return failure();
    in = *prepared;
  }
  LoweredValue result = l.reduce(Kind, in, reduced);
  if constexpr (Mean) {
    auto mean = l.elementwise({&result}, type, [&](OpBuilder &b, Location loc, ValueRange x) -> Value {
      Value n = convert(b, loc, l.scalarOf(b, loc, count, b.getI64Type()), b.getI64Type(), type);
      return quotient(b, loc, type, x[0], n);
    });
    if (failed(mean))
      return failure();
    result = *mean;
  }
  if constexpr (finishes) {
    auto finished = step(After, result);
    if (failed(finished))
      return failure();
    result = *finished;
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
  t.add("ReduceMean", 1, reduce<Reduction::Sum, /*Mean=*/true>, types::Numbers);
  t.add("ReduceMax", 1, reduce<Reduction::Max>);
  t.add("ReduceMin", 1, reduce<Reduction::Min>);
  t.add("ReduceProd", 1, reduce<Reduction::Prod>);
  t.add("ReduceL1", 1, reduce<Reduction::Sum, false, absolute>);
  t.add("ReduceL2", 1, reduce<Reduction::Sum, false, square, root>, types::Numbers);
  t.add("ReduceSumSquare", 1, reduce<Reduction::Sum, false, square>);
  t.add("ReduceLogSumExp", 1, reduceLogSumExp, types::Numbers);
  t.add("ReduceLogSum", 1, reduce<Reduction::Sum, false, nullptr, logarithm>, types::Numbers);
}
