// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_SCHEDULE_PASSES
#define SNUG_PASSES_SCHEDULE_PASSES

include "mlir/Pass/PassBase.td"

def Schedule : Pass<"snug-schedule", "::mlir::ModuleOp"> {
  let summary = "Order kernels for least peak memory, and decide in-place updates and destinations";
  let description = [{
    Makes each result of a public function a destination argument (after the inputs, `snug.output`, writable), orders
    the kernels, lets a kernel write over an operand that dies there where that is safe, and lets the kernel that
    produces a result write into its destination. The program stays one on tensors: what bufferization has to do is
    decided, and nothing but the decisions here may decide it.

    Sizes are taken at the upper bound of dynamic dims (module attribute `snug.dims`); one without a bound is an error.
  }];
  let options = [
    Option<"order", "order", "std::string", "\"best\"",
           "best (least peak of the other three), given, memory (least memory first), or depth (depth first)">,
    Option<"inPlace", "in-place", "bool", "true", "Let kernels write over operands that die">
  ];
  let dependentDialects = ["::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"];
}
#endif
