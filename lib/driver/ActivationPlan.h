// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a scheduled program's intermediate tensors need, and what fitting them into less costs: the chunk search and the
// memory plan together, on copies. Memory in bytes, times in milliseconds of the time model.
#ifndef SNUG_LIB_DRIVER_ACTIVATIONPLAN_H
#define SNUG_LIB_DRIVER_ACTIVATIONPLAN_H

#include "lib/driver/ActivationFigures.h"
#include "lib/driver/MemoryPicture.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <map>
#include <memory>
#include <optional>

namespace snug {

class ChunkPlanner;

/// A scheduled program with chunk loops, not yet bufferized.
struct ActivationPlan {
  mlir::OwningOpRef<mlir::ModuleOp> program;
  int64_t arena = 0; ///< as the memory stage will plan it
  ChunkFigures figures;
};

/// The arena of a scheduled program as it stands; -1 after an error was emitted. Draws the plan if asked to.
int64_t plannedArena(mlir::ModuleOp scheduled, std::optional<MemoryPicture> *picture = nullptr);

/// The arena that a canonical program would need op by op, in its best order and in place, without fusion: what savings
/// are stated against in the literature. -1 where it cannot be planned.
int64_t eagerArena(mlir::ModuleOp canonical);

enum class FitSteps {
  Even,  ///< three budgets at even steps between the ends
  Curve, ///< eight at even ratios, less those which buy no time over a smaller one
};

/// Plans for one scheduled program, within one limit after another. What was found out once is kept; what is found does
/// not depend on what was asked for before.
class ActivationPlanner {
public:
  ActivationPlanner(mlir::ModuleOp scheduled, int threads);
  ~ActivationPlanner();

  /// Chunk loops with which the arena fits `limit`; null where none are found. With a limit of no less than unchunked()
  /// it has none.
  const ActivationPlan *fit(int64_t limit);

  /// The least arena that can be reached; null where there is no plan at all. A limit of no less than that fits.
  const ActivationPlan *least();

  /// Answers "what fits?" without reading weights. Nullopt, after an error, where the program cannot be planned at all.
  std::optional<WhatFits> whatFits(FitSteps steps);
  /// On the clock, of all searches made so far.
  double searchMs() const;

private:
  const ActivationPlan *atPeak(int64_t peak, bool loosen = true);
  const ActivationPlan *within(int64_t limit);
  bool prepare();

  mlir::ModuleOp scheduled;
  int threads;
  mlir::OwningOpRef<mlir::ModuleOp> prepared;
  std::unique_ptr<ChunkPlanner> planner;
  std::map<std::pair<int64_t, bool>, std::unique_ptr<ActivationPlan>> plans; ///< by peak and looseness; null: none
};

/// The op of a scheduled program at which most bytes are live; null where it has none.
mlir::Operation *peakOp(mlir::ModuleOp scheduled);

} // namespace snug

#endif
