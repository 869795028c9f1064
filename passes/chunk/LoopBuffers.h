// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a chunk loop may do to buffers that it shares with what is around it.
#ifndef SNUG_PASSES_CHUNK_LOOPBUFFERS_H
#define SNUG_PASSES_CHUNK_LOOPBUFFERS_H

#include "passes/chunk/ChunkProblem.h"

namespace snug {

/// Whether nodes that move past each other, so that the loop's members stand side by side, write nothing that the other
/// one reads or writes.
bool keepsBuffers(const ChunkProblem &problem, const ChunkLoop &loop);

/// Whether all iterations touch the same slice of each buffer from outside of the loop that they write; with
/// `mayRenew`, members that do not may have a new buffer instead. Adds to loop.inPlace the dying values that results made
/// in the loop may overwrite.
bool collectUpdates(const ChunkProblem &problem, ChunkLoop &loop, bool mayRenew);

} // namespace snug

#endif
