// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that speak of shapes: Shape, Size, Reshape and its kin, Expand, and the generators Constant, ConstantOfShape, Range.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include <cmath>

#include "passes/canonicalize/ops/Strings.h"

using namespace mlir;
using namespace snug;

namespace {
LogicalResult shapeOf(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto clamp = [&](int64_t value) {
    value = value < 0 ? value + in.rank() : value;
    return std::min(std::max<int64_t>(value, 0), in.rank());
  };
  int64_t start = clamp(l.wideIntAttr("start", 0)), end = clamp(l.wideIntAttr("end", in.rank()));
  Extents extents;
  for (int64_t dim = start; dim < end; ++dim)
    extents.push_back(in.shape[dim]);
  l.define(0, l.intsValue(l.b.getI64Type(), extents));
  return success();
}

LogicalResult sizeOf(Lowering &l) {
  AffineExpr product = l.constant(1);
  for (AffineExpr extent : l.input(0).shape)
    product = product * extent;
  l.define(0, l.intsValue(l.b.getI64Type(), {product}, /*scalar=*/true));
  return success();
}

AffineExpr product(Lowering &l, ArrayRef<AffineExpr> extents) {
  AffineExpr result = l.constant(1);
  for (AffineExpr extent : extents)
    result = result * extent;
  return result;
}

LogicalResult reshape(Lowering &l) {
  LoweredValue &in = l.input(0);
  std::optional<Extents> wanted;
  if (auto attribute = l.intsAttr("shape")) { // opset 1
    wanted.emplace();
    for (int64_t extent : *attribute)
      wanted->push_back(l.constant(extent));
  } else if (l.numInputs() > 1) {
    wanted = l.ints(l.input(1));
  }
  if (!wanted) {
    l.error() << "the shape is computed from data, and nothing bounds it; an input that states it is known with --value NAME=V,V..., "
                 "or bounded with --value NAME=A..B";
    return failure();
  }
  bool allowZero = l.intAttr("allowzero", 0);
  std::optional<size_t> inferred;
  Extents known;
  for (auto [dim, extent] : llvm::enumerate(*wanted)) {
    auto number = dyn_cast<AffineConstantExpr>(extent);
    if (number && number.getValue() == 0 && !allowZero) {
      if (static_cast<int64_t>(dim) >= in.rank()) {
        l.error() << "dim " << dim << " of the shape copies a dim that the input of shape " << l.print(in.shape) << " lacks";
        return failure();
      }
      extent = in.shape[dim];
    }
    bool isValue = llvm::any_of(l.dims.rangesOf(extent), [](const DimRange *range) { return range->isValue; });
    if (isValue && !l.isAtLeast(extent, 1) && !allowZero)
      return l.error() << "element " << dim << " of the shape may be 0, which would copy a dim; give a range from 1 up with --value";
    if (number && number.getValue() == -1) {
      if (inferred) {
        l.error() << "the shape has more than one -1";
        return failure();
      }
      inferred = dim;
    } else {
      known.push_back(extent);
    }
  }
  if (inferred) {
    auto value = l.quotient(product(l, in.shape), product(l, known));
    for (auto [extent, other] : llvm::zip(in.shape, *wanted)) {
      // Where that is not known, for each dim: a number cuts the dim in its place, and a dim is the same one.
      auto number = dyn_cast<AffineConstantExpr>(other);
      if (value)
        break;
      if (!isa<AffineSymbolExpr>(extent))
        continue;
      if (number && number.getValue() > 1)
        l.quotient(extent, other);
      else if (isa<AffineSymbolExpr>(other))
        l.same(extent, other);
    }
    if (!value) {
      l.error() << "cannot infer -1: input shape " << l.print(in.shape) << ", other extents " << l.print(known)
                << (known.empty() || !isa<AffineConstantExpr>(known.back()) || in.shape.empty()
                        ? std::string()
                        : l.stepHint(in.shape.back(), cast<AffineConstantExpr>(known.back()).getValue()));
      return failure();
    }
    (*wanted)[*inferred] = *value;
  }
  return finish(l, l.reshape(in, *wanted));
}

// Axes from attribute (older opsets) or input.
std::optional<SmallVector<int64_t>> axesOf(Lowering &l, unsigned index) {
  if (auto axes = l.intsAttr("axes"))
    return axes;
  if (!l.hasInput(index))
    return SmallVector<int64_t>();
  auto axes = l.constantInts(l.input(index));
  if (!axes)
    l.error() << "axes that are not constant are not supported";
  return axes;
}

LogicalResult unsqueeze(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axes = axesOf(l, 1);
  if (!axes)
    return failure();
  int64_t rank = in.rank() + axes->size();
  SmallVector<bool> added(rank, false);
  for (int64_t axis : *axes) {
    auto normal = l.normalizeAxis(axis, rank);
    if (!normal)
      return failure();
    added[*normal] = true;
  }
  Extents shape;
  size_t next = 0;
  for (int64_t dim = 0; dim < rank; ++dim)
    shape.push_back(added[dim] || next >= in.shape.size() ? l.constant(1) : in.shape[next++]);
  return finish(l, l.reshape(in, shape));
}

LogicalResult squeeze(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axes = axesOf(l, 1);
  if (!axes)
    return failure();
  SmallVector<bool> removed(in.rank(), false);
  for (int64_t axis : *axes) {
    auto normal = l.normalizeAxis(axis, in.rank());
    if (!normal)
      return failure();
    if (!l.same(in.shape[*normal], 1)) {
      l.error() << "axis " << axis << " of shape " << l.print(in.shape) << " is not 1";
      return failure();
    }
    removed[*normal] = true;
  }
  Extents shape;
  for (auto [dim, extent] : llvm::enumerate(in.shape))
    if (!(axes->empty() ? extent == l.constant(1) : removed[dim]))
      shape.push_back(extent);
  return finish(l, l.reshape(in, shape));
}

LogicalResult flatten(Lowering &l) {
  LoweredValue &in = l.input(0);
  int64_t axis = l.intAttr("axis", 1);
  if (axis < -in.rank() || axis > in.rank()) {
    l.error() << "axis " << axis << " is outside a tensor of rank " << in.rank();
    return failure();
  }
  axis = axis < 0 ? axis + in.rank() : axis;
  ArrayRef<AffineExpr> extents = in.shape;
  return finish(l, l.reshape(in, {product(l, extents.take_front(axis)), product(l, extents.drop_front(axis))}));
}

LogicalResult expand(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto wanted = l.ints(l.input(1));
  if (!wanted) {
    l.error() << "the shape is computed from data, and nothing bounds it; an input that states it is known with --value NAME=V,V..., "
                 "or bounded with --value NAME=A..B";
    return failure();
  }
  auto shape = l.broadcast(in.shape, *wanted);
  if (!shape)
    return failure();
  if (llvm::equal(*shape, in.shape)) {
    l.define(0, in);
    return success();
  }
  if (in.splat) {
    l.define(0, l.splatValue(in.splat, *shape, in.elementType));
    return success();
  }
  if (in.isClosed() && !in.closedVector) {
    // A dim of extent 1 is read at index 0 whatever the result's index.
    SmallVector<AffineExpr> dims;
    int64_t shift = shape->size() - in.rank();
    for (auto [dim, extent] : llvm::enumerate(in.shape))
      dims.push_back(extent == l.constant(1) ? l.constant(0) : getAffineDimExpr(dim + shift, l.b.getContext()));
    LoweredValue out;
    out.elementType = in.elementType;
    out.shape = *shape;
    out.closed = {in.closed[0].replaceDims(dims)};
    l.define(0, out);
    return success();
  }
  // Elementwise with a value of the wanted shape that the body ignores.
  LoweredValue ones = l.splatValue(numberAttr(in.elementType, 0), *shape, in.elementType);
  return finish(l, l.elementwise({&in, &ones}, in.elementType,
                                 [](OpBuilder &, Location, ValueRange x) -> Value { return x[0]; }));
}

// Each repeated dim gets one before it, which a generic does not read; both together are the longer dim.
LogicalResult tile(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto repeats = l.ints(l.input(1));
  if (!repeats || static_cast<int64_t>(repeats->size()) != in.rank()) {
    l.error() << "repeats must be computed from dims, one for each dim of shape " << l.print(in.shape);
    return failure();
  }
  Extents blocks, result;
  SmallVector<AffineExpr> read;
  for (auto [extent, repeat] : llvm::zip_equal(in.shape, *repeats)) {
    if (repeat != l.constant(1))
      blocks.push_back(repeat);
    read.push_back(getAffineDimExpr(blocks.size(), l.b.getContext()));
    blocks.push_back(extent);
    result.push_back(extent * repeat);
  }
  if (blocks.size() == in.shape.size())
    return finish(l, in);
  if (in.splat)
    return finish(l, l.splatValue(in.splat, result, in.elementType));
  Value grown = l.generic({l.tensor(in)}, {AffineMap::get(blocks.size(), 0, read, l.b.getContext())}, blocks, in.elementType,
                          [](OpBuilder &, Location, ValueRange x) -> Value { return x[0]; });
  LoweredValue value = l.tensorValue(grown, blocks, in.elementType);
  return finish(l, l.reshape(value, result));
}

// --- generators ---------------------------------------------------------------------------------------------------

LogicalResult constant(Lowering &l) {
  OpBuilder &b = l.b;
  if (auto value = dyn_cast_or_null<DenseElementsAttr>(l.attr("value"))) {
    l.define(0, l.denseValue(value, l.node()->getResult(0)));
    return success();
  }
  if (auto symbol = dyn_cast_or_null<FlatSymbolRefAttr>(l.attr("value"))) { // too large to stand in the node
    auto initializer = l.module.lookupSymbol<onnx::InitializerOp>(symbol);
    l.define(0, l.initializerValue(initializer, l.node()->getResult(0)));
    return success();
  }
  if (auto values = dyn_cast_or_null<DenseF32ArrayAttr>(l.attr("value_floats"))) {
    auto type = RankedTensorType::get({static_cast<int64_t>(values.size())}, b.getF32Type());
    l.define(0, l.denseValue(DenseElementsAttr::get(type, values.asArrayRef()), l.node()->getResult(0)));
    return success();
  }
  if (auto value = dyn_cast_or_null<IntegerAttr>(l.attr("value_int"))) {
    l.define(0, l.intsValue(b.getI64Type(), {l.constant(value.getInt())}, true));
    return success();
  }
  if (auto value = dyn_cast_or_null<FloatAttr>(l.attr("value_float"))) {
    l.define(0, l.splatValue(b.getF32FloatAttr(value.getValueAsDouble()), {}));
    return success();
  }
  if (auto values = l.intsAttr("value_ints")) {
    Extents elements;
    for (int64_t value : *values)
      elements.push_back(l.constant(value));
    l.define(0, l.intsValue(b.getI64Type(), elements));
    return success();
  }
  if (auto value = dyn_cast_or_null<StringAttr>(l.attr("value_string"))) {
    l.define(0, stringsValue(l, {value.getValue()}, {}));
    return success();
  }
  if (auto values = dyn_cast_or_null<ArrayAttr>(l.attr("value_strings"))) {
    SmallVector<StringRef> strings;
    for (Attribute value : values)
      strings.push_back(cast<StringAttr>(value).getValue());
    l.define(0, stringsValue(l, strings, {static_cast<int64_t>(strings.size())}));
    return success();
  }
  l.error() << "constants of this kind are not supported";
  return failure();
}

LogicalResult constantOfShape(Lowering &l) {
  auto shape = l.ints(l.input(0));
  if (!shape) {
    l.error() << "the shape is computed from data, and nothing bounds it; an input that states it is known with --value NAME=V,V..., "
                 "or bounded with --value NAME=A..B";
    return failure();
  }
  if (isa_and_nonnull<DenseStringElementsAttr>(l.attr("value")))
    return l.error() << "a value that is a string is not supported";
  TypedAttr value = l.b.getF32FloatAttr(0);
  if (auto dense = dyn_cast_or_null<DenseElementsAttr>(l.attr("value")))
    value = cast<TypedAttr>(dense.getSplatValue<Attribute>());
  l.define(0, l.splatValue(value, *shape));
  return success();
}

// Of floats that are known.
LogicalResult floatRange(Lowering &l, double start, double limit, double delta) {
  double count = std::max(std::ceil((limit - start) / delta), 0.0);
  if (!(count < 1e9))
    return l.error() << "a range from " << start << " to " << limit << " by " << delta << " is not supported";
  Type type = l.input(0).elementType;
  LoweredValue index;
  index.elementType = l.b.getI64Type();
  index.shape = {l.constant(static_cast<int64_t>(count))};
  index.closed = {getAffineDimExpr(0, l.b.getContext())};
  return finish(l, l.elementwise({&index}, type, [&](OpBuilder &b, Location loc, ValueRange a) -> Value {
    auto number = [&](double value) { return arith::ConstantOp::create(b, loc, b.getFloatAttr(type, value)); };
    Value steps = arith::SIToFPOp::create(b, loc, type, a[0]);
    return arith::AddFOp::create(b, loc, number(start), arith::MulFOp::create(b, loc, steps, number(delta)));
  }));
}

LogicalResult range(Lowering &l) {
  if (isa<FloatType>(l.input(0).elementType)) {
    std::optional<SmallVector<double>> known[3];
    bool all = true;
    for (unsigned i = 0; i < 3; ++i) {
      known[i] = l.constantFloats(l.input(i));
      all &= known[i] && known[i]->size() == 1;
    }
    if (all && (*known[2])[0] != 0)
      return floatRange(l, (*known[0])[0], (*known[1])[0], (*known[2])[0]);
  }
  auto start = l.ints(l.input(0)), limit = l.ints(l.input(1)), delta = l.ints(l.input(2));
  auto step = delta ? dyn_cast<AffineConstantExpr>((*delta)[0]) : AffineConstantExpr();
  if (!start || !limit || !step || step.getValue() == 0) {
    l.error() << "start, limit and delta must be integers computed from dims, delta a constant other than 0; inputs that state "
                 "them are known with --value NAME=V, or bounded with --value NAME=A..B";
    return failure();
  }
  int64_t s = step.getValue();
  AffineExpr span = s > 0 ? (*limit)[0] - (*start)[0] : (*start)[0] - (*limit)[0];
  LoweredValue out;
  out.elementType = l.input(0).elementType;
  out.shape = {span.ceilDiv(std::abs(s))};
  if (!l.requireAtLeast(out.shape[0], l.constant(0))) {
    l.error() << "the range from " << l.dims.print((*start)[0]) << " to " << l.dims.print((*limit)[0]) << " may be empty for some dims";
    return failure();
  }
  out.closed = {(*start)[0] + getAffineDimExpr(0, l.b.getContext()) * s};
  l.define(0, out);
  return success();
}
} // namespace

void snug::addShapeOps(LoweringTable &t) {
  t.add("Shape", 1, shapeOf, types::Any);
  t.add("Size", 1, sizeOf, types::Any);
  t.add("Reshape", 1, reshape, types::Any);
  t.add("Unsqueeze", 1, unsqueeze, types::Any);
  t.add("Squeeze", 1, squeeze, types::Any);
  t.add("Flatten", 1, flatten, types::Any);
  t.add("Expand", 8, expand, types::Any);
  t.add("Tile", 6, tile, types::Any);
  t.add("Constant", 1, constant);
  t.add("ConstantOfShape", 9, constantOfShape);
  t.add("Range", 11, range);
}
