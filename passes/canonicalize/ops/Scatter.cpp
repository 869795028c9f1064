// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elements written at indices that are data: snug_nn.scatter. An index beyond its dim, which ONNX leaves undefined, writes nothing.
#include "dialects/nn/ScatterOp.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/ops/Indexed.h"

using namespace mlir;
using namespace snug;

namespace {
// What an element becomes of what is there and what comes.
using Combine = Value (*)(OpBuilder &, Location, Type, Value, Value);
std::optional<Combine> combinerOf(Lowering &l, Type type) {
  StringRef reduction = l.stringAttr("reduction", "none");
  if (reduction == "none")
    return [](OpBuilder &, Location, Type, Value, Value update) { return update; };
  if (reduction == "max" || (reduction == "add" && type.isInteger(1)))
    return larger;
  if (reduction == "min" || (reduction == "mul" && type.isInteger(1)))
    return smaller;
  if (reduction == "add")
    return [](OpBuilder &b, Location loc, Type, Value old, Value update) { return ScalarCode{b, loc}.add(old, update); };
  if (reduction == "mul")
    return [](OpBuilder &b, Location loc, Type, Value old, Value update) { return ScalarCode{b, loc}.mul(old, update); };
  l.error() << "reduction '" << reduction << "' is none that the standard knows";
  return std::nullopt;
}

// The op, whose maps say what goes where.
LoweredValue scatter(Lowering &l, LoweredValue &data, LoweredValue &indices, LoweredValue &updates, AffineMap indexMap, AffineMap place,
                     ArrayRef<int64_t> uneven, Combine combine) {
  OpBuilder &b = l.b;
  Value init = l.tensor(data);
  auto op = nn::ScatterOp::create(b, l.loc(), init.getType(), l.tensor(indices), l.tensor(updates), init, indexMap, place,
                                  b.getDenseI64ArrayAttr(uneven));
  Type computed = storedAs(data.elementType);
  if (auto real = dyn_cast<FloatType>(computed))
    computed = computeType(real);
  Block &block = op.getCombiner().emplaceBlock();
  block.addArguments({computed, computed}, {l.loc(), l.loc()});
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(&block);
  nn::YieldOp::create(b, l.loc(), combine(b, l.loc(), data.elementType, block.getArgument(0), block.getArgument(1)));
  return l.tensorValue(op->getResult(0), data.shape, data.elementType);
}

LogicalResult wantUpdates(Lowering &l, const LoweredValue &updates, const LoweredValue &like, StringRef what, bool fits) {
  if (!fits)
    return l.error() << "updates of shape " << l.print(updates.shape) << " " << what << " " << l.print(like.shape);
  if (updates.elementType != l.input(0).elementType)
    return l.error() << "updates of type " << nameOf(updates.elementType) << " do not fit data of type "
                     << nameOf(l.input(0).elementType);
  return success();
}

bool areSame(Lowering &l, ArrayRef<AffineExpr> left, ArrayRef<AffineExpr> right) {
  return left.size() == right.size() &&
         llvm::all_of(llvm::zip(left, right), [&](auto pair) { return l.same(std::get<0>(pair), std::get<1>(pair)); });
}

// Indices of one component each.
FailureOr<LoweredValue> asTuples(Lowering &l, LoweredValue &indices) {
  Extents shape = indices.shape;
  shape.push_back(l.constant(1));
  return l.reshape(indices, shape);
}
} // namespace

// Along `axis` an index decides; other dims are in place, where indices may be fewer than data.
LogicalResult snug::scatterElements(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1), &updates = l.input(2);
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), data.rank());
  auto combine = combinerOf(l, data.elementType);
  if (!axis || !combine || failed(wantIndices(l, indices, indices.rank() == data.rank() && updates.rank() == data.rank())) ||
      failed(wantUpdates(l, updates, indices, "for indices of shape", areSame(l, indices.shape, updates.shape))))
    return failure();
  FailureOr<LoweredValue> tuples = asTuples(l, indices);
  if (failed(tuples))
    return failure();
  unsigned rank = data.rank();
  SmallVector<AffineExpr> place;
  SmallVector<int64_t> uneven;
  for (unsigned dim = 0; dim < rank; ++dim) {
    bool isChosen = dim == *axis;
    place.push_back(isChosen ? l.b.getAffineSymbolExpr(0) : l.b.getAffineDimExpr(dim));
    if (!isChosen && !l.same(data.shape[dim], indices.shape[dim]))
      uneven.push_back(dim);
  }
  l.define(0, scatter(l, data, *tuples, updates, l.b.getMultiDimIdentityMap(rank), AffineMap::get(rank, 1, place, l.b.getContext()),
                      uneven, *combine));
  return success();
}

