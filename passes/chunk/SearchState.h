// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the chunk search knows of a problem whose nodes are in one order, whatever the budget: the regions around each
// peak, and what a loop over each costs.
#ifndef SNUG_PASSES_CHUNK_SEARCHSTATE_H
#define SNUG_PASSES_CHUNK_SEARCHSTATE_H

#include "passes/chunk/Blocks.h"
#include "passes/chunk/ChunkSearch.h"
#include "passes/chunk/PlanCost.h"

#include <deque>
#include <map>
#include <optional>
#include <tuple>

namespace snug {

/// A region around a peak, as a loop of each size worth trying.
struct PricedRegion {
  struct Choice {
    int64_t size = 0;
    Peak peak;                  ///< inside of [loop.first, loop.last]
    std::optional<double> time; ///< what the loop adds, once it was asked for
    std::unique_ptr<ChunkSearch> body; ///< once it was asked for
  };
  ChunkLoop loop; ///< without a size
  std::vector<Choice> choices; ///< by falling size

  ChunkLoop at(const Choice &choice) const {
    ChunkLoop sized = loop;
    sized.size = choice.size;
    return sized;
  }
};

class SearchState {
public:
  SearchState(ChunkProblem problem, std::vector<size_t> kinds, const Machine &machine, int threads);

  const ChunkProblem &problem() const { return nodes; }
  const PlanCost &cost() const { return costs; }
  /// Of the nodes, as nodeKinds() says.
  const std::vector<size_t> &kinds() const { return nodeKinds; }

  /// As isSameBlock() of the nodes.
  bool isSameBlock(int first, int last, int shift);

  /// The different regions with the node inside, those that compute something anew in each iteration or the others;
  /// with or without halos and sums in parts.
  std::deque<PricedRegion> &regions(int node, bool recomputes, bool allKinds);
  double timeOf(const PricedRegion &region, PricedRegion::Choice &choice) const;
  /// The search for loops in the body of this loop.
  ChunkSearch &bodyOf(const PricedRegion &region, PricedRegion::Choice &choice) const;

private:
  std::vector<int> cuts(int node, int step) const;
  std::vector<std::pair<int, int>> seeds(int node) const;

  ChunkProblem nodes;
  const Machine &machine;
  int threads;
  PlanCost costs;
  std::vector<size_t> nodeKinds;
  std::map<std::tuple<int, bool, bool>, std::deque<PricedRegion>> known;
  std::map<std::tuple<int, int, int>, bool> same;
};

/// The states of one problem, by the order of its nodes.
class SearchMemory {
public:
  SearchMemory(ChunkProblem problem, const Machine &machine, int threads)
      : given(std::move(problem)), kinds(nodeKinds(given)), machine(machine), threads(threads) {}

  const ChunkProblem &problem() const { return given; }
  /// The problem with its nodes in this order.
  SearchState &state(const std::vector<int> &order);

private:
  const ChunkProblem given;
  const std::vector<size_t> kinds; // of its nodes
  const Machine &machine;
  int threads;
  std::map<std::vector<int>, std::unique_ptr<SearchState>> states;
};

} // namespace snug

#endif
