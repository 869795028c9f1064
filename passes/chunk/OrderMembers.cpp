// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/OrderMembers.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

using namespace snug;

namespace {
class Order {
public:
  Order(const ChunkProblem &problem, const ChunkLoop &loop) : problem(problem), loop(loop) {
    std::map<int, int> placeOf; // of nodes
    for (size_t i = 0; i < loop.members.size(); ++i)
      placeOf[loop.members[i].node] = static_cast<int>(i);
    waitsFor.resize(loop.members.size());
    std::map<int, std::vector<int>> touching; // by buffer
    for (size_t i = 0; i < loop.members.size(); ++i) {
      const ChunkNode &node = problem.nodes[loop.members[i].node];
      for (const ChunkUse &use : node.uses)
        if (auto producer = placeOf.find(problem.values[use.value].producer); producer != placeOf.end())
          waitsFor[i].insert(producer->second);
      for (int buffer : node.buffers) {
        // Who writes stays behind all that touched the buffer before, and the others behind who wrote last.
        std::vector<int> &before = touching[buffer];
        bool writes = writesTo(problem, loop.members[i].node, buffer);
        for (int other : before)
          if (other != static_cast<int>(i) && (writes || writesTo(problem, loop.members[other].node, buffer)))
            waitsFor[i].insert(other);
        before.push_back(static_cast<int>(i));
      }
    }
    for (auto &[buffer, places] : touching) {
      const std::vector<int> &nodes = problem.buffers[buffer].nodes;
      if (!std::all_of(nodes.begin(), nodes.end(), [&](int node) { return placeOf.count(node); }))
        continue; // there as long as the loop
      bytes[buffer] = sliceBytes(problem, buffer, loop.members[places.front()], loop.size);
      left[buffer] = static_cast<int>(places.size());
    }
  }

  // Always the one with the fewest bytes live after it.
  std::vector<ChunkMember> run() {
    std::vector<ChunkMember> result;
    std::vector<bool> done(loop.members.size(), false);
    std::set<int> live;
    while (result.size() < loop.members.size()) {
      std::tuple<int64_t, int64_t, int> best{0, 0, -1};
      for (int i = 0; i < static_cast<int>(loop.members.size()); ++i) {
        if (done[i] || !std::all_of(waitsFor[i].begin(), waitsFor[i].end(), [&](int other) { return done[other]; }))
          continue;
        int64_t added = 0, freed = 0;
        for (int buffer : problem.nodes[loop.members[i].node].buffers)
          if (auto known = bytes.find(buffer); known != bytes.end()) {
            added += live.count(buffer) ? 0 : known->second;
            freed += left[buffer] == 1 ? known->second : 0;
          }
        std::tuple<int64_t, int64_t, int> here{added - freed, added, i};
        if (std::get<2>(best) < 0 || here < best)
          best = here;
      }
      int next = std::get<2>(best);
      if (next < 0)
        return loop.members; // no order is known to be right but the one there is
      done[next] = true;
      result.push_back(loop.members[next]);
      for (int buffer : problem.nodes[loop.members[next].node].buffers)
        if (bytes.count(buffer)) {
          live.insert(buffer);
          --left[buffer];
        }
    }
    return result;
  }

private:
  const ChunkProblem &problem;
  const ChunkLoop &loop;
  std::vector<std::set<int>> waitsFor; // by place in the loop
  std::map<int, int64_t> bytes;        // of the body's own buffers
  std::map<int, int> left;             // members that are still to touch it
};
} // namespace

void snug::orderMembers(const ChunkProblem &problem, const PlanCost &cost, ChunkLoop &loop) {
  if (loop.bodyPeak >= 0)
    return; // its body is a plan of its own
  ChunkLoop other = loop;
  other.members = Order(problem, loop).run();
  if (cost.peakOf(other).bytes < cost.peakOf(loop).bytes)
    loop = std::move(other);
}
