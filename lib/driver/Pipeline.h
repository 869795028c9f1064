// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_PIPELINE_H
#define SNUG_LIB_DRIVER_PIPELINE_H

#include "lib/driver/ActivationPlan.h"
#include "lib/driver/Report.h"
#include "lib/import/onnx/Importer.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Pass/PassManager.h"

namespace snug {

// The straight line from a model file to a library. Each member is one stage of Stages.def and returns an exit code.
class Pipeline {
public:
  Pipeline(mlir::MLIRContext &context, const CompileOptions &options, CompileReport &report)
      : context(context), options(options), report(report) {}

  // All stages up to options.emit.
  int run();
  mlir::ModuleOp module() { return *program; }

  int import();
  // The program in place of what import() would make.
  void take(mlir::OwningOpRef<mlir::ModuleOp> imported) { program = std::move(imported); }
  // From the imported program to the least share of the budgets that it can do with: above 1 it cannot fit. Where it fits,
  // `seconds` is how long a run takes within the budgets, as modelled. The program is of no more use afterwards. An exit code.
  int need(double &share, double *seconds = nullptr);

private:
  int canonicalize();
  int shard();
  int fuse();
  int schedule();
  int chunk();
  int memory();
  int library();

  // Makes tensors of inputs that are sequences or optionals.
  int expandInputs();
  // Checks --dim against the model's named dims.
  int checkDims();
  // Marks the inputs that --value fixes.
  int markValues();
  // Refuses --shard of what the model does not have.
  int checkPins(const TensorPins &unknown);
  // Marks the inputs that --donate names.
  int markDonated();
  // Writes the program as it stands for --save-temps.
  int saveProgram(Stage stage);
  // Bytes of the weights, inputs and outputs, known from the scheduled program.
  void measureFixed();
  // Sets arenaLimit to what the budgets leave.
  void limitArena();
  // The planner of the program, or of the undonated one where less can be reached with that; the first one if both are
  // as good.
  ActivationPlanner &betterPlanner();
  // Puts chunk loops into the program so that its arena fits arenaLimit, or says what could be reached.
  int selectChunks();
  int cannotFit();
  // Chunk loops and modelled times of a plan, for the report.
  void recordPlan(const ActivationPlan &plan);
  // The model to import.
  OnnxSource source() const;
  int threads() const;
  void addMemoryPasses(mlir::OpPassManager &pm, bool overlaps);
  // From the chunked program to its arena, with what libraries work in, checked.
  int planMemory(bool overlaps);
  // Runs what `build` adds to a pass manager on `target`; `exitCode` on failure.
  int runPasses(mlir::ModuleOp target, int exitCode, llvm::function_ref<void(mlir::OpPassManager &)> build);

  mlir::MLIRContext &context;
  const CompileOptions &options;
  llvm::SmallVector<std::string> dims; // the options', and those that follow from them
  CompileReport &report;
  mlir::OwningOpRef<mlir::ModuleOp> program;
  // The scheduled program as it is without --donate. An update in place may stand in the way of a chunk loop, and a
  // donation is a permission, so that a budget which can be met without it can be met with it.
  mlir::OwningOpRef<mlir::ModuleOp> undonated;
  // Of the program and of the undonated one, from when they are scheduled.
  std::unique_ptr<ActivationPlanner> planner, undonatedPlanner;
  std::optional<int64_t> arenaLimit; // bytes the arena may have; negative where the rest alone exceeds the budget
};

} // namespace snug

#endif
