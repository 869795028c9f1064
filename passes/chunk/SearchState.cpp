// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/SearchState.h"
#include "lib/solver/ChunkSelection.h"
#include "passes/chunk/Blocks.h"
#include "passes/chunk/GrowRegion.h"
#include "passes/chunk/LoopBody.h"
#include "passes/chunk/Placement.h"

#include <algorithm>
#include <limits>
#include <set>

using namespace snug;

static constexpr int kWindow = 64;   // nodes that compute, to each side of the peak
static constexpr size_t kCuts = 8;  // window ends to each side
static constexpr size_t kLargest = 3; // buffers whose makers and last readers are started from

SearchState::SearchState(ChunkProblem problem, std::vector<size_t> kinds, const Machine &machine, int threads)
    : nodes(std::move(problem)), machine(machine), threads(threads), costs(nodes, machine, threads),
      nodeKinds(std::move(kinds)) {}

namespace {
/// Whether a larger window would lead to other regions; one without the node to start from leads to none.
struct Window {
  bool opensBefore = true, opensBehind = true;
};
} // namespace

// Where a window may end: the nearest places, and each place that fewer bytes cross than all nearer ones.
std::vector<int> SearchState::cuts(int node, int step) const {
  std::vector<int> ends;
  int64_t least = std::numeric_limits<int64_t>::max();
  int computing = 0, near = 0;
  for (int at = node; at >= 0 && at < static_cast<int>(nodes.nodes.size()); at += step) {
    if (nodes.nodes[at].buffers.empty() && at != node)
      continue;
    int64_t crossing = costs.crossing(step < 0 ? at : at + 1);
    if (near < 2 || crossing < least) {
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
std::vector<std::pair<int, int>> SearchState::seeds(int node) const {
  std::vector<int> starts{node}, large;
  for (size_t id = 0; id < nodes.buffers.size(); ++id) {
    const ChunkBuffer &buffer = nodes.buffers[id];
    if (!buffer.nodes.empty() && buffer.nodes.front() <= node && buffer.nodes.back() >= node)
      large.push_back(static_cast<int>(id));
  }
  std::sort(large.begin(), large.end(), [&](int a, int b) {
    return std::make_pair(-nodes.buffers[a].bytes, a) < std::make_pair(-nodes.buffers[b].bytes, b);
  });
  large.resize(std::min(large.size(), kLargest));
  for (int id : large)
    for (int end : {nodes.buffers[id].nodes.front(), nodes.buffers[id].nodes.back()})
      if (std::find(starts.begin(), starts.end(), end) == starts.end())
        starts.push_back(end);
  std::vector<std::pair<int, int>> result;
  for (int start : starts)
    for (size_t dim = 0; dim < nodes.nodes[start].parallel.size(); ++dim)
      if (nodes.nodes[start].parallel[dim] && nodes.nodes[start].extents[dim] > 1)
        result.push_back({start, static_cast<int>(dim)});
  return result;
}

std::deque<PricedRegion> &SearchState::regions(int node, bool recomputes, bool allKinds) {
  auto [entry, isNewPeak] = known.try_emplace({node, recomputes, allKinds});
  std::deque<PricedRegion> &result = entry->second;
  if (!isNewPeak)
    return result;
  std::set<std::vector<int64_t>> seen;
  GrowOptions options;
  options.recomputes = recomputes;
  options.allKinds = allKinds;
  options.isWanted = [&](const ChunkLoop &loop) {
    if (loop.first > node || loop.last < node)
      return false;
    std::vector<int64_t> key;
    bool hasInvariant = false;
    for (const ChunkMember &m : loop.members) {
      key.insert(key.end(), {m.node, m.dim, m.scale, m.before, m.after, m.carries});
      hasInvariant = hasInvariant || m.dim < 0;
    }
    return recomputes == hasInvariant && seen.insert(std::move(key)).second;
  };
  auto add = [&](ChunkLoop &&loop) {
    PricedRegion region;
    region.loop = std::move(loop);
    for (int64_t size : candidateChunkSizes(region.loop.extent, region.loop.tile)) {
      if (!mayHaveSize(nodes, region.loop, size))
        continue;
      ChunkLoop sized = region.loop;
      sized.size = size;
      PricedRegion::Choice choice;
      choice.size = size;
      choice.peak = costs.peakOf(sized);
      region.choices.push_back(std::move(choice));
    }
    result.push_back(std::move(region));
  };
  auto grow = [&](int seed, int dim, int first, int last) {
    Window window{false, false};
    auto grown = [&](bool carries) {
      options.carries = carries;
      GrownRegion region = growRegion(nodes, seed, dim, first, last, options);
      window.opensBefore = window.opensBefore || region.opensBefore;
      window.opensBehind = window.opensBehind || region.opensBehind;
      if (region.loop)
        add(std::move(*region.loop));
      return region;
    };
    options.unit = 1;
    for (int64_t coarser = 0; coarser != 1; options.unit *= coarser) {
      GrownRegion region = grown(/*carries=*/false);
      if (region.overlaps)
        (void)grown(/*carries=*/true);
      coarser = region.coarser;
    }
    return window;
  };
  const std::vector<int> firsts = cuts(node, -1), lasts = cuts(node, 1);
  for (auto [seed, dim] : seeds(node)) {
    // Of the windows with one first node after another, by their last one.
    std::vector<Window> windows(lasts.size());
    for (int first : firsts)
      for (size_t i = 0; i < lasts.size(); ++i) {
        if (seed < first || seed > lasts[i])
          continue;
        bool isSame = !windows[i].opensBefore;
        if (!isSame && i > 0 && !windows[i - 1].opensBehind) {
          windows[i] = windows[i - 1];
          isSame = true;
        }
        if (!isSame)
          windows[i] = grow(seed, dim, first, lasts[i]);
      }
  }
  return result;
}

bool SearchState::isSameBlock(int first, int last, int shift) {
  auto [entry, isNew] = same.try_emplace({first, last, shift});
  if (isNew)
    entry->second = snug::isSameBlock(nodes, nodeKinds, first, last, shift);
  return entry->second;
}

double SearchState::timeOf(const PricedRegion &region, PricedRegion::Choice &choice) const {
  if (!choice.time)
    choice.time = costs.timeOf(region.at(choice));
  return *choice.time;
}

ChunkSearch &SearchState::bodyOf(const PricedRegion &region, PricedRegion::Choice &choice) const {
  if (!choice.body)
    choice.body = std::make_unique<ChunkSearch>(snug::bodyOf(nodes, region.at(choice)), machine, threads);
  return *choice.body;
}

SearchState &SearchMemory::state(const std::vector<int> &order) {
  std::unique_ptr<SearchState> &found = states[order];
  if (!found) {
    ChunkProblem ordered = given;
    reorder(ordered, order);
    std::vector<size_t> orderedKinds;
    for (int node : order)
      orderedKinds.push_back(kinds[node]);
    found = std::make_unique<SearchState>(std::move(ordered), std::move(orderedKinds), machine, threads);
  }
  return *found;
}
