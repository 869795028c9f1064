// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A plan carried out in a copy of its function, and measured: a plan is a model of the program, and only the program
// says what it needs.
#ifndef SNUG_PASSES_CHUNK_CARRYOUT_H
#define SNUG_PASSES_CHUNK_CARRYOUT_H

#include "mlir/IR/OwningOpRef.h"
#include "passes/chunk/ChunkProgram.h"

namespace snug {

struct ChunkSettings {
  mlir::ModuleOp module;
  const Machine &machine;
  int threads = 1;
  bool exact = false;      ///< no sum may be made in parts
  int64_t loopsBefore = 0; ///< of the functions before: loops are numbered through the module
};

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

/// Nothing where the result is no valid program.
std::optional<CarriedOut> carryOut(mlir::func::FuncOp function, ChunkPlan plan, const ChunkSettings &settings);

} // namespace snug

#endif
