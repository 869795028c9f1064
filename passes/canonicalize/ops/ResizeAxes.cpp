// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What Resize and Upsample say of each dim: its extent and its scale.
#include "passes/canonicalize/ops/Resize.h"
#include <cmath>

using namespace mlir;
using namespace snug;

namespace {
// floor(extent * scale), where that is an expression of the dims.
std::optional<AffineExpr> scaled(Lowering &l, AffineExpr extent, double scale) {
  if (auto number = dyn_cast<AffineConstantExpr>(extent))
    return l.constant(static_cast<int64_t>(std::floor(static_cast<double>(number.getValue()) * scale)));
  // A float is a whole number over a power of two; small extents times that number are exact.
  for (int64_t divisor = 1; divisor <= int64_t(1) << 40; divisor *= 2)
    if (double product = scale * static_cast<double>(divisor); product == std::floor(product)) {
      auto most = l.dims.upperBound(extent);
      if (product > 0x1p40 || (most && *most > int64_t(1) << 22))
        return std::nullopt;
      return (extent * static_cast<int64_t>(product)).floorDiv(divisor);
    }
  return std::nullopt;
}

// Scales of axes that go from one size to another: each its own, or one for all.
LogicalResult keepAspectRatio(Lowering &l, MutableArrayRef<ResizedAxis> axes) {
  StringRef policy = l.stringAttr("keep_aspect_ratio_policy", "stretch");
  bool isOne = policy != "stretch", isLargest = policy == "not_smaller";
  if (isOne && !isLargest && policy != "not_larger")
    return l.error() << "keep_aspect_ratio_policy '" << policy << "' is none that the standard knows";
  SmallVector<std::pair<AffineExpr, AffineExpr>> all;
  for (const ResizedAxis &axis : axes)
    all.push_back({axis.to, axis.from});
  for (auto [index, axis] : llvm::enumerate(axes)) {
    if (isOne)
      axis.ratios = all;
    else
      axis.ratios = {all[index]};
    axis.isLargest = isLargest;
    std::optional<AffineExpr> chosen;
    std::optional<double> scale;
    bool isFixed = true;
    for (auto [to, from] : axis.ratios) {
      // Rounded as the standard has it, halves up; monotonic, so that the extreme one of the extents is the extreme scale's.
      auto most = l.dims.upperBound(to), mostFrom = l.dims.upperBound(from);
      constexpr int64_t limit = int64_t(1) << 30;
      if (isOne && ((most && *most > limit) || (mostFrom && *mostFrom > limit) || !l.isAtLeast(from, 1)))
        return l.error() << "keep_aspect_ratio_policy '" << policy << "' from " << l.dims.print(from) << " to " << l.dims.print(to)
                         << " elements is not supported";
      AffineExpr one = from == axis.from ? to : (to * axis.from * 2 + from).floorDiv(from * 2);
      chosen = !chosen ? one : l.extremum(*chosen, one, isLargest);
      if (!chosen)
        return l.error() << "keep_aspect_ratio_policy '" << policy << "' with extents that are computed from data is not supported";
      auto number = dyn_cast<AffineConstantExpr>(to), divisor = dyn_cast<AffineConstantExpr>(from);
      isFixed &= number && divisor && divisor.getValue() > 0;
      if (isFixed) {
        double own = static_cast<double>(number.getValue()) / static_cast<double>(divisor.getValue());
        scale = !scale ? own : isLargest ? std::max(*scale, own) : std::min(*scale, own);
      }
    }
    axis.to = *chosen;
    if (isFixed)
      axis.scale = scale;
  }
  return success();
}
} // namespace

FailureOr<SmallVector<ResizedAxis>> snug::resizedAxes(Lowering &l, bool old, bool hasRegion) {
  LoweredValue &x = l.input(0);
  SmallVector<ResizedAxis> axes;
  std::optional<SmallVector<int64_t>> dims = l.intsAttr("axes");
  if (!dims)
    dims = llvm::to_vector(llvm::seq<int64_t>(x.rank()));
  for (int64_t dim : *dims) {
    auto normal = l.normalizeAxis(dim, x.rank());
    if (!normal)
      return failure();
    axes.push_back({*normal, x.shape[*normal], {}});
  }
  unsigned scalesAt = old ? 1 : 2;
  std::optional<SmallVector<double>> scales;
  if (auto attribute = dyn_cast_or_null<ArrayAttr>(l.attr("scales"))) { // Upsample of opset 7
    scales.emplace();
    for (Attribute value : attribute)
      if (auto number = dyn_cast<FloatAttr>(value))
        scales->push_back(number.getValueAsDouble());
  } else if (l.hasInput(scalesAt)) {
    scales = l.constantFloats(l.input(scalesAt));
  }
  auto sizes = !old && l.hasInput(3) ? l.ints(l.input(3)) : std::nullopt;
  bool hasScales = scales && scales->size() == axes.size(), hasSizes = sizes && sizes->size() == axes.size();
  if (!hasScales && !hasSizes) {
    l.error() << "scales must be constants, or sizes follow from shapes, one for each of the " << axes.size()
              << " dims that are resized";
    return failure();
  }
  auto roi = hasRegion && l.hasInput(1) ? l.constantFloats(l.input(1)) : std::nullopt;
  if (hasRegion && (!roi || roi->size() != 2 * axes.size())) {
    l.error() << "the region of interest must be constant, with two numbers for each of the " << axes.size()
              << " dims that are resized";
    return failure();
  }
  for (auto [index, axis] : llvm::enumerate(axes)) {
    if (hasScales) {
      double scale = (*scales)[index];
      auto to = scale > 0 && scale < 1e9 ? scaled(l, axis.from, scale) : std::nullopt;
      if (!to) {
        l.error() << "dim " << axis.dim << " of extent " << l.dims.print(axis.from) << " times " << scale
                  << " is no extent that follows from the dims; fix them with --dim, or export the model with sizes";
        return failure();
      }
      axis.to = *to;
      axis.scale = scale;
    } else {
      axis.to = (*sizes)[index];
    }
    auto least = l.dims.lowerBound(axis.to), leastFrom = l.dims.lowerBound(axis.from);
    if (!least || *least < 0 || !leastFrom || (*leastFrom < 1 && axis.from != axis.to)) {
      l.error() << "dim " << axis.dim << " of extent " << l.dims.print(axis.from) << " to "
                << l.dims.print(axis.to) << " is not supported";
      return failure();
    }
    if (roi) {
      axis.first = (*roi)[index];
      axis.last = (*roi)[axes.size() + index];
    }
  }
  if (!hasScales && failed(keepAspectRatio(l, axes)))
    return failure();
  return axes;
}
