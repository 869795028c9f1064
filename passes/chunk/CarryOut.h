// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A plan carried out in a copy of its function, and measured: a plan is a model of the program, and only the program
// says what it needs.
#ifndef SNUG_PASSES_CHUNK_CARRYOUT_H
#define SNUG_PASSES_CHUNK_CARRYOUT_H

#include "mlir/IR/OwningOpRef.h"
#include "passes/chunk/BlockSearch.h"

namespace snug {

/// A program with chunk loops, and what is to be said of them.
struct CarriedOut {
  mlir::OwningOpRef<mlir::func::FuncOp> function;
  llvm::SmallVector<mlir::Attribute> report; ///< one dictionary a loop
  struct Remark {
    mlir::Location location;
    std::string text;
    int level; ///< 1: outermost
  };
  llvm::SmallVector<Remark> remarks;
  ChunkPlan plan; ///< times and counts; `peak` is that of the program
  mlir::Location peakLocation;
  llvm::StringRef peakName; ///< of the op there
  bool keepsPlan = false;   ///< needs no more than planned
};

/// With the budget that the plan was made for. Nothing where the result is no valid program.
std::optional<CarriedOut> carryOut(mlir::func::FuncOp function, ChunkPlan plan, int64_t budget,
                                   const ChunkSettings &settings);

} // namespace snug

#endif
