// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/BlockSearch.h"
#include "lib/analysis/Liveness.h"

using namespace mlir;
using namespace snug;

BlockSearch::BlockSearch(func::FuncOp function, ChunkProgram program, const ChunkSettings &settings)
    : function(function), settings(settings), whole(std::move(program)),
      search(whole.problem, settings.machine, settings.threads) {}

FailureOr<std::unique_ptr<BlockSearch>> BlockSearch::create(func::FuncOp function, Block &block,
                                                            const ChunkSettings &settings) {
  IndexBounds bounds(settings.module);
  FailureOr<ChunkProgram> program = buildChunkProgram(function, block, bounds, settings.exact);
  if (failed(program))
    return failure();
  return std::unique_ptr<BlockSearch>(new BlockSearch(function, std::move(*program), settings));
}

const ChunkPlan &BlockSearch::plan(int64_t budget, int levels) {
  const ChunkPlan &plan = search.plan(budget, levels);
  if (plan.peak <= budget)
    return plan;
  if (!isLight) {
    isLight = true;
    ChunkProblem problem = whole.problem;
    bool isLess = false;
    for (auto [node, op] : llvm::zip_equal(problem.nodes, whole.ops)) {
      SmallVector<Block *> bodies = node.workspace > 0 ? bodiesOf(op) : SmallVector<Block *>();
      int64_t least = 0;
      for (Block *body : bodies) {
        FailureOr<std::unique_ptr<BlockSearch>> inner = create(function, *body, settings);
        least = std::max(least, failed(inner) ? node.workspace : (*inner)->plan(0).peak);
      }
      if (!bodies.empty() && least < node.workspace) {
        node.workspace = least;
        isLess = true;
      }
    }
    if (isLess)
      lighter.emplace(std::move(problem), settings.machine, settings.threads);
  }
  if (!lighter)
    return plan;
  const ChunkPlan &light = lighter->plan(budget, levels);
  if (light.peak >= plan.peak)
    return plan;
  auto [entry, isNew] = plans.try_emplace({budget, levels}, light);
  if (isNew) {
    entry->second.unchunkedPeak = plan.unchunkedPeak;
    entry->second.candidates += plan.candidates;
  }
  return entry->second;
}
