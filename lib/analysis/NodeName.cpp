// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/NodeName.h"
#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;

std::string snug::nodeName(Location location) {
  std::string name;
  location->walk([&](Location inner) {
    auto named = dyn_cast<NameLoc>(inner);
    if (!named)
      return WalkResult::advance();
    name = named.getName().str();
    return WalkResult::interrupt();
  });
  return name;
}
