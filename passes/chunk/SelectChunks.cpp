// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/ChunkPlanner.h"
#include "passes/chunk/Passes.h"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_SELECTCHUNKS
#include "passes/chunk/Passes.h.inc"
} // namespace snug

namespace {
struct SelectChunksPass : snug::impl::SelectChunksBase<SelectChunksPass> {
  using SelectChunksBase::SelectChunksBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    ChunkPlanner::registerDialects(registry);
  }

  void runOnOperation() override {
    ChunkPlanner::prepare(getOperation());
    auto planner = ChunkPlanner::create(getOperation(), machine, threads, exact);
    if (failed(planner) || failed((*planner)->apply(getOperation(), activationBudget, loosen)))
      return signalPassFailure();
  }
};
} // namespace
