// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/memory/ChooseBuckets.h"

#include <algorithm>

using namespace mlir;
using namespace snug;

Buckets snug::chooseBuckets(ModuleOp module, size_t limit) {
  Buckets buckets;
  if (auto dims = module->getAttrOfType<ArrayAttr>("snug.dims"))
    for (auto dim : dims.getAsRange<DictionaryAttr>()) {
      auto min = dim.getAs<IntegerAttr>("min"), max = dim.getAs<IntegerAttr>("max");
      buckets.bounds.emplace_back();
      for (int64_t bound = 1; min && max && bound < max.getInt() && bound <= INT64_MAX / 2; bound *= 2)
        if (bound >= min.getInt())
          buckets.bounds.back().push_back(bound);
      buckets.bounds.back().push_back(max ? max.getInt() : 0);
    }
  while (buckets.size() > std::max<size_t>(limit, 1)) {
    auto &most = *std::max_element(buckets.bounds.begin(), buckets.bounds.end(),
                                   [](const auto &a, const auto &b) { return a.size() < b.size(); });
    SmallVector<int64_t> kept;
    for (size_t i = 0; i < most.size(); ++i)
      if ((most.size() - 1 - i) % 2 == 0)
        kept.push_back(most[i]);
    most = kept;
  }
  return buckets;
}
