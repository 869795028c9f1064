// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CUDA_LAYOUTS_H
#define SNUG_CODEGEN_CUDA_LAYOUTS_H

#include "codegen/kernel/KernelTarget.h"
#include "dialects/nn/NnDialect.h"

namespace snug::codegen {

// How the dims of a contraction lie in its operands, as far as types say. The result is the last operand.
class Layouts {
public:
  using Dims = llvm::ArrayRef<unsigned>;

  explicit Layouts(nn::ContractOp op);
  bool haveStrides() const { return sound; } // else nothing else may be asked
  mlir::MemRefType typeOf(unsigned operand) const { return mlir::cast<mlir::MemRefType>(op->getOperand(operand).getType()); }
  mlir::Type elementOf(unsigned operand) const { return typeOf(operand).getElementType(); }
  unsigned result() const { return maps.size() - 1; }
  mlir::AffineMap map(unsigned operand) const { return maps[operand]; }
  // The operand's dim that is just that of the contraction.
  std::optional<unsigned> place(unsigned operand, unsigned dim) const { return positionOf(maps[operand], dim); }
  int64_t extent(unsigned dim) const;
  bool hasAll(unsigned operand, Dims dims) const;
  bool hasAny(unsigned operand, Dims dims) const;
  // Of the innermost one of `dims`, where it is known; none: of no dim, so 1.
  std::optional<int64_t> strideOf(unsigned operand, Dims dims) const;
  // Of a dim of the operand.
  std::optional<int64_t> strideAt(unsigned operand, unsigned place) const;
  // Whether a step in `outer` is all of `inner`'s steps, so that both are one dim.
  bool areOne(unsigned operand, unsigned outer, unsigned inner) const;
  bool areOne(Dims operands, Dims dims) const;
  void sort(llvm::SmallVectorImpl<unsigned> &dims, unsigned by) const;

  // As values of the host program: extents, all of them together, and strides.
  mlir::Value extent(mlir::OpBuilder &host, Dims dims) const;
  mlir::Value strideOf(mlir::OpBuilder &host, unsigned operand, Dims dims) const;
  mlir::Value strideAt(mlir::OpBuilder &host, unsigned operand, unsigned place) const;

private:
  mutable nn::ContractOp op;
  llvm::SmallVector<mlir::AffineMap> maps;
  llvm::SmallVector<llvm::SmallVector<int64_t>> strides;
  bool sound = true;
};

// The buffer that a memref is a part of.
mlir::Value bufferOf(mlir::Value value);
// Whether both are the same part of it, for certain.
bool areSame(mlir::Value a, mlir::Value b);

// The types of a contraction of which libraries have sums in f32 (or f64): both operands of one type, and the result of the same,
// or of that of the sums.
bool haveLibraryTypes(nn::ContractOp op);

} // namespace snug::codegen
#endif
