// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reshape as views: the extents of both shapes are matched in groups of equal products, each group is collapsed and
// expanded again. A reshape back to a shape that a value was viewed from returns that value.
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/canonicalize/ScalarKernel.h"

using namespace mlir;
using namespace snug;

namespace {
// Groups of source and target dims with equal element counts, in order.
struct DimGroup {
  SmallVector<int64_t> source, target;
};

std::optional<SmallVector<DimGroup>> matchGroups(ArrayRef<AffineExpr> source, ArrayRef<AffineExpr> target, AffineExpr one) {
  SmallVector<DimGroup> groups;
  size_t i = 0, j = 0;
  auto number = [](AffineExpr e) { return cast<AffineConstantExpr>(e).getValue(); };
  while (i < source.size() || j < target.size()) {
    // Extents of 1 without a partner join the group before, or the next one.
    DimGroup group;
    AffineExpr left = one, right = one;
    auto takeSource = [&] { left = left * source[i]; group.source.push_back(i++); };
    auto takeTarget = [&] { right = right * target[j]; group.target.push_back(j++); };
    if (i < source.size())
      takeSource();
    if (j < target.size())
      takeTarget();
    while (!areEqualExtents(left, right)) {
      bool constants = isa<AffineConstantExpr>(left) && isa<AffineConstantExpr>(right);
      bool growLeft = constants ? number(left) < number(right) : i < source.size() && isa<AffineConstantExpr>(left);
      // What lacks a factor gets the next one.
      if (!constants && exactQuotient(right, left))
        growLeft = true;
      else if (!constants && exactQuotient(left, right))
        growLeft = false;
      else if (!constants && !growLeft && j >= target.size())
        growLeft = true;
      if (growLeft ? i >= source.size() : j >= target.size())
        return std::nullopt;
      growLeft ? takeSource() : takeTarget();
    }
    if (group.source.empty() || group.target.empty()) {
      if (groups.empty())
        return std::nullopt;
      llvm::append_range(groups.back().source, group.source);
      llvm::append_range(groups.back().target, group.target);
      continue;
    }
    groups.push_back(group);
  }
  return groups;
}
} // namespace

// The number of elements; of a scalar 1.
static AffineExpr product(Lowering &l, ArrayRef<AffineExpr> extents) {
  AffineExpr result = l.constant(1);
  for (AffineExpr extent : extents)
    result = result * extent;
  return result;
}

// What has to hold so that shapes have the same number of elements: found out for open dims, or required of runs (then
// true).
bool Lowering::relate(ArrayRef<AffineExpr> source, ArrayRef<AffineExpr> target) {
  // What was divided has no rest, or else there are other numbers of elements.
  bool isRelated = false;
  for (ArrayRef<AffineExpr> shape : {source, target})
    for (AffineExpr extent : shape)
      extent.walk([&](AffineExpr part) {
        auto divided = dyn_cast<AffineBinaryOpExpr>(part);
        if (!divided || part.getKind() != AffineExprKind::FloorDiv)
          return;
        if (isa<AffineConstantExpr>(divided.getRHS()))
          quotient(divided.getLHS(), divided.getRHS());
        else
          isRelated |= requireMultiple(divided.getLHS(), divided.getRHS());
      });
  if (isRelated)
    return true;
  same(product(*this, source), product(*this, target));
  // A dim in its place: the batch.
  for (auto [left, right] : llvm::zip(source, target))
    if (isa<AffineSymbolExpr>(left) && isa<AffineSymbolExpr>(right))
      same(left, right);
  return false;
}

