// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Gather and GatherND. Indices in closed form need no gather: they are a slice, or a map of a generic.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
LogicalResult gather(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1);
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), data.rank());
  if (!axis)
    return failure();
  auto chosen = l.constantInts(indices);
  // Elements of a shape list.
  if (auto elements = l.ints(data); elements && data.rank() == 1 && chosen) {
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
  // One constant index is a slice.
  if (chosen && chosen->size() == 1) {
    AffineExpr offset = (*chosen)[0] < 0 ? data.shape[*axis] + (*chosen)[0] : l.constant((*chosen)[0]);
    auto low = l.dims.lowerBound(offset), room = l.dims.lowerBound(data.shape[*axis] - 1 - offset);
    if (!low || *low < 0 || !room || *room < 0) {
      l.error() << "index " << (*chosen)[0] << " is outside extent " << l.dims.print(data.shape[*axis]);
      return failure();
    }
    Extents offsets(data.rank(), l.constant(0)), sizes = data.shape;
    offsets[*axis] = offset;
    sizes[*axis] = l.constant(1);
    LoweredValue slice = l.slice(data, offsets, sizes, SmallVector<int64_t>(data.rank(), 1));
    auto result = l.reshape(slice, shape);
    if (failed(result))
      return failure();
    l.define(0, *result);
    return success();
  }
  Value init = l.empty(shape, data.elementType);
  auto op = nn::GatherOp::create(l.b, l.loc(), init.getType(), l.tensor(data), l.tensor(indices), init,
                                 l.b.getI64IntegerAttr(*axis));
  l.define(0, l.tensorValue(op->getResult(0), shape));
  return success();
}

LogicalResult gatherNd(Lowering &l) {
  LoweredValue &data = l.input(0), &indices = l.input(1);
  if (l.intAttr("batch_dims", 0) != 0 || !indices.closedVector ||
      static_cast<int64_t>(indices.closed.size()) != data.rank()) {
    l.error() << "only whole index tuples computed from positions are supported";
    return failure();
  }
  Extents shape(indices.shape.begin(), indices.shape.end() - 1);
  SmallVector<AffineExpr> exprs;
  for (auto [dim, expr] : llvm::enumerate(indices.closed)) {
    // In bounds for all dims: a position grid over an extent no larger than the data's, or a constant.
    AffineExpr reach;
    if (auto position = dyn_cast<AffineDimExpr>(expr))
      reach = shape[position.getPosition()] - 1;
    else if (auto number = dyn_cast<AffineConstantExpr>(expr); number && number.getValue() >= 0)
      reach = expr;
    auto room = reach ? l.dims.lowerBound(data.shape[dim] - 1 - reach) : std::nullopt;
    if (!room || *room < 0) {
      l.error() << "cannot show the indices of dim " << dim << " to lie inside shape " << l.print(data.shape);
      return failure();
    }
    exprs.push_back(expr);
  }
  auto map = AffineMap::get(shape.size(), 0, exprs, l.b.getContext());
  Value result = l.generic({l.tensor(data)}, {map}, shape, data.elementType,
                           [](OpBuilder &, Location, ValueRange x) -> Value { return x[0]; });
  l.define(0, l.tensorValue(result, shape));
  return success();
}
} // namespace

void snug::addGatherOps(LoweringTable &t) {
  t.add("Gather", 1, gather);
  t.add("GatherND", 11, gatherNd);
}
