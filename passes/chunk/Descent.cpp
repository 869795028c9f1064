// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/Descent.h"
#include "lib/solver/ChunkSelection.h"
#include "passes/chunk/Blocks.h"
#include "passes/chunk/OrderMembers.h"
#include "passes/chunk/Placement.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

using namespace snug;

namespace {
class Descent {
public:
  Descent(SearchMemory &memory, int64_t budget, int levels, bool allKinds)
      : memory(memory), budget(budget), levels(levels), allKinds(allKinds), order(memory.problem().nodes.size()) {
    std::iota(order.begin(), order.end(), 0);
    state = &memory.state(order);
  }

  ChunkPlan run();

private:
  struct Candidate {
    PricedRegion *region = nullptr;
    PricedRegion::Choice *choice = nullptr;
    std::vector<size_t> dropped; // loops it stands in for
    Peak peak;                   // over all it changes
    int64_t bodyPeak = -1;       // with loops in its body
    double bodyTime = 0;

    ChunkLoop loop() const {
      ChunkLoop loop = region->at(*choice);
      loop.bodyPeak = bodyPeak;
      loop.bodyTime = bodyTime;
      return loop;
    }
  };

  // A loop of the plan. Those of one kind are in blocks that are the same, and cost the same.
  struct Placed {
    ChunkLoop loop;
    int kind;
  };
  struct Kind {
    Peak peak; // over what crosses the loop's start, and nodes behind that
    std::optional<double> time;
  };

  const ChunkProblem &problem() const { return state->problem(); }
  const PlanCost &cost() const { return state->cost(); }
  bool improve(const Peak &peak);
  std::optional<Candidate> best(const Peak &peak);
  void tryNested(const Peak &peak, PricedRegion &region, std::vector<Candidate> &found);
  Peak peakWith(const ChunkLoop &loop, const Peak &own, std::vector<size_t> &dropped) const;
  double timeOf(const Candidate &candidate);
  Kind &kindOf(const Placed &placed);
  Peak peakOf(const Placed &placed);
  double timeOf(const Placed &placed);
  Peak peakOfPlan();
  void accept(const ChunkLoop &loop, const std::vector<size_t> &dropped);
  void enlarge();

  SearchMemory &memory;
  int64_t budget;
  int levels;
  bool allKinds; // of loops: those with halos and sums, too
  std::vector<int> order;
  SearchState *state; // in that order
  std::vector<Placed> loops;
  int numKinds = 0;
  std::map<int, Kind> kinds; // of loops, as they are in the state
  int64_t candidates = 0, blocks = 0, distinctBlocks = 0;
};
} // namespace

// The peak over all that the loop changes, which has `own` itself, and the loops that it stands in for.
Peak Descent::peakWith(const ChunkLoop &loop, const Peak &own, std::vector<size_t> &dropped) const {
  int from = loop.first, to = loop.last;
  dropped.clear();
  for (size_t i = 0; i < loops.size(); ++i)
    if (const ChunkLoop &other = loops[i].loop; other.first <= loop.last && other.last >= loop.first) {
      dropped.push_back(i);
      from = std::min(from, other.first);
      to = std::max(to, other.last);
    }
  Peak peak = own;
  for (int node = from; node <= to; ++node)
    if ((node < loop.first || node > loop.last) && cost().unchunked(node) > peak.bytes)
      peak = {cost().unchunked(node), node};
  return peak;
}

// Seconds that a plan with the candidate in it takes more than now.
double Descent::timeOf(const Candidate &candidate) {
  double time = candidate.bodyPeak < 0 ? state->timeOf(*candidate.region, *candidate.choice)
                                       : cost().timeOf(candidate.loop());
  for (size_t loop : candidate.dropped)
    time -= timeOf(loops[loop]);
  return time;
}

Descent::Kind &Descent::kindOf(const Placed &placed) {
  auto [kind, isNew] = kinds.try_emplace(placed.kind);
  if (isNew) {
    kind->second.peak = cost().peakOf(placed.loop);
    kind->second.peak.bytes -= cost().crossing(placed.loop.first);
    kind->second.peak.node -= placed.loop.first;
  }
  return kind->second;
}

Peak Descent::peakOf(const Placed &placed) {
  const Peak &peak = kindOf(placed).peak;
  return {peak.bytes + cost().crossing(placed.loop.first), peak.node + placed.loop.first};
}

double Descent::timeOf(const Placed &placed) {
  std::optional<double> &time = kindOf(placed).time;
  if (!time)
    time = cost().timeOf(placed.loop);
  return *time;
}

