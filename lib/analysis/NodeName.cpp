// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/NodeName.h"
#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;

SmallVector<std::string> snug::nodeNames(Location location) {
  SmallVector<std::string> names;
  location->walk([&](Location inner) {
    if (auto named = dyn_cast<NameLoc>(inner); named && !llvm::is_contained(names, named.getName().str()))
      names.push_back(named.getName().str());
    return WalkResult::advance();
  });
  return names;
}

std::string snug::nodeName(Location location) {
  SmallVector<std::string> names = nodeNames(location);
  return names.empty() ? "" : names.front();
}
