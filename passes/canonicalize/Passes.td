// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_PASSES
#define SNUG_PASSES_CANONICALIZE_PASSES

include "mlir/Pass/PassBase.td"

def LowerOnnx : Pass<"snug-lower-onnx", "::mlir::ModuleOp"> {
  let summary = "Lower imported ONNX nodes to linalg, tensor and nn ops";
  let description = [{
    Runs after import. Fixes or bounds the named dims given by `dims`; a dim that is not given is taken for what the model
    itself shows it to be equal to, or to be read up to, else it is an error. Evaluates shape arithmetic on expressions of the
    dims instead of on tensors, and lowers each node by the lowering table (op type x opset -> function). A node that the
    table lacks is an error; all of them are listed at once. Weights become snug_nn.weight with recipes.

    Before: `%1 = snug_onnx.node "Relu"(%0)`; after: a `linalg.generic` whose body is `arith.maximumf`.
  }];
  let options = [
    ListOption<"dims", "dims", "std::string", "Named dims, as NAME=VALUE, NAME=MIN..MAX[:STEP] or NAME=EXPRESSION of others">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::tensor::TensorDialect", "::mlir::affine::AffineDialect",
                           "::mlir::scf::SCFDialect", "::snug::nn::NnDialect", "::snug::mesh::MeshDialect"];
}

def WidenFloats : Pass<"snug-widen-floats", "::mlir::func::FuncOp"> {
  let summary = "Compute with f16 and bf16 in f32";
  let description = [{
    Floats narrower than f32 become a way of storing: bodies of linalg ops extend what they read to f32, compute in it and
    round what they yield; sums and other reductions are made in f32 and rounded at their end. The conversions are marked
    `contract`: once a reader's body is in one kernel with what it reads, a rounding with an extension behind it falls
    away, so that a kernel rounds what it stores and nothing else. Two kinds of roundings stay wherever they are: those in
    front of a comparison or of a conversion to integers, whose results would jump, and those that the model spells out,
    as a cast to a narrow type and back.

    Ops that only move elements are left alone. Runs after snug-lower-onnx.

    Before: `%s = arith.addf %x, %y : f16`; after: `arith.extf` of both, `arith.addf` on f32, `arith.truncf`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect"];
}

def VerifyCanonical : Pass<"snug-verify-canonical", "::mlir::ModuleOp"> {
  let summary = "Check contract C1: canonical tensor IR";
  let description = [{
    No op of the onnx dialect is left, every tensor is ranked, each op belongs to a dialect that later stages know, and
    nothing is computed in a float type narrower than f32. Runs after snug-lower-onnx and snug-widen-floats.
  }];
}
#endif
