// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Chunk loops for a module within one budget after another: the search, the variants of the program that it chooses
// among, and plans carried out and measured.
#ifndef SNUG_PASSES_CHUNK_CHUNKPLANNER_H
#define SNUG_PASSES_CHUNK_CHUNKPLANNER_H

#include "passes/chunk/CarryOut.h"
#include "passes/chunk/LowerBounds.h"

namespace snug {

/// A pass that asks once and a driver that looks for the least budget share this; what does not depend on the budget is
/// found out once. Results do not depend on what was asked before.
class ChunkPlanner {
public:
  /// Dialects that must be loaded, and interfaces of their ops.
  static void registerDialects(mlir::DialectRegistry &registry);

  /// Brings a module into the form that loops are planned for. Once.
  static void prepare(mlir::ModuleOp module);

  /// The module must be prepared, and must outlive the planner as it is. The machine is that of `machineFile`, else that
  /// of the module's attribute snug.machine, else a built-in one; failure, with an error, if it cannot be read. If
  /// `exact`, no sum is made in parts.
  static mlir::FailureOr<std::unique_ptr<ChunkPlanner>> create(mlir::ModuleOp prepared, llvm::StringRef machineFile,
                                                               int threads, bool exact);
  ~ChunkPlanner();

  /// Puts loops into the functions of `target`, the prepared module or a copy of it, so that no function needs more than
  /// `budget` bytes (-1: as few as can be reached), and leaves the attributes snug.chunk_report and
  /// snug.chunk_figures. With `loosen`, programs that share less are looked at, too. Failure, with an error and the
  /// target half done, where that cannot be reached.
  mlir::LogicalResult apply(mlir::ModuleOp target, int64_t budget, bool loosen);

  /// Seconds on the clock that finding plans has taken so far.
  double searchTime() const { return searching; }

private:
  struct Variant;
  struct Function;
  struct Figures;
  ChunkPlanner(mlir::ModuleOp module, Machine machine, int threads, bool exact);
  mlir::LogicalResult plan(mlir::func::FuncOp source);
  Variant *variant(Function &function, Sharing sharing);
  const ChunkPlan &search(Variant &variant, int64_t budget, int levels = 2);
  mlir::LogicalResult apply(Function &function, mlir::func::FuncOp target, int64_t budget, bool loosen,
                            Figures &figures, llvm::SmallVectorImpl<mlir::Attribute> &report);

  mlir::ModuleOp module;
  const Machine machine;
  ChunkSettings settings;
  std::vector<std::unique_ptr<Function>> functions;
  double searching = 0;
};

} // namespace snug

#endif
