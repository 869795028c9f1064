// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/Window.h"
#include "passes/canonicalize/Lowering.h"

using namespace mlir;
using namespace snug;

std::optional<Window> snug::windowOf(Lowering &l, ArrayRef<AffineExpr> spatial, ArrayRef<int64_t> kernel) {
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
    int64_t reach = (kernel[i] - 1) * window.dilations[i] + 1, stride = window.strides[i];
    AffineExpr before = l.constant(0), after = l.constant(0);
    if (same) {
      AffineExpr out = spatial[i].ceilDiv(stride);
      auto lack = l.extremum((out - 1) * stride + reach - spatial[i], l.constant(0), /*larger=*/true);
      if (!lack) {
        l.error() << "cannot tell the automatic pads of extent " << l.dims.print(spatial[i]) << "; give the dim a value";
        return std::nullopt;
      }
      AffineExpr half = lack->floorDiv(2), other = *lack - half;
      bool upper = automatic == "SAME_UPPER";
      before = upper ? half : other;
      after = upper ? other : half;
    } else if (automatic != "VALID") {
      before = l.constant(pads[i]);
      after = l.constant(pads[rank + i]);
    }
    AffineExpr room = spatial[i] + before + after - reach;
    auto low = l.dims.lowerBound(room);
    if (!low || *low < 0) {
      l.error() << "a window of " << reach << " does not fit extent " << l.dims.print(spatial[i]) << " for all dims";
      return std::nullopt;
    }
    window.before.push_back(before);
    window.statedAfter.push_back(after);
    AffineExpr out = room.floorDiv(stride) + 1;
    if (l.intAttr("ceil_mode", 0)) {
      // One more window, unless it would begin behind the input.
      AffineExpr larger = room.ceilDiv(stride) + 1;
      auto begins = l.dims.upperBound((larger - 1) * stride - before - spatial[i]);
      auto inside = l.dims.lowerBound((larger - 1) * stride - before - spatial[i]);
      if (!begins || !inside || (*begins >= 0) != (*inside >= 0)) {
        l.error() << "cannot tell the number of windows over extent " << l.dims.print(spatial[i]) << " with ceil_mode; "
                  << "give the dim a value";
        return std::nullopt;
      }
      out = *begins >= 0 ? larger - 1 : larger;
      auto more = l.extremum((out - 1) * stride + reach - spatial[i] - before, after, /*larger=*/true);
      after = more.value_or(after + (stride - 1));
    }
    window.after.push_back(after);
    window.out.push_back(out);
  }
  return window;
}
