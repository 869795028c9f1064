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
                    "::mlir::FailureOr<::snug::IndexRule>", "getIndexRule">,
    InterfaceMethod<[{
      Called on a copy of an op that computes a slice of it: iterations of `dim` from `offset` on. An op whose computation
      depends on the place of an iteration, and not only on operands, corrects it. The builder stands before the copy.
    }], "void", "placeSlice", (ins "::mlir::OpBuilder &":$builder, "unsigned":$dim, "::mlir::Value":$offset), "",
    [{ (void)builder; }]>,
    InterfaceMethod<[{
      Makes the part of the op that computes `slice`, on operands that are cut to what it takes, and returns its results.
      Of ops on destinations these are as large as the destinations; others say how large.
    }], "::llvm::SmallVector<::mlir::Value>", "cloneSlice",
    (ins "::mlir::OpBuilder &":$builder, "const ::snug::OpSlice &":$slice, "::mlir::ValueRange":$operands), "",
    [{ return ::snug::cloneOnDestinations(builder, $_op, slice, operands); }]>,
    InterfaceMethod<[{
      Whether the op may write what belongs in `init` over the operand, which has the same type: it reads of that, at any
      time, nothing that it has written. That no other operand looks at the same buffer is up to the caller.
    }], "bool", "mayOverwrite", (ins "::mlir::OpOperand &":$operand, "::mlir::OpOperand &":$init), "",
    [{ (void)operand; (void)init; return false; }]>,
    InterfaceMethod<[{
      Whether the elements of each tensor of the op have to lie side by side (dialects/nn/Contiguous.h), so that a slice
      must be copied where it is no such piece.
    }], "bool", "wantsContiguous", (ins), "", [{ return false; }]>
  ];
}
#endif
