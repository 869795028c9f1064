// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that move data: Transpose, Slice, Split, Concat.
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
LogicalResult transpose(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto permutation = l.intsAttr("perm");
  if (!permutation) {
    permutation.emplace();
    for (int64_t dim = in.rank() - 1; dim >= 0; --dim)
      permutation->push_back(dim);
  }
  if (static_cast<int64_t>(permutation->size()) != in.rank() || !isPermutationVector(*permutation)) {
    l.error() << "perm is no permutation of the dims of shape " << l.print(in.shape);
    return failure();
  }
  auto result = l.transpose(in, *permutation);
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

// --- slice --------------------------------------------------------------------------------------------------------

// min(max(value, 0), extent) for an offset given from the start or the end; std::nullopt where named dims leave it open.
std::optional<AffineExpr> clampOffset(Lowering &l, AffineExpr value, AffineExpr extent) {
  auto number = dyn_cast<AffineConstantExpr>(value);
  if (number && number.getValue() < 0) {
    // Exporters write INT64_MIN for "from the start".
    if (number.getValue() < -(int64_t(1) << 40))
      return l.constant(0);
    value = extent + number.getValue();
  } else if (number && number.getValue() > (int64_t(1) << 30)) {
    return extent;
  }
  auto low = l.dims.lowerBound(value), high = l.dims.upperBound(value);
  auto room = l.dims.lowerBound(extent - value), lack = l.dims.upperBound(extent - value);
  if (high && *high <= 0)
    return l.constant(0);
  if (lack && *lack <= 0)
    return extent;
  if (low && *low >= 0 && room && *room >= 0)
    return value;
  return std::nullopt;
}

LogicalResult slice(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto list = [&](StringRef attribute, unsigned index) -> std::optional<Extents> {
    if (auto values = l.intsAttr(attribute)) {
      Extents extents;
      for (int64_t value : *values)
        extents.push_back(l.constant(value));
      return extents;
    }
    return l.hasInput(index) ? l.ints(l.input(index)) : std::nullopt;
  };
  auto starts = list("starts", 1), ends = list("ends", 2), axes = list("axes", 3), steps = list("steps", 4);
  if (!starts || !ends || (l.hasInput(3) && !axes) || (l.hasInput(4) && !steps)) {
    l.error() << "bounds computed from data are not supported";
    return failure();
  }
  Extents offsets(in.rank(), l.constant(0)), sizes = in.shape;
  SmallVector<int64_t> strides(in.rank(), 1);
  for (size_t i = 0; i < starts->size(); ++i) {
    AffineExpr axisExpr = axes ? (*axes)[i] : l.constant(i), stepExpr = steps ? (*steps)[i] : l.constant(1);
    auto axisNumber = dyn_cast<AffineConstantExpr>(axisExpr), step = dyn_cast<AffineConstantExpr>(stepExpr);
    if (!axisNumber || !step || step.getValue() < 1) {
      l.error() << "axes must be constants and steps positive constants";
      return failure();
    }
    auto axis = l.normalizeAxis(axisNumber.getValue(), in.rank());
    if (!axis)
      return failure();
    auto start = clampOffset(l, (*starts)[i], in.shape[*axis]), end = clampOffset(l, (*ends)[i], in.shape[*axis]);
    auto length = start && end ? l.dims.lowerBound(*end - *start) : std::nullopt;
    if (!length || *length < 0) {
      l.error() << "cannot show the range from " << l.dims.print((*starts)[i]) << " to " << l.dims.print((*ends)[i]) << " to lie inside extent "
                << l.dims.print(in.shape[*axis]) << " for all dims";
      return failure();
    }
    offsets[*axis] = *start;
    sizes[*axis] = (*end - *start).ceilDiv(step.getValue());
    strides[*axis] = step.getValue();
  }
  if (auto elements = l.ints(in); elements && in.rank() == 1) {
    auto offset = dyn_cast<AffineConstantExpr>(offsets[0]), size = dyn_cast<AffineConstantExpr>(sizes[0]);
    if (offset && size) {
      Extents picked;
      for (int64_t i = 0; i < size.getValue(); ++i)
        picked.push_back((*elements)[offset.getValue() + i * strides[0]]);
      l.define(0, l.intsValue(in.elementType, picked));
      return success();
    }
  }
  l.define(0, l.slice(in, offsets, sizes, strides));
  return success();
}

LogicalResult split(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), in.rank());
  if (!axis)
    return failure();
  int64_t parts = l.node()->getNumResults();
  std::optional<Extents> lengths;
  if (auto attribute = l.intsAttr("split")) {
    lengths.emplace();
    for (int64_t length : *attribute)
      lengths->push_back(l.constant(length));
  } else if (l.hasInput(1)) {
    lengths = l.ints(l.input(1));
  } else if (auto extent = dyn_cast<AffineConstantExpr>(in.shape[*axis])) {
    // Equal parts, the last one smaller.
    int64_t length = llvm::divideCeil(extent.getValue(), parts);
    lengths.emplace();
    for (int64_t i = 0; i < parts; ++i)
      lengths->push_back(l.constant(std::min(length, extent.getValue() - i * length)));
  }
  if (!lengths || static_cast<int64_t>(lengths->size()) != parts) {
    l.error() << "cannot tell the lengths of the " << parts << " parts";
    return failure();
  }
  AffineExpr offset = l.constant(0);
  for (int64_t i = 0; i < parts; ++i) {
    Extents offsets(in.rank(), l.constant(0)), sizes = in.shape;
    offsets[*axis] = offset;
    sizes[*axis] = (*lengths)[i];
    l.define(i, l.slice(in, offsets, sizes, SmallVector<int64_t>(in.rank(), 1)));
    offset = offset + (*lengths)[i];
  }
  if (offset != in.shape[*axis]) {
    l.error() << "the parts have " << l.dims.print(offset) << " elements together, the input has " << l.dims.print(in.shape[*axis]);
    return failure();
  }
  return success();
}

