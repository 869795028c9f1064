// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/StringType.h"
#include "passes/canonicalize/ScalarKernel.h"

using namespace mlir;
using namespace snug;

namespace {
// Each element of the result from where its place leads: of the mode that repeats elements, or with a value that only the
// run tells.
LogicalResult padByPlaces(Lowering &l, LoweredValue &in, StringRef mode, ArrayRef<AffineExpr> before,
                          ArrayRef<AffineExpr> after) {
  unsigned rank = in.rank();
  AffineExpr zero = l.constant(0);
  SmallVector<int> dims;
  Extents shape;
  for (unsigned dim = 0; dim < rank; ++dim) {
    bool stays = before[dim] == zero && after[dim] == zero;
    dims.push_back(stays ? static_cast<int>(dim) : ScalarKernel::Any);
    shape.push_back(in.shape[dim] + before[dim] + after[dim]);
    auto least = l.dims.lowerBound(shape.back()), room = l.dims.lowerBound(in.shape[dim]);
    if (!least || *least < 0 || (mode != "constant" && !stays && (!room || *room < 1)))
      return l.error() << "pads " << l.dims.print(before[dim]) << " and " << l.dims.print(after[dim]) << " of extent "
                       << l.dims.print(in.shape[dim]) << " are not supported";
  }
  ScalarKernel kernel(l, rank);
  unsigned from = kernel.read(in, dims), filling = 0;
  bool fills = mode == "constant";
  if (fills) {
    auto scalar = l.reshape(l.input(2), {});
    if (failed(scalar))
      return failure();
    filling = kernel.read(*scalar, {});
  }
  unsigned to = kernel.write(shape, in.elementType, dimsInOrder(rank));
  SmallVector<Value> shifts;
  for (AffineExpr pad : before)
    shifts.push_back(l.materialize(pad));
  l.define(0, kernel.build([&](ScalarCode &c, ValueRange i) {
    SmallVector<Value> place(i);
    Value isInside = c.constant(c.b.getBoolAttr(true)), one = c.index(1);
    for (unsigned dim = 0; dim < rank; ++dim) {
      if (dims[dim] != ScalarKernel::Any)
        continue;
      Value at = c.sub(c.place(dim), shifts[dim]), extent = c.extent(from, dim);
      auto around = [&](Value period) { return c.rem(c.add(c.rem(at, period), period), period); };
      if (mode == "wrap") {
        at = around(extent);
      } else if (mode == "reflect") {
        Value period = c.max(c.mul(c.sub(extent, one), c.index(2)), one), turned = around(period);
        at = c.select(c.less(turned, extent), turned, c.sub(period, turned));
      } else if (fills) {
        isInside = c.both(isInside, c.isInside(at, extent));
      }
      place[dim] = c.clamp(at, extent);
    }
    if (!fills)
      return c.store(c.load(from, place), to, i);
    c.store(c.ifElse(isInside, [&]() -> ScalarCode::Values { return {c.load(from, place)}; },
                     [&]() -> ScalarCode::Values { return {c.load(filling, {})}; })[0], to, i);
  })[0]);
  return success();
}

LogicalResult pad(Lowering &l) {
  LoweredValue in = l.input(0);
  StringRef mode = l.stringAttr("mode", "constant");
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap") {
    l.error() << "mode '" << mode << "' is none that the standard knows";
    return failure();
  }
  std::optional<Extents> pads;
  auto attribute = l.intsAttr("pads"); // opset 2
  if (!attribute)
    attribute = l.intsAttr("paddings"); // opset 1
  if (attribute) {
    pads.emplace();
    for (int64_t pad : *attribute)
      pads->push_back(l.constant(pad));
  } else if (l.hasInput(1)) {
    pads = l.ints(l.input(1));
  }
  SmallVector<int64_t> axes;
  if (l.hasInput(3)) {
    auto given = l.constantInts(l.input(3));
    if (!given) {
      l.error() << "axes that are not constant are not supported";
      return failure();
    }
    for (int64_t axis : *given) {
      auto normal = l.normalizeAxis(axis, in.rank());
      if (!normal)
        return failure();
      axes.push_back(*normal);
    }
  } else {
    axes = llvm::to_vector(llvm::seq<int64_t>(0, in.rank()));
  }
  if (!pads || pads->size() != 2 * axes.size()) {
    l.error() << "the pads must be numbers or computed from dims, two for each axis";
    return failure();
  }
  TypedAttr filling = numberAttr(in.elementType, 0);
  if (l.hasInput(2)) {
    filling = l.input(2).splat;
  } else if (auto value = dyn_cast_or_null<FloatAttr>(l.attr("value"))) {
    filling = numberAttr(in.elementType, value.getValueAsDouble());
  }
  Extents before(in.rank(), l.constant(0)), after = before, offsets = before, sizes = in.shape;
  for (auto [index, axis] : llvm::enumerate(axes)) {
    before[axis] = (*pads)[index];
    after[axis] = (*pads)[axes.size() + index];
  }
  if (mode != "constant" || !filling)
    return padByPlaces(l, in, mode, before, after);
  // What is taken away is cut off first.
  bool cuts = false;
  for (int64_t dim = 0; dim < in.rank(); ++dim)
    for (AffineExpr *pad : {&before[dim], &after[dim]})
      if (auto most = l.dims.upperBound(*pad); most && *most < 0) {
        cuts = true;
        sizes[dim] = sizes[dim] + *pad;
        if (pad == &before[dim])
          offsets[dim] = l.constant(0) - *pad;
        *pad = l.constant(0);
      }
  if (cuts)
    in = l.slice(in, offsets, sizes, SmallVector<int64_t>(in.rank(), 1));
  auto result = l.pad(in, before, after, filling);
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

} // namespace

void snug::addPadOps(LoweringTable &t) { t.add("Pad", 1, pad, types::Any); }
