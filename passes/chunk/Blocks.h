// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Equal stretches of a program: layers repeat, and what was found for one holds for all.
#ifndef SNUG_PASSES_CHUNK_BLOCKS_H
#define SNUG_PASSES_CHUNK_BLOCKS_H

#include "passes/chunk/ChunkProblem.h"

namespace snug {

/// For each node a number that is equal for nodes which do the same on values of the same sizes (and may be equal for
/// others).
std::vector<size_t> nodeKinds(const ChunkProblem &problem);

/// Whether the nodes [first + shift, last + shift] do on their values and buffers what [first, last] do on theirs: a
/// loop over some of the first is a loop over the same ones of the second.
bool isSameBlock(const ChunkProblem &problem, const std::vector<size_t> &kinds, int first, int last, int shift);

/// The loop `shift` nodes further on, in a block that is the same.
ChunkLoop shifted(const ChunkProblem &problem, const ChunkLoop &loop, int shift);

/// Puts the nodes in the given order (their present indices), which respects who reads what.
void reorder(ChunkProblem &problem, const std::vector<int> &order);

} // namespace snug

#endif
