// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_FUSE_PASSES
#define SNUG_PASSES_FUSE_PASSES

include "mlir/Pass/PassBase.td"

def FuseAttention : Pass<"snug-fuse-attention", "::mlir::func::FuncOp"> {
  let summary = "Norms, softmax and attention that are spelled out become one op each";
  let description = [{
    The first step of snug-fuse, by itself: what is cut for a mesh of devices is cut as these ops.
  }];
  let dependentDialects = ["::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
                           "::mlir::affine::AffineDialect", "::snug::nn::NnDialect"];
}

def Fuse : Pass<"snug-fuse", "::mlir::func::FuncOp"> {
  let summary = "Form kernels: elementwise chains, layout changes and contraction epilogues";
  let description = [{
    Runs on canonical tensor IR (C1). Attention, from the product of queries and keys to that of weights and values,
    becomes one kernel with all that happens to the scores in its region. Elementwise producers join their consumers,
    permuted copies become indexing maps of contractions, and elementwise consumers become epilogues of contractions. A
    producer with several consumers is fused only when recomputing it reads less than it writes (masks, broadcasts).
    Afterwards one op is one kernel and each kernel has a destination of its own.
  }];
  let dependentDialects = ["::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
                           "::mlir::affine::AffineDialect", "::snug::nn::NnDialect"];
}

def VerifyKernels : Pass<"snug-verify-kernels", "::mlir::func::FuncOp"> {
  let summary = "Check contract C3: one op is one kernel, one SSA tensor is one buffer";
  let description = [{
    Runs after snug-fuse. Every op that makes a tensor is a kernel in destination-passing style, a view, a weight or a
    tensor.empty with one use.
  }];
}
#endif
