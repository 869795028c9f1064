// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace snug;

static bool isMarked(Value value, StringRef attribute) {
  auto argument = dyn_cast<BlockArgument>(value);
  auto function = argument ? dyn_cast_or_null<func::FuncOp>(argument.getOwner()->getParentOp()) : func::FuncOp();
  return function && argument.getOwner() == &function.front() &&
         function.getArgAttr(argument.getArgNumber(), attribute);
}

bool snug::isOutputArgument(Value value) { return isMarked(value, kOutputArgument); }
bool snug::isDonatedArgument(Value value) { return isMarked(value, kDonatedArgument); }
