// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What libraries can do with the sums of a contraction before they store them.
#ifndef SNUG_CODEGEN_CUDA_LIBRARYEPILOGUE_H
#define SNUG_CODEGEN_CUDA_LIBRARYEPILOGUE_H

#include "dialects/nn/NnDialect.h"

#include <optional>

namespace snug::codegen {

// What an epilogue computes of the sum, where it is an activation of weighted terms.
struct LibraryEpilogue {
  enum class Activation { None, Relu, Gelu }; // gelu: by tanh
  double alpha = 1;
  llvm::SmallVector<double> weights; // of the epilogue's inputs
  Activation activation = Activation::None;
  // Nothing where it is another function, or one that rounds in between.
  static std::optional<LibraryEpilogue> of(nn::ContractOp op);
};

} // namespace snug::codegen
#endif
