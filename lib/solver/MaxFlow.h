// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The largest flow between two vertices of a network, by Dinic's algorithm: blocking flows along shortest paths. Edges
// may be added between runs; the flow goes on from what it was.
#ifndef SNUG_LIB_SOLVER_MAXFLOW_H
#define SNUG_LIB_SOLVER_MAXFLOW_H

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace snug {

class FlowNetwork {
public:
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max() / 4;

  int addVertex();
  /// Returns the edge's index.
  int addEdge(int from, int to, int64_t capacity);
  /// Adds to the flow until none is left to add; returns what is added.
  int64_t augment(int source, int sink);
  int64_t flowOf(int edge) const { return edges[edge ^ 1].left; }

private:
  struct Edge {
    int to;
    int64_t left; ///< of its capacity
  };
  bool findLevels(int source, int sink);
  int64_t push(int source, int sink);

  std::vector<Edge> edges; ///< each before its reverse
  std::vector<std::vector<int>> out;
  std::vector<int> level;
  std::vector<size_t> next; ///< edge of each vertex to look at
};

} // namespace snug

#endif
