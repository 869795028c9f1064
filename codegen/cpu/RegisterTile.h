// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The inner loop of contractions and attention: a tile of C held in registers over a range of k.
#ifndef SNUG_CODEGEN_CPU_REGISTERTILE_H
#define SNUG_CODEGEN_CPU_REGISTERTILE_H

#include "codegen/cpu/Kernels.h"

namespace snug::codegen {

// rows x columns accumulators, columns / lanes vectors a row: what the registers hold besides two vectors of b.
struct TileShape {
  int64_t lanes, columns, rows;
  static TileShape of(const CpuTarget &target);
};

// One tile of c += a * b over k in [from, to). Each element is one chain of fused multiply-adds in the order of k, so
// it depends neither on where [from, to) is cut nor on the rows beside it.
struct RegisterTile {
  TileShape shape;
  int64_t rows;                                            // of this tile, <= shape.rows
  llvm::function_ref<mlir::Value(int64_t, mlir::Value)> a; // scalar of (row, k)
  llvm::function_ref<mlir::Value(mlir::Value, int64_t)> b; // vector of (k, first column)
  mlir::Value accumulators;                                // memref of rows x columns, f32, row-major
  mlir::Value row, column;                                 // the tile's place in it
  mlir::Value from, to;
  mlir::Value fresh; // i1: start from zero, not from `accumulators`; null: always from zero

  void emit(CpuKernelBuilder &builder) const;
};

// Calls `body` with the tiles that cover rows [0, rows): full ones, then of 4, 2 and 1 rows. `staticRows`: rows if
// known.
void tileRows(CpuKernelBuilder &b, const TileShape &shape, mlir::Value rows, std::optional<int64_t> staticRows,
              llvm::function_ref<void(int64_t, mlir::Value)> body);

// Transposes blockSide x blockSide elements in registers: row i of the block starts at rowAt(i) in `source`, column i
// at columnAt(i) in `destination`, both contiguous. With fewer `columns` the rows are that long, and so many columns are
// written. Worth it with vectors of 512 bits.
constexpr int64_t blockSide = 16; // a cache line of f32
using BlockPlace = llvm::function_ref<llvm::SmallVector<mlir::Value>(int64_t)>;
void moveBlock(CpuKernelBuilder &b, BlockPlace rowAt, mlir::Value source, BlockPlace columnAt, mlir::Value destination,
               int64_t columns = blockSide);

// Copies k x n elements of `source` (k in [from, to), n in [0, columns)) to a buffer of rows of `width`, whose further
// columns are filled with zeros; `place` gives an element's indices. `contiguous`: neighbouring n are neighbours in
// memory. Otherwise neighbouring k may be: then 16 x 16 blocks are transposed in registers.
void packPanel(CpuKernelBuilder &b, mlir::Value buffer, mlir::Value from, mlir::Value to, mlir::Value columns,
               int64_t width, bool contiguous, mlir::Value source,
               llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, mlir::Value)> place);

// Rows of a's narrow floats as f32, so that they are not converted for every column: rows x (to - from) elements at the
// start of `buffer`; `place` gives an element's indices.
void widenRows(CpuKernelBuilder &b, mlir::Value buffer, int64_t rows, mlir::Value from, mlir::Value to, mlir::Value source,
               llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, mlir::Value)> place);

} // namespace snug::codegen
#endif
