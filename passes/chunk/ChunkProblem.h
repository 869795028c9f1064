// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A program as the chunk search sees it: plain data, no IR. Memory in bytes, time in seconds.
#ifndef SNUG_PASSES_CHUNK_CHUNKPROBLEM_H
#define SNUG_PASSES_CHUNK_CHUNKPROBLEM_H

#include "lib/solver/TimeModel.h"
#include "passes/chunk/SharedVector.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace snug {

/// How iterations of one dim walk over a tensor: iteration i takes `window` elements along `position`, the first of them
/// at i * scale + offset. What is outside of the tensor is not taken, as where a part is written into a larger whole.
struct DimAccess {
  int position = -1; ///< -1: the dim is not in the tensor; the tensor is invariant
  int64_t scale = 1;
  int64_t window = 1; ///< equal to the scale where slices side by side do not overlap
  int64_t offset = 0;
};

/// The elements that a loop takes along one dim of a tensor in its iterations from o to o + n: from o * scale - before to
/// (o + n) * scale + after, as far as the tensor goes. What slices side by side share is their halo.
struct LoopSlice {
  int position = -1; ///< -1: all of the tensor
  int64_t scale = 1, before = 0, after = 0;
  bool fromStart = false; ///< that of the first iterations begins with the tensor, even where `before` is negative
  bool hasHalo() const { return before != 0 || after != 0; }
  bool operator==(const LoopSlice &o) const {
    return position == o.position && scale == o.scale && before == o.before && after == o.after &&
           fromStart == o.fromStart;
  }
};

struct ChunkUse {
  int value = -1;
  bool isInit = false;           ///< a destination
  bool isBlind = false;          ///< a destination whose content does not count
  bool elementwise = false;      ///< read at the very index that is written
  std::vector<DimAccess> access; ///< one an iteration dim; empty: read as a whole
};

struct ChunkNode {
  std::vector<ChunkUse> uses;
  std::vector<ChunkUse> results;
  std::vector<bool> parallel; ///< one an iteration dim: may be cut
  /// One an iteration dim: may be cut, each part added (or by another combiner) to what the destination holds.
  std::vector<bool> accumulates;
  std::vector<int64_t> extents, tile;
  std::vector<int> buffers; ///< those in the arena that it touches
  bool isView = false;      ///< moves no data
  bool isEmpty = false;     ///< makes an uninitialized tensor
  bool mayMove = true;      ///< free of effects
  bool isCheap = false;     ///< each reader may have its own: one pass over its input, into a buffer of its own
  KernelWork work;
  double packed = 0;         ///< elements that each tile of rows brings into order for itself
  double seen = 1;           ///< share of its panels that a tile of rows reads, on average
  std::vector<int> panels;   ///< uses that each tile of rows reads
  std::vector<bool> rows, columns; ///< one an iteration dim: belongs to the rows or columns of a contraction's tiles
  bool isNarrow = false;     ///< its products are of floats of 16 bits
  int64_t workspace = 0;
};

struct ChunkValue {
  std::vector<int64_t> extents; ///< upper bounds; empty for what is no tensor
  std::vector<bool> fixed;      ///< of the extents: the same whatever the dims are at run time
  int64_t elementBytes = 0;
  int shape = -1;         ///< equal for tensors of equal type and extents, whatever the dims are at run time
  int producer = -1;      ///< node; -1: an argument
  int buffer = -1;        ///< of the arena; -1: none
  std::vector<int> users; ///< nodes, each once
};

struct ChunkBuffer {
  int64_t bytes = 0;
  int root = -1;          ///< the value it is made for
  std::vector<int> nodes; ///< that touch it, in order
};

struct ChunkProblem {
  SharedVector<ChunkNode> nodes; ///< in program order
  SharedVector<ChunkValue> values;
  SharedVector<ChunkBuffer> buffers;
  int64_t alignment = 64;
};

