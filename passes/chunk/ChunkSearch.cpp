// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/ChunkSearch.h"
#include "passes/chunk/Blocks.h"
#include "passes/chunk/GrowRegion.h"
#include "passes/chunk/PlanCost.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

using namespace snug;

namespace {
constexpr int kWindow = 64; // nodes that compute, to each side of the peak
constexpr size_t kCuts = 10; // window ends to each side

class Search {
public:
  Search(const ChunkProblem &problem, int64_t budget, const Machine &machine, int threads)
      : problem(problem), budget(budget), cost(this->problem, machine, threads), kinds(nodeKinds(problem)) {
    order.resize(problem.nodes.size());
    std::iota(order.begin(), order.end(), 0);
  }

  ChunkPlan run();

private:
  struct Candidate {
    ChunkLoop loop;
    std::vector<size_t> dropped; // loops it stands in for
    Peak peak;                   // over all it changes
    double time = 0;             // more than now
  };

  std::vector<int> cuts(int node, int step) const;
  std::vector<std::pair<int, int>> seeds(int node) const;
  bool improve(const Peak &peak);
  std::optional<Candidate> best(const Peak &peak);
  void overlapping(Candidate &candidate, int &from, int &to) const;
  void accept(const Candidate &candidate);
  void enlarge();

  ChunkProblem problem;
  int64_t budget;
  PlanCost cost;                      // of plans for the problem
  std::vector<int> order;             // of the nodes
  std::vector<size_t> kinds;          // of the nodes
  std::vector<ChunkLoop> loops;
  int64_t candidates = 0, blocks = 0, distinctBlocks = 0;
};
} // namespace

// Where a window may end: the nearest places, and each place that fewer bytes cross than all nearer ones.
std::vector<int> Search::cuts(int node, int step) const {
  std::vector<int> ends;
  int64_t least = std::numeric_limits<int64_t>::max();
  int computing = 0, near = 0;
  for (int at = node; at >= 0 && at < static_cast<int>(problem.nodes.size()); at += step) {
    if (problem.nodes[at].buffers.empty() && at != node)
      continue;
    int64_t crossing = cost.crossing(step < 0 ? at : at + 1);
    if (near < 4 || crossing < least) {
      ends.push_back(at);
      ++near;
    }
    least = std::min(least, crossing);
    if (++computing >= kWindow || ends.size() >= kCuts)
      break;
  }
  return ends;
}

// Nodes and dims to start from: the node at the peak, and who makes or last reads the largest buffers there.
std::vector<std::pair<int, int>> Search::seeds(int node) const {
  std::vector<int> nodes{node};
  std::vector<int> large;
  for (size_t id = 0; id < problem.buffers.size(); ++id) {
    const ChunkBuffer &buffer = problem.buffers[id];
    if (!buffer.nodes.empty() && buffer.nodes.front() <= node && buffer.nodes.back() >= node)
      large.push_back(id);
  }
  std::sort(large.begin(), large.end(), [&](int a, int b) {
    return std::make_pair(-problem.buffers[a].bytes, a) < std::make_pair(-problem.buffers[b].bytes, b);
  });
  large.resize(std::min<size_t>(large.size(), 3));
  for (int id : large)
    for (int end : {problem.buffers[id].nodes.front(), problem.buffers[id].nodes.back()})
      if (std::find(nodes.begin(), nodes.end(), end) == nodes.end())
        nodes.push_back(end);
  std::vector<std::pair<int, int>> result;
  for (int n : nodes)
    for (size_t dim = 0; dim < problem.nodes[n].parallel.size(); ++dim)
      if (problem.nodes[n].parallel[dim] && problem.nodes[n].extents[dim] > 1)
        result.push_back({n, static_cast<int>(dim)});
  return result;
}

// Which loops the candidate stands in for, and the nodes that its plan changes.
void Search::overlapping(Candidate &candidate, int &from, int &to) const {
  from = candidate.loop.first;
  to = candidate.loop.last;
  candidate.dropped.clear();
  for (size_t i = 0; i < loops.size(); ++i)
    if (loops[i].first <= candidate.loop.last && loops[i].last >= candidate.loop.first) {
      candidate.dropped.push_back(i);
      candidate.time -= cost.timeOf(loops[i]);
      from = std::min(from, loops[i].first);
      to = std::max(to, loops[i].last);
    }
}

// The loop that lowers the peak at this node: the fastest that fits, else the one that lowers it most.
std::optional<Search::Candidate> Search::best(const Peak &peak) {
  std::vector<Candidate> found;
  std::set<std::vector<int64_t>> seen;
  std::vector<int> firsts = cuts(peak.node, -1), lasts = cuts(peak.node, 1);
  for (auto [seed, dim] : seeds(peak.node))
    for (int first : firsts)
      for (int last : lasts) {
        if (seed < first || seed > last)
          continue;
        std::optional<ChunkLoop> loop = growRegion(problem, seed, dim, first, last);
        if (!loop || loop->first > peak.node || loop->last < peak.node)
          continue;
        std::vector<int64_t> key;
        for (const ChunkMember &m : loop->members)
          key.insert(key.end(), {m.node, m.dim, m.scale});
        if (!seen.insert(key).second)
          continue;
        Candidate candidate;
        candidate.loop = *loop;
        int from, to;
        overlapping(candidate, from, to);
        double freed = candidate.time;
        std::vector<ChunkLoop> kept{*loop};
        for (int64_t size : candidateChunkSizes(loop->extent, loop->tile)) {
          ++candidates;
          candidate.loop.size = kept[0].size = size;
          candidate.peak = cost.peakOfRange(from, to, kept);
          candidate.time = cost.timeOf(candidate.loop) + freed;
          if (candidate.peak.bytes < peak.bytes)
            found.push_back(candidate);
        }
      }
  if (found.empty())
    return std::nullopt;
  std::vector<PlanPoint> points;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < found.size(); ++i) {
    points.push_back({found[i].time, found[i].peak.bytes, static_cast<int32_t>(i)});
    least = std::min(least, found[i].peak.bytes);
  }
  return found[selectFastestThatFits(points, std::max(budget, least))->id];
}

