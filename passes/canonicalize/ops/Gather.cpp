// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Gather and GatherND. Indices in closed form need no gather: they are a slice, or a map of a generic.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/StringType.h"
#include "passes/canonicalize/ops/Indexed.h"

using namespace mlir;
using namespace snug;

namespace {
struct Reach {
  AffineExpr low, high;
};

// The least and the largest value of an expression over all indices of `shape`, as expressions of the named dims.
std::optional<Reach> reachOf(Lowering &l, AffineExpr expr, ArrayRef<AffineExpr> shape) {
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return Reach{l.constant(0), shape[dim.getPosition()] - 1};
  if (expr.isSymbolicOrConstant())
    return Reach{expr, expr};
  auto binary = cast<AffineBinaryOpExpr>(expr);
  auto left = reachOf(l, binary.getLHS(), shape), right = reachOf(l, binary.getRHS(), shape);
  if (!left || !right)
    return std::nullopt;
  auto factor = l.dims.lowerBound(right->low), most = l.dims.upperBound(right->low);
  bool oneFactor = right->low == right->high;
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return Reach{left->low + right->low, left->high + right->high};
  case AffineExprKind::Mul:
    if (oneFactor && factor && *factor >= 0)
      return Reach{left->low * right->low, left->high * right->low};
    if (oneFactor && most && *most <= 0)
      return Reach{left->high * right->low, left->low * right->low};
    return std::nullopt;
  case AffineExprKind::FloorDiv:
    if (oneFactor && factor && *factor > 0)
      return Reach{left->low.floorDiv(right->low), left->high.floorDiv(right->low)};
    return std::nullopt;
  case AffineExprKind::Mod:
    if (oneFactor && factor && *factor > 0)
      return Reach{l.constant(0), right->low - 1};
    return std::nullopt;
  default:
    return std::nullopt;
  }
}

// Indices as one expression of their position. A dim of extent 1 has the index 0.
std::optional<AffineExpr> positionOf(LoweredValue &indices) {
  if (!indices.isClosed() || (indices.closedVector && indices.closed.size() != 1))
    return std::nullopt;
  AffineExpr expr = indices.closed[0];
  SmallVector<AffineExpr> dims;
  for (auto [dim, extent] : llvm::enumerate(indices.shape)) {
    auto number = dyn_cast<AffineConstantExpr>(extent);
    dims.push_back(number && number.getValue() == 1 ? getAffineConstantExpr(0, expr.getContext())
                                                    : getAffineDimExpr(dim, expr.getContext()));
  }
  return expr.replaceDims(dims);
}

// result[i] = data[exprs(i)] over `shape`, as a slice of data that a generic reads by a map; nothing where an index may
// lie outside or no map can say it. A negative index counts from the end.
FailureOr<std::optional<LoweredValue>> readAt(Lowering &l, LoweredValue &data, ArrayRef<AffineExpr> exprs,
                                              ArrayRef<AffineExpr> shape) {
  MLIRContext *context = l.b.getContext();
  Extents offsets, sizes;
  SmallVector<int64_t> steps;
  SmallVector<AffineExpr> read, whole; // in the slice, and in data
  for (auto [expr, extent] : llvm::zip_equal(exprs, data.shape)) {
    auto reach = reachOf(l, expr, shape);
    if (!reach)
      return std::optional<LoweredValue>();
    AffineExpr shift = l.constant(0);
    if (auto high = l.dims.upperBound(reach->high); high && *high < 0)
      shift = extent;
    auto low = l.dims.lowerBound(reach->low + shift), room = l.dims.lowerBound(extent - 1 - reach->high - shift);
    bool above = !room || *room < 0;
    bool fromFirst = reach->low + shift == l.constant(0) && reach->low != reach->high;
    if (above && fromFirst)
      l.endsAt(extent, reach->high + shift + 1);
    else if (above)
      l.same(extent, reach->high + shift + 1);
    if (!low || *low < 0 || above)
      return std::optional<LoweredValue>();
    // d * step + offset
    AffineExpr offset = expr.replaceDims(SmallVector<AffineExpr>(shape.size(), l.constant(0))) + shift;
    AffineExpr variable = simplifyAffineExpr(expr + shift - offset, shape.size(), l.dims.symbols().size());
    auto dim = dyn_cast<AffineDimExpr>(variable);
    int64_t step = 1;
    if (auto product = dyn_cast<AffineBinaryOpExpr>(variable); product && variable.getKind() == AffineExprKind::Mul) {
      auto factor = dyn_cast<AffineConstantExpr>(product.getRHS());
      if (factor && factor.getValue() > 0) {
        dim = dyn_cast<AffineDimExpr>(product.getLHS());
        step = factor.getValue();
      }
    }
    bool fixed = variable == l.constant(0);
    if (dim || fixed) {
      offsets.push_back(offset);
      sizes.push_back(fixed ? l.constant(1) : shape[dim.getPosition()]);
      steps.push_back(fixed ? 1 : step);
      read.push_back(fixed ? l.constant(0) : AffineExpr(dim));
    } else {
      // Maps of linalg ops know no symbols.
      bool hasSymbols = false;
      AffineExpr(expr + shift).walk([&](AffineExpr e) { hasSymbols |= isa<AffineSymbolExpr>(e); });
      if (hasSymbols)
        return std::optional<LoweredValue>();
      offsets.push_back(l.constant(0));
      sizes.push_back(extent);
      steps.push_back(1);
      read.push_back(expr + shift);
    }
    whole.push_back(expr + shift);
  }
  if (data.splat)
    return std::optional<LoweredValue>(l.splatValue(data.splat, Extents(shape), data.elementType));
  if (data.isClosed() && !data.closedVector) {
    LoweredValue out;
    out.elementType = data.elementType;
    out.shape = Extents(shape);
    out.closed = {data.closed[0].replaceDims(whole)};
    return std::optional<LoweredValue>(out);
  }
  LoweredValue slice = l.slice(data, offsets, sizes, steps);
  // Dims in order, and extents of 1 between them, make a view.
  int64_t last = -1;
  bool inOrder = true;
  Extents kept;
  for (auto [expr, size] : llvm::zip_equal(read, sizes)) {
    auto dim = dyn_cast<AffineDimExpr>(expr);
    inOrder &= dim ? static_cast<int64_t>(dim.getPosition()) > last : expr == l.constant(0) && size == l.constant(1);
    if (dim)
      last = dim.getPosition();
    if (size != l.constant(1))
      kept.push_back(size);
  }
  Extents wanted;
  llvm::copy_if(shape, std::back_inserter(wanted), [&](AffineExpr extent) { return extent != l.constant(1); });
  if (inOrder && kept == wanted) {
    auto view = l.reshape(slice, shape);
    if (failed(view))
      return failure();
    return std::optional<LoweredValue>(*view);
  }
  auto map = AffineMap::get(shape.size(), 0, read, context);
  Value result = l.generic({l.tensor(slice)}, {map}, shape, data.elementType,
                           [](OpBuilder &, Location, ValueRange x) -> Value { return x[0]; });
  return std::optional<LoweredValue>(l.tensorValue(result, Extents(shape), data.elementType));
}

