// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Plans for a block, and for the bodies of loops and branches that are in it.
#ifndef SNUG_PASSES_CHUNK_BLOCKSEARCH_H
#define SNUG_PASSES_CHUNK_BLOCKSEARCH_H

#include "passes/chunk/ChunkProgram.h"

namespace snug {

struct ChunkSettings {
  mlir::ModuleOp module;
  const Machine &machine;
  int threads = 1;
  bool exact = false;      ///< no sum may be made in parts
  int64_t loopsBefore = 0; ///< of the functions before: loops are numbered through the module
};

/// A ChunkSearch that knows what bodies in the block may take: where whole ones do not fit, it plans with the least
/// that loops in them can reach, and carryOut() searches each within what the plan leaves to it.
class BlockSearch {
public:
  /// Of a function's body, or of a body of an op there (see bodiesOf). Emits an error where a buffer has no bound.
  static mlir::FailureOr<std::unique_ptr<BlockSearch>> create(mlir::func::FuncOp function, mlir::Block &block,
                                                              const ChunkSettings &settings);

  const ChunkProgram &program() const { return whole; }
  /// As ChunkSearch::plan().
  const ChunkPlan &plan(int64_t budget, int levels = 2);

private:
  BlockSearch(mlir::func::FuncOp function, ChunkProgram program, const ChunkSettings &settings);

  mlir::func::FuncOp function;
  const ChunkSettings &settings;
  const ChunkProgram whole;
  ChunkSearch search;
  std::optional<ChunkSearch> lighter;                 // with loops in the bodies, if there are any
  bool isLight = false;                               // that is known
  std::map<std::pair<int64_t, int>, ChunkPlan> plans; // where it is one with loops in bodies
};

} // namespace snug

#endif
