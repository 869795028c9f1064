// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elementwise nests that read along one dim and write along another.
#ifndef SNUG_CODEGEN_CPU_TRANSPOSITION_H
#define SNUG_CODEGEN_CPU_TRANSPOSITION_H

#include "codegen/cpu/Kernels.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace snug::codegen {

// Plain loops would touch a new cache line with every element, so `read` and `written` are walked in square blocks of
// blockSide.
struct Transposition {
  unsigned read, written;
  unsigned input; // the operand that is read across
  // The dim that lies next to `read` in that operand, and inside of `written`: there a block reads a piece of a row
  // from blockSide far places, most often one in each page, whose neighbours of this dim are still in reach of the
  // address translation and of the prefetcher if they are read next. None where rows of `written` lie next to each
  // other.
  std::optional<unsigned> beside;

  // None if the nest is no such thing.
  static std::optional<Transposition> of(mlir::linalg::GenericOp op);
};

// Whether it moves f32 elements and does nothing else, so that blocks can be transposed in registers.
bool isMove(mlir::linalg::GenericOp op);

} // namespace snug::codegen
#endif
