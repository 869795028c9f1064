// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where the nodes of a window stand towards a loop that grows in it, and which of them may join.
#ifndef SNUG_PASSES_CHUNK_PLACEMENT_H
#define SNUG_PASSES_CHUNK_PLACEMENT_H

#include "passes/chunk/ChunkProblem.h"

namespace snug {

enum class Place { Open, Loop, Before, After };

/// Steps can be taken back, since what a node brings with it may turn out not to join.
class Placement {
public:
  Placement(const ChunkProblem &problem, int first, int last)
      : problem(problem), first(first), last(last), steps(last - first + 1) {}

  bool inWindow(int node) const { return node >= first && node <= last; }
  Place place(int node) const { return steps[node - first].place; }
  const ChunkMember &member(int node) const { return steps[node - first].member; }
  bool inLoop(int node) const { return inWindow(node) && place(node) == Place::Loop; }

  void put(int node, Place place) { set(node, {place, {}}); }
  /// Into the loop, or as another member of it.
  void join(const ChunkMember &member) { set(member.node, {Place::Loop, member}); }
  size_t mark() const { return undone.size(); }
  void goBack(size_t mark);
  void clear();

  /// Whether what the node computes is not for the loop alone.
  bool leaves(int node) const;
  /// Whether a loop of this extent may have the member: with a halo, what leaves must still be made as a whole.
  bool isLegal(const ChunkMember &member, int64_t extent) const;

private:
  struct Step {
    Place place = Place::Open;
    ChunkMember member;
  };
  void set(int node, const Step &step) {
    undone.push_back({node, steps[node - first]});
    steps[node - first] = step;
  }

  const ChunkProblem &problem;
  int first, last;
  std::vector<Step> steps; // by node
  std::vector<std::pair<int, Step>> undone;
};

/// Whether the member's smallest iteration does without half of what it computes. Else it is better there once, as a
/// whole, before the loop.
bool isWorthwhile(const ChunkProblem &problem, const ChunkMember &member);

/// Whether what iterations share can be kept: a tensor that the member makes anew, and whose rows are known.
bool mayCarry(const ChunkProblem &problem, const ChunkMember &member);

/// Whether the loop may have chunks of this size: its last iteration, too, must have something new to compute.
bool mayHaveSize(const ChunkProblem &problem, const ChunkLoop &loop, int64_t size);

} // namespace snug

#endif