// A part whose size is computed from data, as a tensor whose elements stand side by side: whether those of a slice do is not
// seen from sizes that are not known. The first parts of a tensor are the first elements of it in a row.
static LoweredValue sideBySide(Lowering &l, LoweredValue &value, bool wantsRow) {
  auto slice = value.tensor ? value.tensor.getDefiningOp<tensor::ExtractSliceOp>() : nullptr;
  if (!slice || value.rank() < 2 || llvm::none_of(value.shape, [&](AffineExpr e) { return l.dims.isOfData(e); }))
    return value;
  auto whole = l.shapeOf(slice.getSource());
  if (wantsRow && whole && llvm::equal(ArrayRef(*whole).drop_front(), ArrayRef(value.shape).drop_front()) &&
      llvm::all_of(slice.getMixedOffsets(), isZeroInteger) && slice.hasUnitStride()) {
    LoweredValue source = l.tensorValue(slice.getSource(), *whole, value.elementType);
    if (auto row = l.reshape(source, {normalExtent(product(l, *whole))}); succeeded(row))
      return l.slice(*row, {l.constant(0)}, {normalExtent(product(l, value.shape))}, {1});
  }
  ScalarKernel kernel(l, value.rank());
  unsigned from = kernel.read(value, dimsInOrder(value.rank()));
  unsigned to = kernel.write(value.shape, value.elementType, dimsInOrder(value.rank()));
  return kernel.build([&](ScalarCode &c, ValueRange at) { c.store(c.load(from, at), to, at); })[0];
}

