// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How the points of a linalg.generic are dealt to blocks and threads. Looks at static types only: the launch and the kernel
// are made from the same plan.
#ifndef SNUG_CODEGEN_CUDA_GENERICPLAN_H
#define SNUG_CODEGEN_CUDA_GENERICPLAN_H

#include "codegen/cuda/Kernels.h"

namespace snug::codegen {

struct GenericPlan {
  // Neighbouring dims of the op that each operand holds as one dim, or not at all, are one loop.
  struct Loop {
    llvm::SmallVector<unsigned> dims;
    bool isSum;
  };
  llvm::SmallVector<Loop> loops;

  // A block does kBlock * unit neighbouring points of the parallel loops; a thread of it, `unit` of them, as vectors where
  // they can be loaded and stored so.
  int64_t unit = 1;

  static GenericPlan of(mlir::linalg::GenericOp op);
  KernelRange range(mlir::linalg::GenericOp op) const;
  llvm::SmallVector<unsigned> select(bool isSum) const; // of the loops, in order
  // A map of the op as one over the loops, without the places that are inside of another one's loop.
  mlir::AffineMap overLoops(mlir::AffineMap map) const;
};

} // namespace snug::codegen
#endif
