// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops that move data: Transpose, Slice, Split, Concat.
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/StringType.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/ops/Layout.h"

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

// Exporters write INT64_MIN for "from the start" and INT64_MAX for "to the end".
bool isFarBefore(AffineExpr offset) {
  auto number = dyn_cast<AffineConstantExpr>(offset);
  return number && number.getValue() < -(int64_t(1) << 40);
}
bool isFarBehind(AffineExpr offset) {
  auto number = dyn_cast<AffineConstantExpr>(offset);
  return number && number.getValue() > int64_t(1) << 30;
}

// min(max(value, 0), extent) for an offset given from the start or the end; std::nullopt where named dims leave it open.
std::optional<AffineExpr> clampOffset(Lowering &l, AffineExpr value, AffineExpr extent) {
  if (isFarBefore(value) || isFarBehind(value))
    return isFarBefore(value) ? l.constant(0) : extent;
  auto most = l.dims.upperBound(value);
  bool isFromEnd = most && *most < 0;
  if (isFromEnd)
    value = extent + value;
  auto low = l.dims.lowerBound(value), high = l.dims.upperBound(value);
  auto room = l.dims.lowerBound(extent - value), lack = l.dims.upperBound(extent - value);
  if (high && *high <= 0)
    return l.constant(0);
  if (lack && *lack <= 0)
    return extent;
  if (low && *low >= 0 && room && *room >= 0)
    return value;
  // Of several dims, runs that clamp nothing are those that are meant, and sizes stay sums of dims.
  if (l.requireAtLeast(value, l.constant(0)) && l.requireAtLeast(extent, value))
    return value;
  if (!isFromEnd && (!low || *low < 0)) // from the start in some runs, from the end in others
    return std::nullopt;
  auto inside = l.extremum(value, l.constant(0), /*larger=*/true);
  return inside ? l.extremum(*inside, extent, /*larger=*/false) : std::nullopt;
}

// How many elements lie between two offsets.
std::optional<AffineExpr> lengthOf(Lowering &l, AffineExpr start, AffineExpr end) {
  return l.requireAtLeast(end, start) ? end - start : l.extremum(end - start, l.constant(0), /*larger=*/true);
}

// Elements of a list or table by constant bounds, whose steps may go backwards.
std::optional<LoweredValue> sliceTable(Lowering &l, LoweredValue &in, ArrayRef<AffineExpr> starts, ArrayRef<AffineExpr> ends,
                                       const std::optional<Extents> &axes, const std::optional<Extents> &steps) {
  auto table = l.table(in);
  if (!table)
    return std::nullopt;
  auto &[elements, shape] = *table;
  SmallVector<SmallVector<int64_t>> chosen; // indices of each dim
  for (int64_t size : shape)
    chosen.push_back(llvm::to_vector(llvm::seq<int64_t>(0, size)));
  for (size_t i = 0; i < starts.size(); ++i) {
    auto number = [](AffineExpr e) { return dyn_cast<AffineConstantExpr>(e); };
    auto start = number(starts[i]), end = number(ends[i]), axis = number(axes ? (*axes)[i] : l.constant(i)),
         step = number(steps ? (*steps)[i] : l.constant(1));
    int64_t rank = shape.size();
    if (!start || !end || !axis || !step || step.getValue() == 0 || std::abs(step.getValue()) > INT32_MAX ||
        axis.getValue() < -rank || axis.getValue() >= rank)
      return std::nullopt;
    int64_t dim = axis.getValue() < 0 ? axis.getValue() + rank : axis.getValue(), size = shape[dim];
    bool forwards = step.getValue() > 0;
    auto place = [&](int64_t value) {
      value = value < 0 ? std::max<int64_t>(value, -size - 1) + size : value;
      return std::clamp<int64_t>(value, forwards ? 0 : -1, forwards ? size : size - 1);
    };
    chosen[dim].clear();
    for (int64_t at = place(start.getValue()), stop = place(end.getValue()); forwards ? at < stop : at > stop;
         at += step.getValue())
      chosen[dim].push_back(at);
  }
  SmallVector<int64_t> sizes = llvm::map_to_vector(chosen, [](const auto &dim) { return static_cast<int64_t>(dim.size()); });
  int64_t count = 1;
  for (int64_t size : sizes)
    count *= size;
  if (count == 0 && sizes.size() > 1)
    return std::nullopt;
  Extents picked;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, stride = 1, place = 0;
    for (int64_t dim = static_cast<int64_t>(sizes.size()) - 1; dim >= 0; --dim) {
      place += chosen[dim][rest % sizes[dim]] * stride;
      rest /= sizes[dim];
      stride *= shape[dim];
    }
    picked.push_back(elements[place]);
  }
  return l.tableValue(in.elementType, picked, sizes);
}

// Where a walk downwards begins, or ends before: -1 is before the first element.
std::optional<AffineExpr> lastOffset(Lowering &l, AffineExpr offset, AffineExpr extent) {
  if (isFarBefore(offset) || isFarBehind(offset))
    return isFarBefore(offset) ? l.constant(-1) : extent - 1;
  auto low = l.dims.lowerBound(offset), high = l.dims.upperBound(offset);
  if (high && *high < 0)
    return l.extremum(extent + offset, l.constant(-1), /*larger=*/true);
  return low && *low >= 0 ? l.extremum(offset, extent - 1, /*larger=*/false) : std::nullopt;
}

