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
  // Of a snug_nn.partial_reduce: the loop over parts, which is neither parallel nor a sum here, and how many there are. A block makes
  // one part of its results, of which the blocks' threads (Rows) or warps (Columns) take turns with those of the others.
  std::optional<unsigned> part;
  int64_t parts = 1;
  unsigned read = 0, written = 0;     // loops
  llvm::SmallVector<unsigned> across; // operands

  static GenericPlan of(mlir::linalg::LinalgOp op);
  KernelRange range(mlir::linalg::LinalgOp op) const;
  llvm::SmallVector<unsigned> select(bool isSum) const; // of the loops, in order, without that over parts
  int64_t pointsOfBlock() const;                        // of the parallel loops; not of Tiles
  // A map of the op as one over the loops, without the places that are inside of another one's loop.
  mlir::AffineMap overLoops(mlir::AffineMap map) const;

private:
  void chooseSum(mlir::linalg::LinalgOp op);
  void chooseTiles(mlir::linalg::LinalgOp op);
  std::optional<unsigned> contiguousLoop(mlir::linalg::LinalgOp op, mlir::OpOperand &operand) const;
  int64_t staticSize(mlir::linalg::LinalgOp op, unsigned loop) const; // kDynamic: not known
};

// Sides of a tile.
constexpr int64_t kTile = 32;

} // namespace snug::codegen
#endif
