// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The iteration dims of a contraction by their role, and its macro tile.
#ifndef SNUG_CODEGEN_CPU_CONTRACTPLAN_H
#define SNUG_CODEGEN_CPU_CONTRACTPLAN_H

#include "codegen/cpu/Kernels.h"
#include "dialects/nn/NnDialect.h"

namespace snug::codegen {

// Computed from static types alone, for planRange and the lowering alike.
struct ContractPlan {
  unsigned left = 0, right = 1; // operands: rows of C are left's, columns right's; swapped where that reads better
  unsigned k = 0;
  llvm::SmallVector<unsigned> taps; // further reduction dims, outside of k
  // Rows: one dim or several in one, outermost first. Those of a group lie in all operands as one dim would: a row's
  // number stands for the group's last dim, with 0 for the others. Between groups it is divided.
  llvm::SmallVector<llvm::SmallVector<unsigned>> rowGroups;
  std::optional<unsigned> n;
  llvm::SmallVector<unsigned> outer;   // batch and all further dims
  bool packed = false, copied = false; // right is in panels; right is copied to a panel on the stack
  bool widened = false;                // left's rows are narrow floats, which are extended on the stack
  bool contiguous = false;             // neighbouring columns of right are neighbours in memory
  bool columnsOutside = false;         // macro tiles: all rows of a tile of columns, then the next columns
  int64_t tileRows, tileColumns, width;
  int64_t block; // of k
  int64_t sizeM = 1, sizeN = 1, sizeK = 1; // static extents or kDynamic
  llvm::SmallVector<mlir::AffineMap> maps;

  static mlir::FailureOr<ContractPlan> of(nn::ContractOp op, const CpuTarget &target);

  std::optional<unsigned> m() const { // the dim of neighbouring rows
    return rowGroups.empty() ? std::nullopt : std::optional<unsigned>(rowGroups.back().back());
  }
  // Where the extent of a dim is read: an operand that is not in panels.
  ExtentPlace extent(unsigned dim) const;
  // All dims of the rows, outermost first.
  llvm::SmallVector<unsigned> rows() const;

private:
  bool areOneDim(nn::ContractOp op, unsigned outer, unsigned inner) const;
  void chooseRows(nn::ContractOp op, llvm::ArrayRef<unsigned> candidates);
  void addRows(nn::ContractOp op, llvm::ArrayRef<unsigned> candidates, bool dynamic);
};

// The stride with which `dim` walks an operand, dynamic if it is not a bare index of it.
int64_t strideOf(mlir::Value value, mlir::AffineMap map, unsigned dim);

} // namespace snug::codegen
#endif
