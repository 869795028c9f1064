// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Lower bounds of the arena, to grade plans by: what no order and no single-level chunk plan can undercut.
#ifndef SNUG_PASSES_CHUNK_MEMORYBOUNDS_H
#define SNUG_PASSES_CHUNK_MEMORYBOUNDS_H

#include "passes/chunk/ChunkSearch.h"

namespace snug {

/// In bytes, of buffers in the arena; workspaces of kernels are not counted. Neither bound allows recomputation.
struct MemoryBounds {
  /// Any order of whole ops. While op u runs, all is there that was made by an op before it in every order and is needed
  /// by one after it in every order; u may overwrite one input that nothing after it needs.
  int64_t anyOrder = 0;
  /// Any plan of single-level chunk loops: as above, with each value that some loop around its producer and all of its
  /// consumers could cut counted as the least slice of it. Values are relaxed each by itself, so the bound may be out of
  /// reach.
  int64_t anyChunks = 0;
};

MemoryBounds memoryBounds(const ChunkProblem &problem);

} // namespace snug

#endif
