// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_PASSES
#define SNUG_PASSES_CANONICALIZE_PASSES

include "mlir/Pass/PassBase.td"

def LowerOnnx : Pass<"snug-lower-onnx", "::mlir::ModuleOp"> {
  let summary = "Lower imported ONNX nodes to linalg, tensor and nn ops";
  let description = [{
    Runs after import. Fixes or bounds the named dims given by `dims`; a dim that is not given is taken for what the model
    itself shows it to be equal to, else it is an error. Evaluates shape arithmetic on expressions of the
    dims instead of on tensors, and lowers each node by the lowering table (op type x opset -> function). A node that the
    table lacks is an error; all of them are listed at once. Weights become snug_nn.weight with recipes.

    Before: `%1 = snug_onnx.node "Relu"(%0)`; after: a `linalg.generic` whose body is `arith.maximumf`.
  }];
  let options = [
    ListOption<"dims", "dims", "std::string", "Named dims, as NAME=VALUE, NAME=MIN..MAX[:STEP] or NAME=EXPRESSION of others">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::tensor::TensorDialect", "::mlir::affine::AffineDialect", "::snug::nn::NnDialect"];
}

def VerifyCanonical : Pass<"snug-verify-canonical", "::mlir::ModuleOp"> {
  let summary = "Check contract C1: canonical tensor IR";
  let description = [{
    No op of the onnx dialect is left, every tensor is ranked, and each op belongs to a dialect that later stages know.
    Runs after snug-lower-onnx.
  }];
}
#endif