// --- concat -------------------------------------------------------------------------------------------------------

LogicalResult concat(Lowering &l) {
  int64_t rank = l.input(0).rank();
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), rank);
  if (!axis)
    return failure();
  Type elementType = l.input(0).elementType;
  // Shape lists.
  Extents elements;
  bool lists = rank == 1;
  for (unsigned i = 0; lists && i < l.numInputs(); ++i) {
    auto part = l.ints(l.input(i));
    if ((lists = part.has_value()))
      llvm::append_range(elements, *part);
  }
  if (lists) {
    l.define(0, l.intsValue(elementType, elements));
    return success();
  }
  Extents shape = l.input(0).shape;
  // Grids side by side along a last dim of 1 each: an index tuple for GatherND.
  bool grids = *axis == rank - 1;
  for (unsigned i = 0; i < l.numInputs(); ++i) {
    LoweredValue &part = l.input(i);
    grids &= part.isClosed() && !part.closedVector && part.shape.back() == l.constant(1);
  }
  for (unsigned i = 1; i < l.numInputs(); ++i) {
    LoweredValue &part = l.input(i);
    for (int64_t dim = 0; dim < rank; ++dim)
      if (part.rank() != rank || (dim != *axis && part.shape[dim] != shape[dim])) {
        l.error() << "shapes " << l.print(l.input(0).shape) << " and " << l.print(part.shape)
                  << " differ outside axis " << *axis;
        return failure();
      }
    shape[*axis] = shape[*axis] + part.shape[*axis];
  }
  if (grids) {
    LoweredValue out;
    out.elementType = elementType;
    out.shape = shape;
    for (unsigned i = 0; i < l.numInputs(); ++i)
      out.closed.push_back(l.input(i).closed[0]);
    out.closedVector = true;
    l.define(0, out);
    return success();
  }
  if (l.numInputs() == 1) {
    l.define(0, l.input(0));
    return success();
  }
  // Each part is copied into its place of the result.
  Value result = l.empty(shape, elementType);
  AffineExpr offset = l.constant(0);
  for (unsigned i = 0; i < l.numInputs(); ++i) {
    LoweredValue &part = l.input(i);
    SmallVector<OpFoldResult> offsets(rank, l.b.getIndexAttr(0)), strides(rank, l.b.getIndexAttr(1));
    offsets[*axis] = l.fold(offset);
    SmallVector<OpFoldResult> sizes = llvm::map_to_vector(part.shape, [&](AffineExpr e) { return l.fold(e); });
    result = tensor::InsertSliceOp::create(l.b, l.loc(), l.tensor(part), result, offsets, sizes, strides);
    offset = offset + part.shape[*axis];
  }
  l.define(0, l.tensorValue(result, shape));
  return success();
}
} // namespace

void snug::addLayoutOps(LoweringTable &t) {
  t.add("Transpose", 1, transpose);
  t.add("Slice", 1, slice);
  t.add("Split", 1, split);
  t.add("Concat", 4, concat);
}
