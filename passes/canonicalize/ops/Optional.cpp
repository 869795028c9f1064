// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Optionals. Whether one has a value is known at compile time: it is that value then.
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"

using namespace mlir;
using namespace snug;

namespace {
LogicalResult optional(Lowering &l) {
  LoweredValue absent;
  absent.isAbsent = true;
  l.define(0, l.hasInput(0) ? l.input(0) : absent);
  return success();
}

LogicalResult hasElement(Lowering &l) {
  l.define(0, l.splatValue(l.b.getBoolAttr(l.hasInput(0) && !l.input(0).isAbsent), {}));
  return success();
}

LogicalResult getElement(Lowering &l) {
  LoweredValue value = l.input(0);
  if (value.isAbsent)
    return l.error() << "the optional has no value";
  l.define(0, value);
  return success();
}
} // namespace

void snug::addOptionalOps(LoweringTable &t) {
  t.add("Optional", 15, optional);
  t.add("OptionalHasElement", 15, hasElement);
  t.add("OptionalGetElement", 15, getElement);
}