FailureOr<LoweredValue> Lowering::reshape(LoweredValue &value, ArrayRef<AffineExpr> shape) {
  if (llvm::equal(value.shape, shape))
    return value;
  if (value.splat)
    return splatValue(value.splat, Extents(shape), value.elementType);
  if (llvm::is_contained(value.shape, constant(0)) && llvm::is_contained(shape, constant(0)))
    return splatValue(numberAttr(value.elementType, 0), Extents(shape), value.elementType);
  if (auto elements = shape.size() > 1 || !value.table.empty() ? table(value) : std::nullopt;
      elements && (value.closedVector || !value.table.empty())) {
    SmallVector<int64_t> sizes;
    int64_t count = 1;
    for (AffineExpr extent : shape)
      if (auto number = dyn_cast<AffineConstantExpr>(extent)) {
        sizes.push_back(number.getValue());
        count *= number.getValue();
      }
    if (sizes.size() == shape.size() && count == static_cast<int64_t>(elements->first.size()))
      return tableValue(value.elementType, elements->first, sizes);
  }
  // Shape lists and scalars, and grids that only gain or lose extents of 1.
  if (value.isClosed()) {
    auto elements = list(value);
    if (elements && shape.size() <= 1)
      return intsValue(value.elementType, *elements, shape.empty());
    if (!value.closedVector) {
      SmallVector<AffineExpr> kept, dimsOfKept(value.rank(), constant(0));
      SmallVector<int64_t> from, to;
      for (auto [dim, extent] : llvm::enumerate(value.shape))
        if (extent != constant(1))
          from.push_back(dim);
      for (auto [dim, extent] : llvm::enumerate(shape))
        if (extent != constant(1))
          to.push_back(dim);
      bool same = from.size() == to.size();
      for (size_t k = 0; same && k < from.size(); ++k)
        same = value.shape[from[k]] == shape[to[k]];
      if (same) {
        for (auto [source, target] : llvm::zip(from, to))
          dimsOfKept[source] = getAffineDimExpr(target, b.getContext());
        LoweredValue out;
        out.elementType = value.elementType;
        out.shape = Extents(shape);
        out.closed = {value.closed[0].replaceDims(dimsOfKept)};
        return out;
      }
    }
  }
  if (LoweredValue made = sideBySide(*this, value, shape.size() == 1); made.tensor != value.tensor)
    return reshape(made, shape);
  Value source = tensor(value);
  Extents sourceShape = value.shape;
  auto targetType = tensorType(shape, value.elementType);
  if (auto weight = source.getDefiningOp<nn::WeightOp>();
      weight && targetType.hasStaticShape() && targetType.getNumElements() == cast<RankedTensorType>(weight.getType()).getNumElements())
    return tensorValue(withRecipeStep(weight, nn::RecipeReshapeAttr::get(b.getContext(), targetType.getShape()),
                                      targetType.getShape()),
                       Extents(shape), value.elementType);
  // A rank of 0 has no dims to group.
  if (sourceShape.empty() && llvm::all_of(shape, [&](AffineExpr e) { return e == constant(1); })) {
    SmallVector<OpFoldResult> sizes(shape.size(), b.getIndexAttr(1));
    return tensorValue(tensor::ExpandShapeOp::create(b, loc(), targetType, source, ArrayRef<ReassociationIndices>(), sizes),
                       Extents(shape), value.elementType);
  }
  if (shape.empty() && llvm::all_of(sourceShape, [&](AffineExpr e) { return e == constant(1); }))
    return tensorValue(tensor::CollapseShapeOp::create(b, loc(), targetType, source, ArrayRef<ReassociationIndices>()),
                       Extents(shape), value.elementType);
  auto match = [&] {
    auto units = [&](ArrayRef<AffineExpr> extents) {
      return llvm::map_to_vector(extents, [&](AffineExpr e) { return inUnits(e); });
    };
    return matchGroups(units(sourceShape), units(shape), constant(1));
  };
  auto groups = match();
  if (!groups && relate(sourceShape, shape))
    groups = match();
  if (!groups && !solution && !step && requireSame(product(*this, sourceShape), product(*this, shape))) {
    // A run that gets here has as many elements: all of them, in a row.
    SmallVector<ReassociationIndices> all(1), parts(1);
    llvm::append_range(all[0], llvm::seq<int64_t>(sourceShape.size()));
    llvm::append_range(parts[0], llvm::seq<int64_t>(shape.size()));
    Extents row = {product(*this, sourceShape)}, wanted = {product(*this, shape)};
    Value flat = source;
    if (sourceShape.size() > 1)
      flat = tensor::CollapseShapeOp::create(b, loc(), tensorType(row, value.elementType), source, all);
    else if (sourceShape.empty())
      flat = tensor::ExpandShapeOp::create(b, loc(), tensorType(row, value.elementType), source, ArrayRef<ReassociationIndices>());
    SmallVector<OpFoldResult> first = {b.getIndexAttr(0)}, size = {fold(wanted[0])}, step = {b.getIndexAttr(1)};
    flat = tensor::ExtractSliceOp::create(b, loc(), flat, first, size, step);
    if (shape.empty())
      flat = tensor::CollapseShapeOp::create(b, loc(), targetType, flat, ArrayRef<ReassociationIndices>());
    if (shape.size() > 1) {
      SmallVector<OpFoldResult> sizes = llvm::map_to_vector(shape, [&](AffineExpr e) { return fold(e); });
      flat = tensor::ExpandShapeOp::create(b, loc(), targetType, flat, parts, sizes);
    }
    return tensorValue(flat, Extents(shape), value.elementType);
  }
  if (!groups) {
    same(product(*this, sourceShape), product(*this, shape)); // an open dim may be found
    error() << "cannot show that shapes " << print(sourceShape) << " and " << print(shape)
            << " have the same number of elements";
    return failure();
  }
  // Collapse every group to one dim, then expand it to the target's.
  SmallVector<ReassociationIndices> collapse, expand;
  Extents middle;
  for (DimGroup &group : *groups) {
    collapse.push_back(ReassociationIndices(ArrayRef<int64_t>(group.source)));
    expand.push_back(ReassociationIndices(ArrayRef<int64_t>(group.target)));
    AffineExpr product = constant(1);
    for (int64_t dim : group.target)
      product = product * shape[dim];
    middle.push_back(product);
  }
  Value result = source;
  auto middleType = tensorType(middle, value.elementType);
  if (middle.size() < sourceShape.size()) {
    auto before = source.getDefiningOp<tensor::ExpandShapeOp>();
    if (before && before.getSrcType() == middleType && before.getReassociationIndices() == collapse)
      result = before.getSrc();
    else
      result = tensor::CollapseShapeOp::create(b, loc(), middleType, source, collapse);
  }
  if (middle.size() < shape.size()) {
    auto before = result.getDefiningOp<tensor::CollapseShapeOp>();
    if (before && before.getSrcType() == targetType && before.getReassociationIndices() == expand)
      result = before.getSrc();
    else {
      SmallVector<OpFoldResult> sizes = llvm::map_to_vector(shape, [&](AffineExpr e) { return fold(e); });
      result = tensor::ExpandShapeOp::create(b, loc(), targetType, result, expand, sizes);
    }
  }
  return tensorValue(result, Extents(shape), value.elementType);
}
