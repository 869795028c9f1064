// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/plan/PlanDialect.h"

using namespace mlir;
using namespace snug::plan;

#include "dialects/plan/PlanDialect.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/plan/PlanOps.cpp.inc"

void PlanDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/plan/PlanOps.cpp.inc"
      >();
}
