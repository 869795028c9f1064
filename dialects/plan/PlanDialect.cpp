// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/plan/PlanDialect.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug::plan;

#include "dialects/plan/PlanDialect.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/plan/PlanAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/plan/PlanOps.cpp.inc"

void PlanDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/plan/PlanOps.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/plan/PlanAttrs.cpp.inc"
      >();
}

int64_t snug::workspaceBytes(ModuleOp module) {
  auto attribute = module->getAttrOfType<IntegerAttr>(kWorkspaceBytes);
  return attribute ? attribute.getInt() : 0;
}