// A tuple of indices for each slice of the trailing dims.
LogicalResult snug::scatterNd(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1), &updates = l.input(2);
  auto combine = combinerOf(l, data.elementType);
  int64_t count = indices.rank() - 1 + data.rank() - updates.rank();
  bool fits = indices.rank() && count >= 0 && count <= data.rank() && l.same(indices.shape.back(), l.constant(count));
  if (!combine || failed(wantIndices(l, indices, fits)))
    return failure();
  unsigned tuple = count, trailing = data.rank() - tuple, outer = indices.rank() - 1, rank = updates.rank();
  if (failed(wantUpdates(l, updates, data, "do not fit data of shape",
                         areSame(l, ArrayRef(data.shape).take_back(trailing), ArrayRef(updates.shape).take_back(trailing)))) ||
      failed(wantUpdates(l, updates, indices, "do not fit indices of shape",
                         areSame(l, ArrayRef(indices.shape).take_front(outer), ArrayRef(updates.shape).take_front(outer)))))
    return failure();
  MLIRContext *context = l.b.getContext();
  SmallVector<AffineExpr> place;
  for (unsigned component = 0; component < tuple; ++component)
    place.push_back(getAffineSymbolExpr(component, context));
  for (unsigned dim = outer; dim < rank; ++dim)
    place.push_back(getAffineDimExpr(dim, context));
  AffineMap indexMap = AffineMap::getMultiDimIdentityMap(rank, context).getSliceMap(0, outer);
  l.define(0, scatter(l, data, indices, updates, indexMap, AffineMap::get(rank, tuple, place, context), {}, *combine));
  return success();
}

// Values put at their places in a larger image of zeros; places count through all of it.
LogicalResult snug::maxUnpool(Lowering &l) {
  LoweredValue &x = l.input(0), &indices = l.input(1);
  auto kernelShape = l.intsAttr("kernel_shape");
  size_t spatial = x.rank() < 2 ? 0 : x.rank() - 2;
  SmallVector<int64_t> strides = l.intsAttr("strides").value_or(SmallVector<int64_t>(spatial, 1));
  SmallVector<int64_t> pads = l.intsAttr("pads").value_or(SmallVector<int64_t>(2 * spatial, 0));
  if (!kernelShape || kernelShape->size() != spatial || strides.size() != spatial || pads.size() != 2 * spatial || !spatial ||
      !isIndexType(indices.elementType))
    return l.error() << "kernel_shape, strides or pads do not fit an input of shape " << l.print(x.shape);
  if (!areSame(l, x.shape, indices.shape))
    return l.error() << "indices of shape " << l.print(indices.shape) << " for an input of shape " << l.print(x.shape);
  Extents inferred = {x.shape[0], x.shape[1]};
  for (size_t i = 0; i < spatial; ++i)
    inferred.push_back((x.shape[2 + i] - 1) * strides[i] - (pads[i] + pads[spatial + i]) + (*kernelShape)[i]);
  Extents shape = inferred;
  if (l.hasInput(2)) {
    auto given = l.ints(l.input(2));
    if (!given || given->size() != shape.size())
      return l.error() << "an output_shape that is computed from data is not supported; give it with --value";
    shape = *given;
  }
  if (!areExtents(l, shape) || !areExtents(l, inferred))
    return failure();
  auto product = [&](ArrayRef<AffineExpr> extents) {
    AffineExpr all = l.constant(1);
    for (AffineExpr extent : extents)
      all = all * extent;
    return all;
  };
  LoweredValue places = indices;
  if (!llvm::equal(shape, inferred)) {
    // Places are those of the inferred image, which is the whole one's first corner.
    Type i64 = l.b.getI64Type();
    FailureOr<LoweredValue> counted = l.elementwise({&indices}, i64, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
      ScalarCode c{b, loc};
      auto extent = [&](AffineExpr expr) { return l.scalarOf(b, loc, expr, i64); };
      Value zero = c.number(i64, 0), rest = c.convert(a[0], i64), total = extent(product(inferred));
      rest = c.select(c.less(rest, zero), c.add(rest, total), rest);
      Value fits = c.both(c.lessEqual(zero, rest), c.less(rest, total)), place = zero, stride = c.number(i64, 1);
      for (size_t dim = shape.size(); dim-- > 0;) {
        Value at = dim ? c.rem(rest, extent(inferred[dim])) : rest;
        rest = dim ? c.div(rest, extent(inferred[dim])) : rest;
        fits = c.both(fits, c.less(at, extent(shape[dim])));
        place = c.add(place, c.mul(at, stride));
        stride = c.mul(stride, extent(shape[dim]));
      }
      return c.select(fits, place, stride); // behind the last element
    });
    if (failed(counted))
      return failure();
    places = *counted;
  }
  FailureOr<LoweredValue> tuples = asTuples(l, places);
  if (failed(tuples))
    return failure();
  AffineExpr all = product(shape);
  LoweredValue image = l.splatValue(numberAttr(x.elementType, 0), {all}, x.elementType);
  unsigned rank = x.rank();
  LoweredValue flat = scatter(l, image, *tuples, x, l.b.getMultiDimIdentityMap(rank),
                              AffineMap::get(rank, 1, l.b.getAffineSymbolExpr(0)), {},
                              [](OpBuilder &, Location, Type, Value, Value update) { return update; });
  return finish(l, l.reshape(flat, shape));
}
