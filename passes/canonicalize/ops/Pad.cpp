// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

static LogicalResult pad(Lowering &l) {
  LoweredValue &in = l.input(0);
  StringRef mode = l.stringAttr("mode", "constant");
  if (mode != "constant") {
    l.error() << "mode '" << mode << "' is not supported";
    return failure();
  }
  std::optional<Extents> pads;
  if (auto attribute = l.intsAttr("pads")) { // opset 2
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
  if (!filling) {
    l.error() << "a value that is not constant is not supported";
    return failure();
  }
  Extents before(in.rank(), l.constant(0)), after = before;
  for (auto [index, axis] : llvm::enumerate(axes)) {
    before[axis] = (*pads)[index];
    after[axis] = (*pads)[axes.size() + index];
  }
  auto result = l.pad(in, before, after, filling);
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}

void snug::addPadOps(LoweringTable &t) { t.add("Pad", 2, pad, types::All); }
