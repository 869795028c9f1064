// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The largest flow, against the least cut of all there are.
#include "lib/solver/MaxFlow.h"
#include "gtest/gtest.h"

#include <random>

using namespace snug;

namespace {
struct Edge {
  int from, to;
  int64_t capacity;
};

int64_t leastCut(int vertices, const std::vector<Edge> &edges) {
  int64_t least = FlowNetwork::kUnlimited;
  for (unsigned side = 0; side < 1u << vertices; ++side) {
    if (!(side & 1) || side >> 1 & 1)
      continue; // the source is vertex 0, the sink 1
    int64_t cut = 0;
    for (const Edge &edge : edges)
      if (side >> edge.from & 1 && !(side >> edge.to & 1))
        cut += edge.capacity;
    least = std::min(least, cut);
  }
  return least;
}

TEST(MaxFlow, IsTheLeastCut) {
  std::mt19937 random(1);
  auto pick = [&](int first, int last) { return std::uniform_int_distribution<int>(first, last)(random); };
  for (int attempt = 0; attempt < 300; ++attempt) {
    int vertices = pick(2, 8);
    std::vector<Edge> edges;
    FlowNetwork network;
    for (int v = 0; v < vertices; ++v)
      network.addVertex();
    int64_t flow = 0;
    std::vector<int> ids;
    // In two parts: what is added goes on from the flow there is.
    for (int part = 0; part < 2; ++part) {
      for (int i = pick(0, 12); i > 0; --i) {
        edges.push_back({pick(0, vertices - 1), pick(0, vertices - 1), pick(0, 9)});
        ids.push_back(network.addEdge(edges.back().from, edges.back().to, edges.back().capacity));
      }
      flow += network.augment(0, 1);
      ASSERT_EQ(flow, leastCut(vertices, edges)) << attempt;
    }
    std::vector<int64_t> excess(vertices, 0);
    for (size_t i = 0; i < edges.size(); ++i) {
      int64_t through = network.flowOf(ids[i]);
      EXPECT_TRUE(through >= 0 && through <= edges[i].capacity);
      excess[edges[i].from] -= through;
      excess[edges[i].to] += through;
    }
    for (int v = 0; v < vertices; ++v)
      EXPECT_EQ(excess[v], v == 0 ? -flow : v == 1 ? flow : 0);
  }
}

TEST(MaxFlow, DeepNetworksAreNoTrouble) {
  FlowNetwork network;
  int source = network.addVertex(), vertex = source;
  for (int i = 0; i < 200000; ++i) {
    int next = network.addVertex();
    network.addEdge(vertex, next, i % 2 ? FlowNetwork::kUnlimited : 7);
    vertex = next;
  }
  EXPECT_EQ(network.augment(source, vertex), 7);
}
} // namespace