Peak Descent::peakOfPlan() {
  Peak peak;
  std::vector<bool> isInLoop(problem().nodes.size());
  for (const Placed &placed : loops) {
    Peak inner = peakOf(placed);
    if (inner.bytes > peak.bytes)
      peak = inner;
    std::fill(isInLoop.begin() + placed.loop.first, isInLoop.begin() + placed.loop.last + 1, true);
  }
  for (size_t node = 0; node < isInLoop.size(); ++node)
    if (!isInLoop[node] && cost().unchunked(static_cast<int>(node)) > peak.bytes)
      peak = {cost().unchunked(static_cast<int>(node)), static_cast<int>(node)};
  return peak;
}

// The region as a loop whose body has loops: at the largest size that fits; where none does, at the smallest.
void Descent::tryNested(const Peak &peak, PricedRegion &region, std::vector<Candidate> &found) {
  // A body that keeps rows for the next iteration is not stated as a problem yet.
  auto keeps = [](const ChunkMember &m) { return m.carries || m.fromStart; };
  if (region.choices.empty() || std::any_of(region.loop.members.begin(), region.loop.members.end(), keeps))
    return;
  auto atSize = [&](PricedRegion::Choice &choice) -> std::optional<Candidate> {
    ++candidates;
    Candidate candidate;
    candidate.region = &region;
    candidate.choice = &choice;
    candidate.bodyPeak = 0;
    auto price = [&] {
      candidate.peak = peakWith(region.loop, cost().peakOf(candidate.loop()), candidate.dropped);
      return candidate.peak.bytes < peak.bytes;
    };
    if (!price())
      return std::nullopt;
    const ChunkPlan &body =
        state->bodyOf(region, choice).plan(std::max<int64_t>(0, budget - candidate.peak.bytes), levels - 1);
    candidates += body.candidates;
    candidate.bodyPeak = body.peak;
    candidate.bodyTime = body.time - body.unchunkedTime;
    return !body.loops.empty() && price() ? std::optional(candidate) : std::nullopt;
  };
  std::optional<Candidate> least = atSize(region.choices.back());
  if (!least)
    return;
  found.push_back(*least);
  for (size_t i = 0; i + 1 < region.choices.size() && least->peak.bytes <= budget; ++i)
    if (auto larger = atSize(region.choices[i])) {
      found.push_back(*larger);
      if (larger->peak.bytes <= budget)
        return;
    }
}

// The loop that lowers the peak at this node: the fastest that fits, else the one that lowers it most.
std::optional<Descent::Candidate> Descent::best(const Peak &peak) {
  std::vector<Candidate> found;
  int64_t least = peak.bytes;
  auto lower = [&] {
    for (const Candidate &candidate : found)
      least = std::min(least, candidate.peak.bytes);
  };
  // What each iteration computes anew, and loops inside of loops, cost more than loops side by side, which this peak
  // alone does not show: they are tried only with more than one level, and where the rest is not enough.
  std::vector<PricedRegion *> all;
  for (bool recomputes : {false, true}) {
    if (least <= budget || (recomputes && levels < 2))
      break;
    for (PricedRegion &region : state->regions(peak.node, recomputes, allKinds)) {
      all.push_back(&region);
      for (PricedRegion::Choice &choice : region.choices) {
        ++candidates;
        Candidate candidate;
        candidate.region = &region;
        candidate.choice = &choice;
        candidate.peak = peakWith(region.loop, choice.peak, candidate.dropped);
        if (candidate.peak.bytes < peak.bytes)
          found.push_back(std::move(candidate));
      }
    }
    lower();
  }
  if (least > budget && levels > 1)
    for (PricedRegion *region : all) {
      // What is no less than another one is not chosen, unless it fits.
      tryNested({std::max(least, budget + 1), peak.node}, *region, found);
      lower();
    }
  if (found.empty())
    return std::nullopt;
  std::vector<PlanPoint> points;
  int64_t limit = std::max(budget, least);
  for (size_t i = 0; i < found.size(); ++i)
    if (found[i].peak.bytes <= limit) // of the others the time does not matter
      points.push_back({timeOf(found[i]), found[i].peak.bytes, static_cast<int32_t>(i)});
  return found[selectFastestThatFits(points, limit)->id];
}

// Puts the loop into the plan, and its members side by side: what is before or behind them is then free for other
// loops.
void Descent::accept(const ChunkLoop &accepted, const std::vector<size_t> &dropped) {
  for (auto it = dropped.rbegin(); it != dropped.rend(); ++it)
    loops.erase(loops.begin() + *it);
  ChunkLoop loop = accepted;
  std::set<int> after(loop.after.begin(), loop.after.end()), members;
  for (const ChunkMember &m : loop.members)
    members.insert(m.node);
  std::vector<int> placed;
  for (int node = loop.first; node <= loop.last; ++node)
    if (!members.count(node) && !after.count(node))
      placed.push_back(node);
  int start = loop.first + static_cast<int>(placed.size());
  for (const ChunkMember &m : loop.members)
    placed.push_back(m.node);
  placed.insert(placed.end(), after.begin(), after.end());
  std::vector<int> previous(order);
  for (size_t i = 0; i < placed.size(); ++i)
    order[loop.first + i] = previous[placed[i]];
  for (size_t i = 0; i < loop.members.size(); ++i)
    loop.members[i].node = start + static_cast<int>(i);
  loop.first = start;
  loop.last = start + static_cast<int>(loop.members.size()) - 1;
  loop.after.clear();
  loops.push_back({loop, numKinds});
  ++blocks;
}

