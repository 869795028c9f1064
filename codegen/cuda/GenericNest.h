// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linalg.generic as code at points of its plan's loops, of one point or of several neighbouring ones.
#ifndef SNUG_CODEGEN_CUDA_GENERICNEST_H
#define SNUG_CODEGEN_CUDA_GENERICNEST_H

#include "codegen/cuda/GenericPlan.h"

namespace snug::codegen {

// `inner` once for all lanes or, where it uses values that differ from lane to lane, for each of them.
void cloneOnLanes(mlir::Operation &inner, int64_t lanes, mlir::IRMapping &mapping, CudaKernelBuilder &b);

class GenericNest {
public:
  GenericNest(mlir::linalg::LinalgOp op, const GenericPlan &plan, CudaKernelBuilder &b);

  // `lanes` neighbouring points, the first one at `indices`, one of each loop; the others follow along loop `along`.
  struct Place {
    llvm::SmallVector<mlir::Value> indices;
    unsigned along = 0;
    int64_t lanes = 1;
  };
  // What the region yields there, with these values so far of the outputs or, without any, those in memory. Values that
  // are the same at all lanes may be scalars. Operands of which elements are `given` are not loaded.
  using Elements = llvm::ArrayRef<std::pair<unsigned, mlir::Value>>;
  llvm::SmallVector<mlir::Value> compute(const Place &place, mlir::ValueRange outputs, Elements given = {});
  mlir::Value load(unsigned operand, const Place &place);
  llvm::SmallVector<mlir::Value> loadOutputs(const Place &place);
  void store(const Place &place, mlir::ValueRange values);
  // How many neighbours along a loop, of at most `most`, all operands that differ along it can give or take as one
  // vector that starts at a multiple of as many; 1 where they lie apart.
  int64_t vectorLanes(unsigned along, int64_t most) const;

  llvm::SmallVector<mlir::Value> sizes; // of the loops

  struct Operand {
    mlir::Value memref;  // or a scalar
    mlir::AffineMap map; // over the loops
    bool isContiguous(unsigned along) const;
  };
  llvm::SmallVector<Operand> operands;

private:
  mlir::linalg::LinalgOp op;
  CudaKernelBuilder &b;
  const GenericPlan &plan;
};

} // namespace snug::codegen
#endif
