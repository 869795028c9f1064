// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the forms of contractions' kernels share. A form is the whole op's (snug_nn.contract's few_rows and few_columns), never
// that of a slice, and the order in which it makes a sum depends on the sum's terms alone.
#ifndef SNUG_CODEGEN_CUDA_CONTRACTION_H
#define SNUG_CODEGEN_CUDA_CONTRACTION_H

#include "codegen/cuda/Kernels.h"
#include "codegen/cuda/SharedTile.h"
#include "dialects/nn/NnDialect.h"

namespace snug::codegen {

// What the kernel looks at, of static types only.
struct Contraction {
  nn::ContractOp op;
  llvm::SmallVector<mlir::AffineMap> maps;
  llvm::SmallVector<unsigned> batch, rows, columns, sums;
  llvm::SmallVector<unsigned> logical; // operands whose dims are those of the maps

  explicit Contraction(nn::ContractOp op);
  ExtentPlace extent(unsigned dim) const { return *extentPlace(maps, dim, logical); }
  int64_t staticExtent(unsigned dim) const;
  int64_t staticExtent(llvm::ArrayRef<unsigned> dims) const; // all of them together
  mlir::Type elementType(unsigned operand) { return mlir::cast<mlir::MemRefType>(op->getOperand(operand).getType()).getElementType(); }
};

// A block's tile of the result.
struct ResultTile {
  mlir::Value rows, columns, terms;      // of the whole
  mlir::Value row, column;               // the tile's first
  llvm::SmallVector<mlir::Value> origin; // indices of batch dims; zeros of others
};

// The place of its code.
struct ContractionCode {
  CudaKernelBuilder &b;
  Contraction c;
  nn::ContractOp op;
  unsigned loops;
  mlir::Type sumType;

  ContractionCode(nn::ContractOp op, CudaKernelBuilder &b);
  llvm::SmallVector<mlir::Value> sizesOf(llvm::ArrayRef<unsigned> dims);
  mlir::Value sizeOf(llvm::ArrayRef<unsigned> dims); // all of them together
  // That of this block, where blocks make so many rows and columns.
  ResultTile tileOfBlock(int64_t rows, int64_t columns);
  // Over all terms, in slices of `depth`: `start` begins to bring one to shared memory, those that are odd to another place than those that
  // are even; `multiply` adds its products to the sums, while the next one comes.
  using Sums = llvm::SmallVector<mlir::Value>;
  Sums overSlices(const ResultTile &tile, int64_t depth, Sums sums, llvm::function_ref<void(mlir::Value first)> start,
                  llvm::function_ref<void(mlir::Value first, Sums &)> multiply);
  // The place of the slice from that term on, of a tile that is there twice.
  SharedTile stage(SharedTile tile, int64_t depth, mlir::Value first);
  // Sets what a number stands for in a group of dims.
  void place(llvm::SmallVector<mlir::Value> &indices, llvm::ArrayRef<unsigned> dims, mlir::Value number);
  // Where an element of an operand is.
  llvm::SmallVector<mlir::Value> at(unsigned operand, llvm::ArrayRef<mlir::Value> indices);
  // An element of an operand as it is stored.
  mlir::Value load(unsigned operand, llvm::ArrayRef<mlir::Value> indices) { return b.load(op->getOperand(operand), at(operand, indices)); }
  mlir::Value toSum(mlir::Value value); // or a vector
  // The result's element at `indices`, from its sum.
  void finish(llvm::ArrayRef<mlir::Value> indices, mlir::Value sum) { finish(indices, sum, 1); }
  // Those of the block at `origin` (indices of batch dims): of one row, at as many neighbouring columns as there are sums, from a
  // multiple of that on. At once where they and what belongs to them lie so.
  void finishRow(llvm::ArrayRef<mlir::Value> origin, mlir::Value row, mlir::Value column, llvm::ArrayRef<mlir::Value> sums);

private:
  void finish(llvm::ArrayRef<mlir::Value> indices, mlir::Value sum, int64_t lanes);
  bool areNeighbours(unsigned operand, int64_t lanes); // along the columns
};

// Whether tensor cores multiply both operands: without rounding, or f32 in tf32.
bool isForTensorCores(Contraction &c);
// Whether an operand holds sums next to each other.
bool isContiguousInSums(Contraction &c, unsigned operand);
// Rows and columns of a block; no sum depends on them.
std::pair<int64_t, int64_t> blockTile(const Contraction &c);
void emitTensorCores(nn::ContractOp op, CudaKernelBuilder &b);

// Where one of both operands has few rows or columns.
KernelRange planFewRows(const Contraction &c);
void emitFewRows(nn::ContractOp op, CudaKernelBuilder &b);

} // namespace snug::codegen
#endif