LogicalResult gather(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1);
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), data.rank());
  if (!axis)
    return failure();
  auto chosen = l.constantInts(indices);
  // Elements of a shape list.
  if (auto elements = l.list(data); elements && data.rank() == 1 && chosen) {
    Extents picked;
    for (int64_t index : *chosen) {
      int64_t count = elements->size();
      if (index < -count || index >= count) {
        l.error() << "index " << index << " is outside the " << count << " elements";
        return failure();
      }
      picked.push_back((*elements)[index < 0 ? index + count : index]);
    }
    l.define(0, l.intsValue(data.elementType, picked, indices.rank() == 0));
    return success();
  }
  Extents shape(data.shape.begin(), data.shape.begin() + *axis);
  llvm::append_range(shape, indices.shape);
  llvm::append_range(shape, ArrayRef(data.shape).drop_front(*axis + 1));
  auto position = positionOf(indices);
  if (position) {
    SmallVector<AffineExpr> exprs;
    for (int64_t dim = 0; dim < data.rank(); ++dim)
      exprs.push_back(dim < *axis    ? getAffineDimExpr(dim, l.b.getContext())
                      : dim == *axis ? position->shiftDims(indices.rank(), *axis)
                                     : getAffineDimExpr(dim + indices.rank() - 1, l.b.getContext()));
    auto result = readAt(l, data, exprs, shape);
    if (failed(result))
      return failure();
    if (*result) {
      l.define(0, **result);
      return success();
    }
  }
  Value init = l.empty(shape, data.elementType);
  auto op = nn::GatherOp::create(l.b, l.loc(), init.getType(), l.tensor(data), l.tensor(indices), Value(), init,
                                 l.b.getI64IntegerAttr(*axis));
  l.define(0, l.tensorValue(op->getResult(0), shape, data.elementType));
  return success();
}

// Indices that are computed from positions are a map or a slice.
LogicalResult gatherNd(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1);
  Extents tuple;
  if (indices.closedVector)
    tuple = indices.closed;
  else if (indices.isClosed() && indices.rank() && indices.shape.back() == l.constant(1))
    tuple = {indices.closed[0]};
  int64_t leading = tuple.size();
  if (l.intAttr("batch_dims", 0) != 0 || leading == 0 || leading > data.rank())
    return gatherSlices(l);
  Extents shape(indices.shape.begin(), indices.shape.end() - 1);
  int64_t positions = shape.size();
  llvm::append_range(shape, ArrayRef(data.shape).drop_front(leading));
  SmallVector<AffineExpr> exprs(tuple.begin(), tuple.end());
  for (int64_t dim = leading; dim < data.rank(); ++dim)
    exprs.push_back(getAffineDimExpr(positions + dim - leading, l.b.getContext()));
  auto result = readAt(l, data, exprs, shape);
  if (failed(result))
    return failure();
  if (!*result)
    return gatherSlices(l);
  l.define(0, **result);
  return success();
}
} // namespace

void snug::addGatherOps(LoweringTable &t) {
  t.add("Gather", 1, gather, types::Any);
  t.add("GatherND", 11, gatherNd, types::Any);
}
