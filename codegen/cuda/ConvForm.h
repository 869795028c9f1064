// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Convolutions as cuDNN has them: of instances with channels and one to three spatial dims, in groups of channels,
//   d = activation(alpha a * b + beta c + bias),
// where a is the input, in whose padding nobody looks as it is part of it by now, and b are the filters. What is transposed is
// none of these: its windows go the other way.
#ifndef SNUG_CODEGEN_CUDA_CONVFORM_H
#define SNUG_CODEGEN_CUDA_CONVFORM_H

#include "codegen/cuda/LibraryEpilogue.h"
#include "dialects/plan/PlanDialect.h"

namespace snug::codegen {

// Looks at static types only.
struct ConvForm {
  struct Spatial {
    unsigned in;                      // dim of the input
    unsigned out;                     // of the contraction, as is what follows
    std::optional<unsigned> window;   // none: of one element
    int64_t step = 1, dilation = 1;
  };
  nn::ContractOp op;
  std::optional<unsigned> batch, group;
  unsigned channel = 0, filter = 0; // of a group
  llvm::SmallVector<Spatial, 3> spatial; // as they follow each other in the result
  bool channelsLast = false;
  std::optional<unsigned> c, bias; // operands
  plan::ContractionAttr contraction;

  // Filters may have their dims in any order.
  static std::optional<ConvForm> of(nn::ContractOp op, const LibraryEpilogue &epilogue);
  // Dims of the filters in the order that the library wants, which is that of the input's channels.
  llvm::SmallVector<unsigned> filterDims() const;
  // What plan::LaunchOp calls shape, with filters in that order. `workspace` is an address, too.
  llvm::SmallVector<mlir::Value> shape(mlir::OpBuilder &host, mlir::Value workspace);
};

} // namespace snug::codegen
#endif
