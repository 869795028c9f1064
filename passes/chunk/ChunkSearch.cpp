// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/ChunkSearch.h"
#include "passes/chunk/Blocks.h"
#include "passes/chunk/GrowRegion.h"
#include "passes/chunk/LoopBody.h"
#include "passes/chunk/PlanCost.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

using namespace snug;

namespace {
constexpr int kWindow = 64;          // nodes that compute, to each side of the peak
constexpr size_t kCuts = 10;         // window ends to each side
constexpr double kNoticeable = 1.02; // what a plan may cost before others are tried

class Search {
public:
  Search(const ChunkProblem &problem, int64_t budget, const Machine &machine, int threads, int levels, bool allKinds)
      : problem(problem), budget(budget), machine(machine), threads(threads), levels(levels), allKinds(allKinds),
        cost(this->problem, machine, threads), kinds(nodeKinds(problem)) {
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
  std::vector<ChunkLoop> regions(const Peak &peak, bool recomputes) const;
  void tryNested(const Peak &peak, const ChunkLoop &region, std::vector<Candidate> &found);
  bool price(Candidate &candidate, const Peak &before);
  void overlapping(Candidate &candidate, int &from, int &to) const;
  void accept(const Candidate &candidate);
  void enlarge();

  ChunkProblem problem;
  int64_t budget;
  const Machine &machine;
  int threads, levels;
  bool allKinds;             // of loops: those with halos and sums, too
  PlanCost cost;             // of plans for the problem
  std::vector<int> order;    // of the nodes
  std::vector<size_t> kinds; // of the nodes
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

// Peak and time of a plan with the candidate in it. True if it is a step forward from `before`.
bool Search::price(Candidate &candidate, const Peak &before) {
  ++candidates;
  int from, to;
  candidate.time = 0;
  overlapping(candidate, from, to);
  candidate.peak = cost.peakOfRange(from, to, {candidate.loop});
  candidate.time += cost.timeOf(candidate.loop);
  return candidate.peak.bytes < before.bytes;
}

// The different regions around the peak.
std::vector<ChunkLoop> Search::regions(const Peak &peak, bool recomputes) const {
  std::vector<ChunkLoop> result;
  std::set<std::vector<int64_t>> seen;
  auto isNew = [&](const ChunkLoop &loop) {
    std::vector<int64_t> key;
    bool hasInvariant = false;
    for (const ChunkMember &m : loop.members) {
      key.insert(key.end(), {m.node, m.dim, m.scale, m.before, m.after});
      hasInvariant = hasInvariant || m.dim < 0;
    }
    return recomputes == hasInvariant && seen.insert(key).second;
  };
  std::vector<int> firsts = cuts(peak.node, -1), lasts = cuts(peak.node, 1);
  for (auto [seed, dim] : seeds(peak.node))
    for (int first : firsts)
      for (int last : lasts) {
        if (seed < first || seed > last)
          continue;
        GrowOptions options;
        options.recomputes = recomputes;
        options.allKinds = allKinds;
        int64_t coarser;
        do {
          std::optional<ChunkLoop> loop = growRegion(problem, seed, dim, first, last, options, &coarser);
          if (loop && loop->first <= peak.node && loop->last >= peak.node && isNew(*loop))
            result.push_back(*loop);
          options.unit *= coarser;
        } while (coarser > 1);
      }
  return result;
}

// The region as a loop whose body has loops: at the largest size that fits; where none does, at the smallest.
void Search::tryNested(const Peak &peak, const ChunkLoop &region, std::vector<Candidate> &found) {
  // A body whose slices overlap is not stated as a problem yet.
  if (std::any_of(region.members.begin(), region.members.end(),
                  [](const ChunkMember &m) { return m.hasHalo() || m.isFresh; }))
    return;
  auto atSize = [&](int64_t size) -> std::optional<Candidate> {
    Candidate candidate;
    candidate.loop = region;
    candidate.loop.size = size;
    candidate.loop.bodyPeak = 0;
    if (!price(candidate, peak))
      return std::nullopt;
    int64_t rest = std::max<int64_t>(0, budget - candidate.peak.bytes);
    ChunkPlan body = searchChunks(bodyOf(problem, candidate.loop), rest, machine, threads, levels - 1);
    candidates += body.candidates;
    candidate.loop.bodyPeak = body.peak;
    candidate.loop.bodyTime = body.time - body.unchunkedTime;
    bool isStep = price(candidate, peak);
    return isStep && !body.loops.empty() ? std::optional(candidate) : std::nullopt;
  };
  std::vector<int64_t> sizes = candidateChunkSizes(region.extent, region.tile);
  std::optional<Candidate> least = sizes.empty() ? std::nullopt : atSize(sizes.back());
  if (!least)
    return;
  found.push_back(*least);
  for (size_t i = 0; i + 1 < sizes.size() && least->peak.bytes <= budget; ++i)
    if (auto larger = atSize(sizes[i])) {
      found.push_back(*larger);
      if (larger->peak.bytes <= budget)
        return;
    }
}

// The loop that lowers the peak at this node: the fastest that fits, else the one that lowers it most.
std::optional<Search::Candidate> Search::best(const Peak &peak) {
  std::vector<Candidate> found;
  int64_t least = peak.bytes;
  auto lower = [&] {
    for (const Candidate &candidate : found)
      least = std::min(least, candidate.peak.bytes);
  };
  // What each iteration computes anew, and loops inside of loops, cost more than loops side by side, which this peak
  // alone does not show: they are tried only with more than one level, and where the rest is not enough.
  std::vector<ChunkLoop> all;
  for (bool recomputes : {false, true}) {
    if (least <= budget || (recomputes && levels < 2))
      break;
    for (const ChunkLoop &region : regions(peak, recomputes)) {
      all.push_back(region);
      for (int64_t size : candidateChunkSizes(region.extent, region.tile)) {
        Candidate candidate;
        candidate.loop = region;
        candidate.loop.size = size;
        if (price(candidate, peak))
          found.push_back(candidate);
      }
    }
    lower();
  }
  if (least > budget && levels > 1)
    for (const ChunkLoop &region : all)
      tryNested({least, peak.node}, region, found);
  lower();
  if (found.empty())
    return std::nullopt;
  std::vector<PlanPoint> points;
  for (size_t i = 0; i < found.size(); ++i)
    points.push_back({found[i].time, found[i].peak.bytes, static_cast<int32_t>(i)});
  return found[selectFastestThatFits(points, std::max(budget, least))->id];
}

// Puts the loop into the plan, and its members side by side: what is before or behind them is then free for other
// loops.
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
    if (loop.bodyPeak >= 0)
      continue; // its body was planned for its size
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
    plan.ops += !node.isView && (!node.buffers.empty() || node.work.any());
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

ChunkPlan snug::searchChunks(const ChunkProblem &problem, int64_t budget, const Machine &machine, int threads,
                             int levels) {
  std::optional<ChunkPlan> best;
  int64_t candidates = 0;
  auto fits = [&](const ChunkPlan &plan) { return plan.peak <= budget; };
  bool hasKinds = false;
  for (const ChunkNode &node : problem.nodes) {
    hasKinds = hasKinds || std::count(node.accumulates.begin(), node.accumulates.end(), true) > 0;
    for (const ChunkUse &use : node.uses)
      hasKinds = hasKinds || std::any_of(use.access.begin(), use.access.end(), [](const DimAccess &access) {
                   return access.window != access.scale || access.offset != 0;
                 });
  }
  auto attempt = [&](int64_t aim, int depth, bool allKinds) {
    ChunkPlan plan = Search(problem, aim, machine, threads, depth, allKinds).run();
    candidates += plan.candidates;
    if (!best || (fits(plan) && fits(*best) ? plan.time < best->time : plan.peak < best->peak))
      best = std::move(plan);
  };
  // More levels and kinds are more ways to a fast plan, and more into a dead end; and loops that make sums in parts change
  // their last bits.
  for (bool allKinds : {false, true})
    for (int depth = 1; depth <= levels; ++depth)
      if (allKinds <= hasKinds && (!best || !fits(*best) || best->time > kNoticeable * best->unchunkedTime))
        attempt(budget, depth, allKinds);
  // Where the fast choices did not get there, the ones that save most.
  for (bool allKinds : {false, true})
    for (int depth = 1; depth <= levels && budget > 0; ++depth)
      if (allKinds <= hasKinds && !fits(*best))
        attempt(0, depth, allKinds);
  best->candidates = candidates;
  return *best;
}