LogicalResult slice(Lowering &l) {
  LoweredValue in = l.input(0);
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
  SmallVector<int64_t> strides(in.rank(), 1), turned;
  if (ends->size() != starts->size() || (axes && axes->size() != starts->size()) || (steps && steps->size() != starts->size())) {
    l.error() << "starts, ends, axes and steps have different lengths";
    return failure();
  }
  if (auto picked = sliceTable(l, in, *starts, *ends, axes, steps)) {
    l.define(0, *picked);
    return success();
  }
  for (size_t i = 0; i < starts->size(); ++i) {
    AffineExpr axisExpr = axes ? (*axes)[i] : l.constant(i), stepExpr = steps ? (*steps)[i] : l.constant(1);
    auto axisNumber = dyn_cast<AffineConstantExpr>(axisExpr), step = dyn_cast<AffineConstantExpr>(stepExpr);
    if (!axisNumber || !step || step.getValue() == 0) {
      l.error() << "axes must be constants and steps constants other than 0";
      return failure();
    }
    auto axis = l.normalizeAxis(axisNumber.getValue(), in.rank());
    if (!axis)
      return failure();
    if (step.getValue() < 0) {
      // From the last element that is taken on, and turned around.
      int64_t by = -std::max(step.getValue(), -(int64_t(1) << 40)); // no extent is as long
      AffineExpr extent = in.shape[*axis];
      auto first = lastOffset(l, (*starts)[i], extent), end = lastOffset(l, (*ends)[i], extent);
      auto taken = first && end ? lengthOf(l, *end, *first) : std::nullopt;
      if (!taken) {
        l.error() << "cannot show the range from " << l.dims.print((*starts)[i]) << " down to " << l.dims.print((*ends)[i])
                  << " to lie inside extent " << l.dims.print(extent) << " for all dims";
        return failure();
      }
      sizes[*axis] = taken->ceilDiv(by);
      offsets[*axis] = *first - (sizes[*axis] - 1) * by;
      strides[*axis] = by;
      turned.push_back(*axis);
      continue;
    }
    auto start = clampOffset(l, (*starts)[i], in.shape[*axis]), end = clampOffset(l, (*ends)[i], in.shape[*axis]);
    auto taken = start && end ? lengthOf(l, *start, *end) : std::nullopt;
    if (!taken) {
      l.error() << "cannot show the range from " << l.dims.print((*starts)[i]) << " to " << l.dims.print((*ends)[i]) << " to lie inside extent "
                << l.dims.print(in.shape[*axis]) << " for all dims";
      return failure();
    }
    offsets[*axis] = *start;
    sizes[*axis] = taken->ceilDiv(step.getValue());
    strides[*axis] = step.getValue();
  }
  LoweredValue part = l.slice(in, offsets, sizes, strides);
  if (turned.empty()) {
    l.define(0, part);
    return success();
  }
  ScalarKernel kernel(l, in.rank());
  unsigned from = kernel.read(part, dimsInOrder(in.rank(), turned));
  unsigned to = kernel.write(sizes, in.elementType, dimsInOrder(in.rank()));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange at) {
    SmallVector<Value> place(at);
    for (int64_t dim : turned)
      place[dim] = c.sub(c.sub(c.extent(from, dim), c.index(1)), c.place(dim));
    c.store(c.load(from, place), to, at);
  })[0]);
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
      lengths->push_back(l.constant(std::clamp<int64_t>(extent.getValue() - i * length, 0, length)));
  } else {
    AffineExpr whole = in.shape[*axis], length = whole.ceilDiv(parts), last = whole - length * (parts - 1);
    if (!l.isAtLeast(last, 0)) {
      l.error() << "cannot tell the lengths of the " << parts << " parts of extent " << l.dims.print(whole)
                << "; give it in steps of " << parts << ", as --dim NAME=MIN..MAX:STEP";
      return failure();
    }
    lengths = Extents(parts - 1, length);
    lengths->push_back(last);
  }
  if (!lengths || static_cast<int64_t>(lengths->size()) != parts) {
    l.error() << "cannot tell the lengths of the " << parts << " parts";
    return failure();
  }
  auto pieces = cut(l, in, *axis, *lengths);
  if (failed(pieces))
    return failure();
  for (auto [index, piece] : llvm::enumerate(*pieces))
    l.define(index, piece);
  return success();
}

// --- concat -------------------------------------------------------------------------------------------------------

LogicalResult concat(Lowering &l) {
  std::vector<LoweredValue> parts;
  for (unsigned i = 0; i < l.numInputs(); ++i)
    parts.push_back(l.input(i));
  auto axis = l.normalizeAxis(l.intAttr("axis", 1), l.input(0).rank());
  auto result = axis ? l.concat(parts, *axis) : FailureOr<LoweredValue>(failure());
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
} // namespace

FailureOr<LoweredValues> snug::cut(Lowering &l, LoweredValue &in, int64_t axis, ArrayRef<AffineExpr> lengths) {
  AffineExpr total = l.constant(0);
  for (AffineExpr length : lengths)
    total = total + length;
  if (!l.same(in.shape[axis], total)) {
    l.error() << "the parts have " << l.dims.print(total) << " elements together, the input has "
              << l.dims.print(in.shape[axis]);
    return failure();
  }
  LoweredValues pieces;
  AffineExpr offset = l.constant(0);
  for (AffineExpr length : lengths) {
    Extents offsets(in.rank(), l.constant(0)), sizes = in.shape;
    offsets[axis] = offset;
    sizes[axis] = length;
    pieces.push_back(l.slice(in, offsets, sizes, SmallVector<int64_t>(in.rank(), 1)));
    offset = offset + length;
  }
  return pieces;
}

void snug::addLayoutOps(LoweringTable &t) {
  t.add("Transpose", 1, transpose, types::Any);
  t.add("Slice", 1, slice, types::Any);
  t.add("Split", 1, split, types::Any);
  t.add("Concat", 4, concat, types::Any);
}
