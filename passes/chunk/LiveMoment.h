// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is live at a moment of any plan: one at which some elements of the program's tensors are done for sure, and some
// for sure are not.
#ifndef SNUG_PASSES_CHUNK_LIVEMOMENT_H
#define SNUG_PASSES_CHUNK_LIVEMOMENT_H

#include "passes/chunk/ElementGraph.h"

#include <map>

namespace snug {

/// A set of boxes of an ElementGraph.
class Boxes {
public:
  explicit Boxes(int count) : bits(count / 64 + 1) {}
  bool has(int i) const { return bits[i / 64] >> (i % 64) & 1; }
  void add(int i) { bits[i / 64] |= uint64_t(1) << (i % 64); }
  void remove(int i) { bits[i / 64] &= ~(uint64_t(1) << (i % 64)); }
  void add(const Boxes &other) {
    for (size_t i = 0; i < bits.size(); ++i)
      bits[i] |= other.bits[i];
  }
  bool operator!=(const Boxes &other) const { return bits != other.bits; }

private:
  std::vector<uint64_t> bits;
};

class LiveMoment {
public:
  explicit LiveMoment(const ChunkProblem &problem, const std::vector<ElementCut> &cuts = {},
                      const std::vector<std::pair<int, int>> &unknown = {});

  /// The boxes that are done before any element of the node is. With a position, when some of each slab before `end` is
  /// or is about to be.
  Boxes doneBefore(int node, int position, int64_t end);
  Boxes boxesOf(int node) const;
  /// The boxes of which no element is done before one of these of the node is.
  Boxes notDone(int node, Boxes first) const;
  /// The boxes that are done, and that something not done is computed from, maybe through what is computed anew.
  std::vector<int> liveAfter(const Boxes &done) const;
  /// What a kernel reads for one element is there at once, whole or in slices: of each operand the share of its
  /// elements that no flow goes through (by box; none if empty), but only once what may be in one place.
  int64_t readAtOnce(int node, const std::vector<double> &share) const;
  /// Bytes live before the first element of the node that is not done is computed.
  int64_t boundAt(int node, const Boxes &done, const Boxes &later) const;
  /// Whether the node computes what somebody needs, in a place that may not be just where others write.
  bool isComputed(int node) const { return isNeeded[node] && !isMove[node]; }

  const ChunkProblem &problem;
  ElementGraph graph;

private:
  struct Edge {
    int read, to; ///< box of the result
    bool isRegular;
  };

  void findKinds();
  void findCallers();
  void findEdges();
  const Boxes &doneFor(int value, const Coverage &coverage);
  bool sums(int node) const;
  bool inOutput(int value) const { return isOutput[problem.values[value].buffer]; }
  int64_t callersOf(int value) const {
    int shape = problem.values[value].shape;
    return shape < 0 ? 0 : callerBytes[shapeClass[shape]];
  }

  std::vector<bool> isNeeded; ///< nodes
  std::vector<bool> isMove;   ///< nodes that may be no more than a place where others write
  std::vector<bool> isKept;   ///< boxes: what is done is not done again, nor in the place of what it is made from
  std::vector<bool> isOutput; ///< buffers: the caller's, to the end
  std::vector<int> shapeClass;
  std::vector<int64_t> callerBytes;     ///< by class of shapes: of the buffers of a caller in which they may be
  std::vector<std::vector<Edge>> edges; ///< by box
  std::vector<int> byProducer;          ///< boxes, the last node's first
  std::map<std::pair<int, Coverage>, Boxes> done;
};

} // namespace snug

#endif
