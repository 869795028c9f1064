// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_NN_INDEXRULEINTERFACE
#define SNUG_DIALECTS_NN_INDEXRULEINTERFACE

include "mlir/IR/OpBase.td"

def IndexRuleOpInterface : OpInterface<"IndexRuleOpInterface"> {
  let cppNamespace = "::snug";
  let description = [{
    States an op's IndexRule (dialects/nn/IndexRule.h). Ops of the nn dialect implement it; linalg and tensor ops get it
    as external models (registerIndexRuleModels).
  }];
  let methods = [
    InterfaceMethod<"The rule, or failure where this instance of the op has none (a barrier).",
                    "::mlir::FailureOr<::snug::IndexRule>", "getIndexRule">
  ];
}
#endif
