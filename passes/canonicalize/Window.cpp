// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/Window.h"
#include "passes/canonicalize/Lowering.h"

using namespace mlir;
using namespace snug;

std::optional<Window> snug::windowOf(Lowering &l, ArrayRef<AffineExpr> spatial, ArrayRef<AffineExpr> kernel) {
  size_t rank = spatial.size();
  Window window;
  window.kernel.assign(kernel.begin(), kernel.end());
  window.strides = l.intsAttr("strides").value_or(SmallVector<int64_t>(rank, 1));
  window.dilations = l.intsAttr("dilations").value_or(SmallVector<int64_t>(rank, 1));
  SmallVector<int64_t> pads = l.intsAttr("pads").value_or(SmallVector<int64_t>(2 * rank, 0));
  auto positive = [](int64_t x) { return x > 0; };
  auto notNegative = [](int64_t x) { return x >= 0; };
  if (window.strides.size() != rank || window.dilations.size() != rank || pads.size() != 2 * rank ||
      !llvm::all_of(window.strides, positive) || !llvm::all_of(window.dilations, positive) ||
      !llvm::all_of(pads, notNegative)) {
    l.error() << "strides, dilations or pads do not fit " << rank << " spatial dims";
    return std::nullopt;
  }
  StringRef automatic = l.stringAttr("auto_pad", "NOTSET");
  bool same = automatic.starts_with("SAME");
  for (size_t i = 0; i < rank; ++i) {
    AffineExpr reach = (kernel[i] - 1) * window.dilations[i] + 1;
    int64_t stride = window.strides[i];
    AffineExpr before = l.constant(0), after = l.constant(0);
    if (same) {
      AffineExpr out = spatial[i].ceilDiv(stride);
      // As windows are `stride` apart, the last one begins less than that before the end: pads are at least
      // reach - stride.
      AffineExpr lack = (out - 1) * stride + reach - spatial[i];
      if (!l.isAtLeast(reach, stride) && !l.isAtLeast(lack, 0)) {
        auto atLeastNone = l.extremum(lack, l.constant(0), /*larger=*/true);
        if (!atLeastNone) {
          l.error() << "cannot tell the automatic pads of extent " << l.dims.print(spatial[i]) << "; give the dim a value";
          return std::nullopt;
        }
        lack = *atLeastNone;
      }
      AffineExpr half = lack.floorDiv(2), other = lack - half;
      bool upper = automatic == "SAME_UPPER";
      before = upper ? half : other;
      after = upper ? other : half;
    } else if (automatic != "VALID") {
      before = l.constant(pads[i]);
      after = l.constant(pads[rank + i]);
    }
    AffineExpr room = spatial[i] + before + after - reach;
    if (!l.requireAtLeast(room, l.constant(0))) {
      l.error() << "a window of " << l.dims.print(reach) << " does not fit extent " << l.dims.print(spatial[i]) << " for all dims";
      return std::nullopt;
    }
    window.before.push_back(before);
    window.statedAfter.push_back(after);
    AffineExpr out = room.floorDiv(stride) + 1;
    if (l.intAttr("ceil_mode", 0)) {
      // Windows until no element is left over, but none that begins behind the input.
      auto gap = l.extremum(reach - after, l.constant(stride), /*larger=*/true);
      if (!gap) {
        l.error() << "cannot tell the number of windows over extent " << l.dims.print(spatial[i]) << " with ceil_mode; "
                  << "give the dim a value";
        return std::nullopt;
      }
      out = (spatial[i] + before - *gap).ceilDiv(stride) + 1;
      auto more = l.extremum((out - 1) * stride + reach - spatial[i] - before, after, /*larger=*/true);
      after = more.value_or(after + (stride - 1));
    }
    window.after.push_back(after);
    window.out.push_back(out);
  }
  return window;
}