// Adds the loop that lowers the peak at this node, and the same one in all blocks that are the same.
bool Descent::improve(const Peak &peak) {
  std::optional<Candidate> found = best(peak);
  if (!found)
    return false;
  ++distinctBlocks;
  const std::vector<size_t> &nodeKinds = state->kinds();
  std::vector<ChunkLoop> same{found->loop()};
  orderMembers(problem(), cost(), same[0]);
  for (int node = 0; node < static_cast<int>(nodeKinds.size()); ++node) {
    int shift = node - peak.node;
    if (shift != 0 && nodeKinds[node] == nodeKinds[peak.node] && cost().unchunked(node) > budget &&
        state->isSameBlock(same[0].first, same[0].last, shift))
      same.push_back(shifted(problem(), same[0], shift));
  }
  const Peak own = cost().peakOf(same[0]);
  const int64_t inner = own.bytes - cost().crossing(same[0].first);
  for (size_t i = 0; i < same.size(); ++i) {
    bool free = true; // of blocks that overlap the first one counts
    for (size_t j = 0; j < i; ++j)
      free = free && (same[j].last < same[i].first || same[j].first > same[i].last);
    std::vector<size_t> dropped;
    Peak there{cost().crossing(same[i].first) + inner, own.node + same[i].first - same[0].first};
    if (i == 0 || free)
      there = peakWith(same[i], there, dropped);
    if (i == 0 || (free && there.bytes <= found->peak.bytes))
      accept(same[i], dropped);
  }
  ++numKinds;
  kinds.clear();
  state = &memory.state(order);
  return true;
}

// Loops chosen while others were missing may be smaller than the budget asks for.
void Descent::enlarge() {
  const int64_t limit = std::max(budget, peakOfPlan().bytes);
  std::map<int, std::vector<Placed *>> byKind;
  for (Placed &placed : loops)
    if (placed.loop.bodyPeak < 0) // else its body was planned for its size
      byKind[placed.kind].push_back(&placed);
  for (auto &[kind, same] : byKind) {
    const Placed small = *same.front();
    for (int64_t size : candidateChunkSizes(small.loop.extent, small.loop.tile)) {
      if (size <= small.loop.size || same.empty())
        break;
      ChunkLoop larger = small.loop;
      larger.size = size;
      if (!mayHaveSize(problem(), larger, size) || cost().timeOf(larger) >= timeOf(small))
        continue;
      const int64_t inner = cost().peakOf(larger).bytes - cost().crossing(larger.first);
      auto rest = std::stable_partition(same.begin(), same.end(), [&](const Placed *placed) {
        return inner + cost().crossing(placed->loop.first) > limit;
      });
      for (auto placed = rest; placed != same.end(); ++placed) {
        (*placed)->loop.size = size;
        (*placed)->kind = numKinds;
      }
      ++numKinds;
      same.erase(rest, same.end());
    }
  }
}

ChunkPlan Descent::run() {
  ChunkPlan plan;
  const size_t numNodes = problem().nodes.size();
  Peak peak = peakOfPlan();
  plan.unchunkedPeak = peak.bytes;
  plan.unchunkedTime = cost().unchunkedTime();
  for (const ChunkNode &node : problem().nodes)
    plan.ops += !node.isView && (!node.buffers.empty() || node.work.any());
  // Each round lowers the bytes at one peak and raises none above it, so this ends; the limit is a safeguard.
  for (size_t round = 0; peak.bytes > budget && round < 4 * numNodes + 4 && improve(peak); ++round)
    peak = peakOfPlan();
  enlarge();
  peak = peakOfPlan();
  std::sort(loops.begin(), loops.end(), [](const Placed &a, const Placed &b) { return a.loop.first < b.loop.first; });
  plan.peak = peak.bytes;
  plan.peakNode = peak.node;
  plan.time = plan.unchunkedTime;
  for (Placed &placed : loops) {
    plan.time += timeOf(placed);
    plan.loops.push_back(std::move(placed.loop));
  }
  plan.candidates = candidates;
  plan.blocks = blocks;
  plan.distinctBlocks = distinctBlocks;
  plan.order = std::move(order);
  return plan;
}

ChunkPlan snug::descend(SearchMemory &memory, int64_t budget, int levels, bool allKinds) {
  return Descent(memory, budget, levels, allKinds).run();
}
