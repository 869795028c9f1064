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

/// Whether what iterations write over in buffers from outside of the loop is read by nobody after that: each touches the
/// same slice of such a buffer as it writes, or has read it ahead. With `mayRenew`, members that write over what is
/// still read may have a new buffer instead. Adds to loop.inPlace the dying values that results made
/// in the loop may overwrite.
bool collectUpdates(const ChunkProblem &problem, ChunkLoop &loop, bool mayRenew);

} // namespace snug

#endif
