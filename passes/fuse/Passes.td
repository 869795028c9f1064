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

def SelectForms : Pass<"snug-select-forms", "::mlir::ModuleOp"> {
  let summary = "Choose forms of kernels that a target has several of: few rows, parts side by side, scalar code";
  let description = [{
    For a target whose kernels for these are others: `snug.few_rows` of the module says how many are few; without it nothing is
    marked. An open dim counts with its upper bound. The form of a kernel is chosen here, before any loop is put around it, as an op
    and its slices are to sum in one order. `snug.blocks` of the module says how many blocks of threads such a target has room for at
    once: attention of few rows to many keys is then done in parts of the keys, with a scalar kernel that puts them together;
    so are reductions of many terms to few results, with one over the parts behind them; and softmax and norms of few long rows are
    said as such reductions, and what is computed of each element with them. Scans and sorts of rows that are no work for a block
    of threads, and all of them where `snug.blocks` is missing, become scalar kernels.
  }];
  let dependentDialects = ["::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
                           "::mlir::tensor::TensorDialect", "::snug::nn::NnDialect"];
}

def VerifyKernels : Pass<"snug-verify-kernels", "::mlir::func::FuncOp"> {
  let summary = "Check contract C3: one op is one kernel, one SSA tensor is one buffer";
  let description = [{
    Runs after snug-fuse. Every op that makes a tensor is a kernel in destination-passing style, a view, a weight or a
    tensor.empty with one use.
  }];
}
#endif
