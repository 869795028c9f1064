// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linalg.generic as code at points of its loops.
#ifndef SNUG_CODEGEN_CPU_GENERICCODE_H
#define SNUG_CODEGEN_CPU_GENERICCODE_H

#include "codegen/kernel/KernelBuilder.h"

namespace snug::codegen {

// Elementwise over dense operands of one shape: one loop, however many dims.
bool isFlat(mlir::linalg::GenericOp op);

// A linalg.generic as code at points of its loops; of a flat one, of the one loop over rows of all elements.
class GenericCode {
public:
  GenericCode(mlir::linalg::GenericOp op, KernelBuilder &b);
  // What the region yields at a point, with these values so far of the outputs or, without any, those in memory.
  llvm::SmallVector<mlir::Value> compute(mlir::ValueRange indices, mlir::ValueRange outputs);
  // The outputs' elements at a point, in memory.
  llvm::SmallVector<mlir::Value> loadOutputs(mlir::ValueRange indices);
  void store(mlir::ValueRange indices, mlir::ValueRange values);

  const bool flat;
  llvm::SmallVector<mlir::Value> sizes;    // of the loops; of a flat one, of its one
  llvm::SmallVector<mlir::Value> operands; // of a flat one, rows

private:
  llvm::SmallVector<mlir::Value> placeOf(mlir::OpOperand &operand, mlir::ValueRange indices);

  mlir::linalg::GenericOp op;
  KernelBuilder &b;
};

} // namespace snug::codegen
#endif
