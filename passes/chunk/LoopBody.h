// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body of a chunk loop as a problem of its own, so that loops inside of loops are found by the same search.
#ifndef SNUG_PASSES_CHUNK_LOOPBODY_H
#define SNUG_PASSES_CHUNK_LOOPBODY_H

#include "passes/chunk/ChunkProblem.h"

namespace snug {

/// One iteration of the loop, at its chunk size. Buffers that the loop shares with what is around it take no bytes
/// here, as they are there anyway; which of them are the same buffer is kept.
ChunkProblem bodyOf(const ChunkProblem &problem, const ChunkLoop &loop);

} // namespace snug

#endif
