// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tiles of matrices in shared memory, and what tensor cores make of them: mma.sync m16n8k16 of f16 and bf16, and m16n8k8 of f32 in
// tf32 (PTX ISA, "Warp-level matrix instructions"), of which a lane holds rows lane / 4 and lane / 4 + 8 of sums and columns
// lane % 4 * 2 and the next one.
#ifndef SNUG_CODEGEN_CUDA_SHAREDTILE_H
#define SNUG_CODEGEN_CUDA_SHAREDTILE_H

#include "codegen/cuda/Kernels.h"

namespace snug::codegen {

// Rows of a pitch that is an odd number of 16 bytes: what eight lanes read of 16 bytes in eight rows lies in all 32 banks. Of `unit`
// times as many where rows are read in another way (unitOfColumns).
struct SharedTile {
  mlir::Value buffer; // one dim
  int64_t rows, columns, pitch, offset;
  mlir::Value shift; // elements, beside the offset; none: 0

  static int64_t pitchOf(int64_t columns, mlir::Type elementType, int64_t unit = 1);
  static int64_t elementsOf(int64_t rows, int64_t columns, mlir::Type elementType, int64_t unit = 1) {
    return rows * pitchOf(columns, elementType, unit);
  }
  // Of a tile that is read by TileOrder::Plain. Elements of 32 bits are read one by one, eight in each of four rows.
  static int64_t unitOfColumns(mlir::Type elementType) { return elementType.isF32() ? 2 : 1; }
  // Terms of a product that one instruction sums: 32 bytes of them.
  static int64_t stepOf(mlir::Type elementType) { return elementType.isF32() ? 8 : 16; }
  // Within a buffer, behind `offset` elements.
  SharedTile(mlir::Value buffer, int64_t rows, int64_t columns, int64_t offset = 0, int64_t unit = 1);
  SharedTile(CudaKernelBuilder &b, int64_t rows, int64_t columns, mlir::Type elementType);

  mlir::Type elementType() const;
  mlir::Value at(CudaKernelBuilder &b, mlir::Value row, mlir::Value column) const;
  // 16 bytes, from a column that is a multiple of as many elements.
  mlir::Value loadVector(CudaKernelBuilder &b, mlir::Value row, mlir::Value column) const;
  void store(CudaKernelBuilder &b, mlir::Value value, mlir::Value row, mlir::Value column) const;
};

// A matrix in memory that is not shared, `rows` by `columns`, both not 0.
struct TileSource {
  mlir::Value memref;
  std::function<llvm::SmallVector<mlir::Value>(mlir::Value row, mlir::Value column)> at;
  mlir::Value rows, columns;
  mlir::Value inVectors; // whether it can be read in pieces of 16 bytes; none: never
};

// Whether elements along `dim` of `memref` are neighbours, and each `columns` of them whole pieces of 16 bytes; nothing
// where types say that it is not so. Pointers and strides tell the rest when the kernel runs.
mlir::Value isInVectors(CudaKernelBuilder &b, mlir::Value memref, std::optional<unsigned> dim, int64_t columns);

// Starts to fill the tile, with zeros where there is no matrix. All threads of the block.
void startCopy(CudaKernelBuilder &b, const SharedTile &tile, const TileSource &source);
// The same where the source can be read in pieces of 16 bytes, and is of the tile's type.
void startCopyInPieces(CudaKernelBuilder &b, const SharedTile &tile, const TileSource &source);
// Starts to bring an element of 4 or 8 bytes, or 0 where it does not exist (no condition: it does).
void startCopyOfOne(CudaKernelBuilder &b, const SharedTile &tile, mlir::Value row, mlir::Value column, mlir::Value memref,
                    llvm::ArrayRef<mlir::Value> indices, mlir::Value exists);
// Until what all threads of the block have started is there for all of them.
void finishCopies(CudaKernelBuilder &b);
// What was started is a group, the first one.
void groupCopies(CudaKernelBuilder &b);
// Groups what was started, and waits until the group before it is there for all threads of the block.
void finishCopiesBefore(CudaKernelBuilder &b);

// An f32 as tensor cores take it from operands of that type: rounded, of f32 to tf32 (to nearest, ties away from zero), whose other bits are 0.
mlir::Value toOperand(CudaKernelBuilder &b, mlir::Value value, mlir::Type type);

// Registers of 32 bits: vector<4x2xT> of f16 or bf16, vector<4x1xf32> of f32, which is rounded to tf32. A matrix of 16 rows and as many
// columns as an instruction has terms, at `row` and `column`, as mma.sync takes it from the left.
mlir::Value loadLeft(CudaKernelBuilder &b, const SharedTile &tile, mlir::Value row, mlir::Value column);
// How a tile holds what is multiplied from the right: transposed; as it is; or as it is, to be multiplied with a left one that was made of
// fragments of sums, where a lane has neighbouring terms (of f16 and bf16 it always has).
enum class TileOrder { Transposed, Plain, AsSums };
// Two matrices of 8 columns and as many rows as an instruction has terms, vector<2x2xT> or vector<2x1xf32> each: 16 columns at `row` and
// `column`; or, of a tile that holds the transposed ones, 16 rows there.
std::pair<mlir::Value, mlir::Value> loadRight(CudaKernelBuilder &b, const SharedTile &tile, mlir::Value row,
                                              mlir::Value column, TileOrder order);
// sums (vector<2x2xf32>) + left * right.
mlir::Value multiplyAdd(CudaKernelBuilder &b, mlir::Value left, mlir::Value right, mlir::Value sums);

} // namespace snug::codegen
#endif
