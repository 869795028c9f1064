// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How the points of a linalg.generic are dealt to blocks and threads. Looks at static types only: the launch and the
// kernel are made from the same plan.
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

  // How blocks go about it.
  enum class Form {
    // A block does kBlock * unit neighbouring points of the parallel loops; a thread of it, `unit` of them, as vectors
    // where
    // they can be loaded and stored so, and all of their sums in sequence.
    Points,
    // Sums along what is contiguous: `threads` threads a result, a warp or a block, each `unit` neighbours in turn.
    Rows,
    // Sums across what is contiguous: neighbouring lanes have neighbouring results, and the warps of a block parts of
    // their sums.
    Columns,
    // Inputs `across` are contiguous along loop `read`, outputs along loop `written`: a block does a square of both,
    // which it
    // turns in shared memory.
    Tiles
  } form = Form::Points;
  int64_t unit = 1, threads = 1;
  unsigned read = 0, written = 0;     // loops
  llvm::SmallVector<unsigned> across; // operands

  static GenericPlan of(mlir::linalg::GenericOp op);
  KernelRange range(mlir::linalg::GenericOp op) const;
  llvm::SmallVector<unsigned> select(bool isSum) const; // of the loops, in order
  // A map of the op as one over the loops, without the places that are inside of another one's loop.
  mlir::AffineMap overLoops(mlir::AffineMap map) const;

private:
  void chooseSum(mlir::linalg::GenericOp op);
  void chooseTiles(mlir::linalg::GenericOp op);
  std::optional<unsigned> contiguousLoop(mlir::linalg::GenericOp op, mlir::OpOperand &operand) const;
  int64_t staticSize(mlir::linalg::GenericOp op, unsigned loop) const; // kDynamic: not known
};

// Sides of a tile.
constexpr int64_t kTile = 32;

// The ops that add an element to each output, if parts of these sums can be made apart from each other: declared
// reassociable, or exact in any order. None where an output has no such op.
llvm::SmallVector<mlir::Operation *> combinersOf(mlir::linalg::GenericOp op);

} // namespace snug::codegen
#endif