// Puts the loop into the plan, and its members side by side: what is before or behind them is then free for other loops.
void Search::accept(const Candidate &candidate) {
  for (auto it = candidate.dropped.rbegin(); it != candidate.dropped.rend(); ++it)
    loops.erase(loops.begin() + *it);
  ChunkLoop loop = candidate.loop;
  std::set<int> after(loop.after.begin(), loop.after.end()), members;
  for (const ChunkMember &m : loop.members)
    members.insert(m.node);
  std::vector<int> placed;
  for (int node = loop.first; node <= loop.last; ++node)
    if (!members.count(node) && !after.count(node))
      placed.push_back(node);
  int start = loop.first + static_cast<int>(placed.size());
  placed.insert(placed.end(), members.begin(), members.end());
  placed.insert(placed.end(), after.begin(), after.end());
  reorder(problem, loop.first, placed);
  std::vector<int> previous(order);
  for (size_t i = 0; i < placed.size(); ++i)
    order[loop.first + i] = previous[placed[i]];
  for (size_t i = 0; i < loop.members.size(); ++i)
    loop.members[i].node = start + static_cast<int>(i);
  loop.first = start;
  loop.last = start + static_cast<int>(loop.members.size()) - 1;
  loop.after.clear();
  loops.push_back(loop);
  ++blocks;
}

// Adds the loop that lowers the peak at this node, and the same one in all blocks that are the same.
bool Search::improve(const Peak &peak) {
  std::optional<Candidate> found = best(peak);
  if (!found)
    return false;
  ++distinctBlocks;
  std::vector<ChunkLoop> same{found->loop};
  for (int node = 0; node < static_cast<int>(kinds.size()); ++node) {
    int shift = node - peak.node;
    if (shift != 0 && kinds[node] == kinds[peak.node] && cost.unchunked(node) > budget &&
        isSameBlock(problem, kinds, found->loop.first, found->loop.last, shift))
      same.push_back(shifted(problem, found->loop, shift));
  }
  for (size_t i = 0; i < same.size(); ++i) {
    Candidate candidate;
    candidate.loop = same[i];
    int from, to;
    overlapping(candidate, from, to);
    bool free = true; // of blocks that overlap the first one counts
    for (size_t j = 0; j < i; ++j)
      free = free && (same[j].last < same[i].first || same[j].first > same[i].last);
    if (i == 0 || (free && cost.peakOfRange(from, to, {candidate.loop}).bytes <= found->peak.bytes))
      accept(candidate);
  }
  cost.measure();
  kinds = nodeKinds(problem);
  return true;
}

// A loop chosen while others were missing may be smaller than the budget asks for.
void Search::enlarge() {
  int last = static_cast<int>(problem.nodes.size()) - 1;
  for (ChunkLoop &loop : loops) {
    int64_t limit = std::max(budget, cost.peakOfRange(0, last, loops).bytes);
    for (int64_t size : candidateChunkSizes(loop.extent, loop.tile)) {
      if (size <= loop.size)
        break;
      ChunkLoop larger = loop;
      larger.size = size;
      if (cost.peakOf(larger).bytes <= limit && cost.timeOf(larger) < cost.timeOf(loop)) {
        loop = larger;
        break;
      }
    }
  }
}

ChunkPlan Search::run() {
  ChunkPlan plan;
  int last = static_cast<int>(problem.nodes.size()) - 1;
  plan.unchunkedPeak = last < 0 ? 0 : cost.peakOfRange(0, last, {}).bytes;
  plan.unchunkedTime = cost.unchunkedTime();
  for (const ChunkNode &node : problem.nodes)
    plan.ops += !node.isView && (!node.buffers.empty() || node.flops != 0);
  Peak peak;
  // Each round lowers the bytes at one peak and raises none above it, so this ends; the limit is a safeguard.
  for (size_t round = 0; last >= 0 && round < 4 * problem.nodes.size() + 4; ++round) {
    peak = cost.peakOfRange(0, last, loops);
    if (peak.bytes <= budget || !improve(peak))
      break;
  }
  if (last >= 0) {
    enlarge();
    peak = cost.peakOfRange(0, last, loops);
  }
  std::sort(loops.begin(), loops.end(), [](const ChunkLoop &a, const ChunkLoop &b) { return a.first < b.first; });
  plan.peak = peak.bytes;
  plan.peakNode = peak.node;
  plan.time = plan.unchunkedTime;
  for (const ChunkLoop &loop : loops)
    plan.time += cost.timeOf(loop);
  plan.loops = loops;
  plan.candidates = candidates;
  plan.blocks = blocks;
  plan.distinctBlocks = distinctBlocks;
  plan.order = std::move(order);
  plan.problem = std::move(problem);
  return plan;
}

ChunkPlan snug::searchChunks(const ChunkProblem &problem, int64_t budget, const Machine &machine, int threads) {
  ChunkPlan plan = Search(problem, budget, machine, threads).run();
  if (plan.peak <= budget || budget == 0)
    return plan;
  // The fast choices led to a dead end: then the ones that save most.
  ChunkPlan least = Search(problem, 0, machine, threads).run();
  least.candidates += plan.candidates;
  return least;
}