/// Whether the node computes into the buffer. Views only look at theirs.
inline bool writesTo(const ChunkProblem &problem, int node, int buffer) {
  const ChunkNode &n = problem.nodes[node];
  return !n.isView && std::any_of(n.results.begin(), n.results.end(), [&](const ChunkUse &result) {
    return problem.values[result.value].buffer == buffer;
  });
}

/// A node in a loop's body. With a halo, iterations of the loop side by side compute some of it twice, or carry that from
/// one to the next: then each computes what is new, which is ahead of its own by `after`.
struct ChunkMember {
  int node = -1;
  int dim = -1;                  ///< that is cut; -1: each iteration computes it anew, as a whole
  int64_t scale = 1;             ///< iterations of `dim` for one of the loop
  int64_t before = 0, after = 0; ///< and those around it, as of a LoopSlice
  bool isFresh = false;          ///< writes into a new buffer where it would write over an old one, whose halo is read
  bool carries = false;          ///< what the iteration before has computed of it is kept, not computed again
  bool fromStart = false;        ///< as of a LoopSlice
  bool hasHalo() const { return before != 0 || after != 0; }
};

/// What the member computes in one iteration, as one that carries nothing.
inline ChunkMember computed(ChunkMember member) {
  if (member.carries) {
    member.before = -member.after;
    member.fromStart = true;
    member.carries = false;
  }
  return member;
}

inline bool isAccumulated(const ChunkNode &node, const ChunkMember &member) {
  return member.dim >= 0 && node.accumulates[member.dim];
}

/// The slice of the operand or result that the iterations which the member says take: of what is there of a result, the
/// member itself says, of what is computed and read for it, computed(member).
inline LoopSlice sliceOf(const ChunkUse &use, const ChunkMember &member) {
  if (member.dim < 0 || use.access.empty() || use.access[member.dim].position < 0)
    return {};
  const DimAccess &access = use.access[member.dim];
  return {access.position, access.scale * member.scale, access.scale * member.before - access.offset,
          access.scale * member.after + access.window - access.scale + access.offset, member.fromStart};
}

/// Elements of a slice of `extent` in all, for `size` iterations of the loop: the most there are.
inline int64_t lengthOf(const LoopSlice &slice, int64_t size, int64_t extent) {
  int64_t before = slice.fromStart ? std::max<int64_t>(slice.before, 0) : slice.before;
  return std::min(size * slice.scale + before + slice.after, extent);
}

/// Bytes of what one iteration keeps of a member that carries for the next one.
inline int64_t carriedBytes(const ChunkProblem &problem, const ChunkMember &member) {
  const ChunkUse &result = problem.nodes[member.node].results[0];
  const ChunkValue &value = problem.values[result.value];
  if (value.buffer < 0 || problem.buffers[value.buffer].bytes == 0)
    return 0;
  int64_t bytes = value.elementBytes * (member.before + member.after);
  for (size_t dim = 0; dim < value.extents.size(); ++dim)
    if (static_cast<int>(dim) != result.access[member.dim].position)
      bytes *= value.extents[dim];
  return (bytes + problem.alignment - 1) / problem.alignment * problem.alignment;
}

/// A loop over [0, extent) in steps of `size` with all members in its body, in order. Of the nodes of [first, last]
/// that are no members, those in `after` need its results and follow it, the others precede it. In a plan there are
/// none.
struct ChunkLoop {
  std::vector<ChunkMember> members;
  std::vector<int> after;
  std::vector<std::pair<int, int>> inPlace; ///< (value made in the loop, dying value whose buffer it takes)
  int first = 0, last = 0;
  int64_t extent = 0, size = 0;
  int64_t tile = 1;
  /// Where the body has loops of its own: bytes of the arena that its own buffers take with them, and seconds that they
  /// add to an iteration. -1: it has none.
  int64_t bodyPeak = -1;
  double bodyTime = 0;
};

} // namespace snug

#endif
