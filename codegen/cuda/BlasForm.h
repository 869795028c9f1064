// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contractions as BLAS libraries have them: of each instance of a batch
//   d = activation(alpha op(a) op(b) + beta c + bias),
// matrices whose columns are contiguous, with a leading dimension. A row-major result is its transposed matrix to them, so
// that which operand of ours is their a depends on the result.
#ifndef SNUG_CODEGEN_CUDA_BLASFORM_H
#define SNUG_CODEGEN_CUDA_BLASFORM_H

#include "codegen/cuda/LibraryEpilogue.h"
#include "dialects/plan/PlanDialect.h"

#include <optional>

namespace snug::codegen {

// A contraction that BLAS has; looks at static types only.
struct BlasForm {
  nn::ContractOp op;
  // Dims of the contraction that are one of BLAS's each, outermost first; those of extent 1 are in none.
  llvm::SmallVector<unsigned> m, n, k, batch;
  unsigned a = 0, b = 1;            // which operand is which
  std::optional<unsigned> c, bias;  // operands, too
  plan::ContractionAttr contraction;

  static std::optional<BlasForm> of(nn::ContractOp op, const LibraryEpilogue &epilogue);
  // What plan::LaunchOp calls shape. `workspace` is an address, too.
  llvm::SmallVector<mlir::Value> shape(mlir::OpBuilder &host, mlir::Value workspace);
};

} // namespace snug::codegen
#endif
