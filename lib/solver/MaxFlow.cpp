// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/MaxFlow.h"

#include <algorithm>

using namespace snug;

int FlowNetwork::addVertex() {
  out.emplace_back();
  return static_cast<int>(out.size()) - 1;
}

int FlowNetwork::addEdge(int from, int to, int64_t capacity) {
  int edge = static_cast<int>(edges.size());
  edges.push_back({to, capacity});
  edges.push_back({from, 0});
  out[from].push_back(edge);
  out[to].push_back(edge + 1);
  return edge;
}

bool FlowNetwork::findLevels(int source, int sink) {
  level.assign(out.size(), -1);
  level[source] = 0;
  std::vector<int> queue{source};
  for (size_t i = 0; i < queue.size(); ++i)
    for (int edge : out[queue[i]])
      if (edges[edge].left > 0 && level[edges[edge].to] < 0) {
        level[edges[edge].to] = level[queue[i]] + 1;
        queue.push_back(edges[edge].to);
      }
  return level[sink] >= 0;
}

// Along one path of the levels, found without recursion: networks may be deep. 0 if there is none left.
int64_t FlowNetwork::push(int source, int sink) {
  std::vector<int> path;
  int vertex = source;
  while (vertex != sink) {
    std::vector<int> &from = out[vertex];
    size_t &i = next[vertex];
    while (i < from.size() && (edges[from[i]].left == 0 || level[edges[from[i]].to] != level[vertex] + 1))
      ++i;
    if (i < from.size()) {
      path.push_back(from[i]);
      vertex = edges[from[i]].to;
      continue;
    }
    if (path.empty())
      return 0;
    vertex = edges[path.back() ^ 1].to;
    path.pop_back();
    ++next[vertex]; // a dead end
  }
  int64_t flow = kUnlimited;
  for (int edge : path)
    flow = std::min(flow, edges[edge].left);
  for (int edge : path) {
    edges[edge].left -= flow;
    edges[edge ^ 1].left += flow;
  }
  return flow;
}

int64_t FlowNetwork::augment(int source, int sink) {
  int64_t flow = 0;
  while (findLevels(source, sink)) {
    next.assign(out.size(), 0);
    while (int64_t pushed = push(source, sink))
      flow += pushed;
  }
  return flow;
}
