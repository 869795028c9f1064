// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/GrowRegion.h"
#include "passes/chunk/LoopBuffers.h"
#include "passes/chunk/Placement.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

using namespace snug;

namespace {
class Region {
public:
  Region(const ChunkProblem &problem, int first, int last, const GrowOptions &options, bool throughViews)
      : problem(problem), first(first), last(last), placement(problem, first, last), throughViews(throughViews),
        options(options), recomputes(options.recomputes) {}

  std::optional<ChunkLoop> grow(int seed, int dim);
  int64_t coarser = 1; // of the GrownRegion
  bool opensBefore = false, opensBehind = false, overlaps = false;
  bool wentThroughView = false; // without `throughViews` the region is another one

private:
  bool inWindow(int node) const { return placement.inWindow(node); }
  bool inLoop(int node) const { return placement.inLoop(node); }
  Place place(int node) const { return placement.place(node); }
  const ChunkMember &member(int node) const { return placement.member(node); }
  // Of nodes that would count if they were there.
  bool reaches(int node) {
    opensBefore = opensBefore || (node >= 0 && node < first);
    opensBehind = opensBehind || node > last;
    return inWindow(node);
  }
  void lookBehind();

  // Whether a slice of `scale` is a whole number of the node's iterations; else what would make it one is noted.
  bool fits(const ChunkNode &node, size_t dim, int64_t scale, int64_t step) {
    if (scale % step == 0)
      return true;
    if (node.parallel[dim])
      coarser = std::lcm(coarser, step / std::gcd(scale, step));
    return false;
  }
  bool add(const ChunkMember &joining);
  bool isWorthwhile(const ChunkMember &m) const {
    return !m.hasHalo() || (options.allKinds && snug::isWorthwhile(problem, m));
  }
  bool mayCarry(const ChunkMember &m) const { return options.carries && snug::mayCarry(problem, m); }
  bool needSlice(int value, const LoopSlice &slice);
  bool needWhole(int node);
  bool needBefore(int node);
  bool isRecomputed(int node) const;
  bool drain();
  bool addBackward(int seed, int dim);
  void addForward(int seed);
  std::optional<ChunkMember> dimFor(int node);
  bool placeRest();
  bool isLegal(const ChunkMember &m) const { return m.dim < 0 || placement.isLegal(m, extent); }
  // A destination that is a view: what it is a view of is written through it.
  bool isViewInit(const ChunkUse &use) const {
    int producer = problem.values[use.value].producer;
    return use.isInit && producer >= 0 && problem.nodes[producer].isView;
  }
  template <class Predicate> bool allTouching(int value, Predicate predicate) const {
    int buffer = problem.values[value].buffer;
    return buffer >= 0 && problem.buffers[buffer].bytes > 0 &&
           std::all_of(problem.buffers[buffer].nodes.begin(), problem.buffers[buffer].nodes.end(), predicate);
  }
  const ChunkProblem &problem;
  int first, last;
  Placement placement;
  bool throughViews; // destinations may be views of what the loop makes
  const GrowOptions &options;
  bool recomputes;
  int64_t extent = 0;
  std::vector<int> worklist;
  std::set<int> forcedBefore, forcedAfter;
  int conflict = -1; // a member that turned out to be needed whole
};
} // namespace

static int64_t ceilDiv(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// Joins the loop, or, where it is in it, computes what is more around its iterations.
bool Region::add(const ChunkMember &joining) {
  int node = joining.node;
  if (place(node) == Place::Loop) {
    const ChunkMember &m = member(node);
    ChunkMember both = m;
    both.before = std::max(m.before, joining.before);
    both.after = std::max(m.after, joining.after);
    both.fromStart = m.fromStart || joining.fromStart;
    both.carries = mayCarry(both);
    if (m.dim != joining.dim || m.scale != joining.scale || !isWorthwhile(both))
      return false;
    if (both.before > m.before || both.after > m.after || both.fromStart != m.fromStart)
      worklist.push_back(node);
    placement.join(both);
    return true;
  }
  const ChunkNode &n = problem.nodes[node];
  bool accumulates = isAccumulated(n, joining);
  if (place(node) != Place::Open || n.parallel.empty() || !(n.parallel[joining.dim] || accumulates) ||
      !isWorthwhile(joining) || (accumulates && (!options.allKinds || n.extents[joining.dim] != extent * joining.scale)))
    return false;
  for (const ChunkUse &result : n.results)
    if (result.access.empty() || (result.access[joining.dim].position < 0) != accumulates)
      return false;
  ChunkMember m = joining;
  m.carries = mayCarry(m);
  placement.join(m);
  worklist.push_back(node);
  return true;
}

// The loop reads the value in slices: its producer joins if it can, else it stands before the loop.
bool Region::needSlice(int value, const LoopSlice &slice) {
  int producer = problem.values[value].producer;
  if (!reaches(producer) || place(producer) == Place::Before)
    return true;
  if (place(producer) == Place::After)
    return false;
  if (place(producer) == Place::Loop && member(producer).dim < 0)
    return false; // it is there as a whole
  const ChunkNode &n = problem.nodes[producer];
  for (const ChunkUse &result : n.results)
    if (result.value == value)
      for (size_t dim = 0; dim < result.access.size(); ++dim)
        if (int64_t step = result.access[dim].scale;
            result.access[dim].position == slice.position && fits(n, dim, slice.scale, step) &&
            add({producer, static_cast<int>(dim), slice.scale / step, ceilDiv(slice.before, step),
                 ceilDiv(slice.after, step), false, false, slice.fromStart}))
          return true;
  return needWhole(producer);
}

bool Region::needWhole(int node) {
  if (recomputes ? !reaches(node) : !inWindow(node))
    return true;
  if (place(node) == Place::Before)
    return true;
  if (place(node) == Place::After)
    return false;
  if (place(node) == Place::Loop) {
    if (member(node).dim < 0)
      return true;
    conflict = node;
    return false;
  }
  if (recomputes && isRecomputed(node))
    placement.join({node, -1, 1});
  else
    placement.put(node, Place::Before);
  for (const ChunkUse &use : problem.nodes[node].uses)
    if (!needWhole(problem.values[use.value].producer))
      return false;
  return true;
}

bool Region::needBefore(int node) {
  bool saved = std::exchange(recomputes, false);
  bool ok = needWhole(node) && (!inWindow(node) || place(node) == Place::Before);
  recomputes = saved;
  return ok;
}

// Cheap, or a view of what is.
bool Region::isRecomputed(int node) const {
  while (inWindow(node) && problem.nodes[node].isView)
    node = problem.values[problem.nodes[node].uses[0].value].producer;
  return inWindow(node) && problem.nodes[node].isCheap;
}

bool Region::drain() {
  while (!worklist.empty()) {
    int node = worklist.back();
    worklist.pop_back();
    const ChunkMember m = member(node);
    for (const ChunkUse &use : problem.nodes[node].uses) {
      const ChunkValue &value = problem.values[use.value];
      LoopSlice slice = sliceOf(use, computed(m));
      // Where the whole buffer may be the loop's own, it is read and written through slices of slices. Any other must
      // be a value from before the loop, for the loop to carry it.
      bool wholeView = isViewInit(use);
      if (wholeView && throughViews && allTouching(use.value, [&](int node) { return reaches(node); })) {
        wholeView = false;
        wentThroughView = true;
      }
      if (slice.position >= 0 && !slice.hasHalo() && value.extents[slice.position] != extent * slice.scale)
        return false; // a broadcast dim of extent 1 and the like
      if (use.isInit && isAccumulated(problem.nodes[node], m)) {
        if (!needBefore(value.producer)) // what each iteration makes anew would lose what those before it added
          return false;
      } else if (slice.position < 0 || wholeView ? !needWhole(value.producer) : !needSlice(use.value, slice)) {
        return false;
      }
    }
  }
  return true;
}

bool Region::addBackward(int seed, int dim) {
  // A member that is needed whole cannot be in the loop: start again without it.
  for (int attempt = 0; attempt <= last - first; ++attempt) {
    placement.clear();
    worklist.clear();
    conflict = -1;
    bool ok = true;
    for (int node : forcedBefore)
      ok = ok && needWhole(node);
    if (!ok || place(seed) != Place::Open || !add({seed, dim, options.unit, 0, 0, false}))
      return false;
    if (drain())
      return true;
    if (conflict < 0 || conflict == seed || !forcedBefore.insert(conflict).second)
      return false;
  }
  return false;
}

// The dim with which a consumer of the loop's values would join.
std::optional<ChunkMember> Region::dimFor(int node) {
  const ChunkNode &n = problem.nodes[node];
  std::optional<ChunkMember> found;
  for (const ChunkUse &use : n.uses) {
    int producer = problem.values[use.value].producer;
    if (!inWindow(producer) || place(producer) != Place::Loop || member(producer).dim < 0)
      continue;
    LoopSlice produced;
    for (const ChunkUse &result : problem.nodes[producer].results)
      if (result.value == use.value)
        produced = sliceOf(result, member(producer));
    if (produced.position < 0)
      return std::nullopt;
    std::optional<ChunkMember> here;
    for (size_t dim = 0; dim < use.access.size(); ++dim)
      if (use.access[dim].position == produced.position && (n.parallel[dim] || n.accumulates[dim]) &&
          fits(n, dim, produced.scale, use.access[dim].scale))
        here = ChunkMember{node, static_cast<int>(dim), produced.scale / use.access[dim].scale};
    if (!here || (found && (found->dim != here->dim || found->scale != here->scale)))
      return std::nullopt;
    found = here;
  }
  return found;
}

void Region::addForward(int seed) {
  // What follows the seed first: it decides for the producers that it shares with side branches.
  for (bool followersOnly : {true, false}) {
    std::vector<bool> follows(last - first + 1, false);
    follows[seed - first] = true;
    for (int node = first; node <= last; ++node) {
      bool consumes = false;
      for (const ChunkUse &use : problem.nodes[node].uses) {
        int producer = problem.values[use.value].producer;
        if (!inWindow(producer))
          continue;
        consumes = consumes || place(producer) == Place::Loop;
        follows[node - first] = follows[node - first] || follows[producer - first];
      }
      if (place(node) != Place::Open || !consumes || (followersOnly && !follows[node - first]))
        continue;
      if (forcedAfter.count(node)) {
        placement.put(node, Place::After);
        continue;
      }
      const size_t mark = placement.mark();
      std::optional<ChunkMember> m = dimFor(node);
      worklist.clear();
      if (m && add(*m) && drain())
        continue;
      placement.goBack(mark);
      worklist.clear();
      placement.put(node, Place::After);
    }
  }
}

void Region::lookBehind() {
  for (int node = first; node <= last; ++node)
    if (place(node) == Place::Loop || place(node) == Place::After)
      for (const ChunkUse &result : problem.nodes[node].results)
        if (const std::vector<int> &users = problem.values[result.value].users; !users.empty())
          reaches(users.back());
}

// The rest follows the loop if it must, else it stays before it. False if no order is left.
bool Region::placeRest() {
  for (int node = first; node <= last; ++node) {
    bool needsLoop = false, needsAfter = false;
    for (const ChunkUse &use : problem.nodes[node].uses) {
      int producer = problem.values[use.value].producer;
      if (!inWindow(producer))
        continue;
      needsLoop = needsLoop || place(producer) == Place::Loop;
      needsAfter = needsAfter || place(producer) == Place::After;
    }
    if (place(node) == Place::Open)
      placement.put(node, needsLoop || needsAfter ? Place::After : Place::Before);
    if (place(node) == Place::Before ? needsLoop || needsAfter : place(node) == Place::Loop && needsAfter)
      return false;
    if (place(node) == Place::After && !problem.nodes[node].mayMove)
      return false;
  }
  return true;
}

std::optional<ChunkLoop> Region::grow(int seed, int dim) {
  const ChunkNode &n = problem.nodes[seed];
  if (n.parallel.empty() || !n.parallel[dim])
    return std::nullopt;
  if (n.extents[dim] % options.unit != 0)
    return std::nullopt;
  extent = n.extents[dim] / options.unit;
  if (extent < 2)
    return std::nullopt;
  while (true) {
    if (!addBackward(seed, dim))
      return std::nullopt;
    addForward(seed);
    lookBehind();
    if (!placeRest())
      return std::nullopt;
    int illegal = first;
    while (illegal <= last && (place(illegal) != Place::Loop || isLegal(member(illegal))))
      ++illegal;
    if (illegal > last)
      break;
    if (illegal == seed || !forcedAfter.insert(illegal).second)
      return std::nullopt;
  }
  ChunkLoop loop;
  loop.extent = extent;
  bool computes = false; // for somebody outside, in equal steps
  for (int node = first; node <= last; ++node)
    if (place(node) == Place::Loop) {
      const ChunkNode &m = problem.nodes[node];
      const ChunkMember &joined = member(node);
      loop.members.push_back(joined);
      if (joined.dim < 0)
        continue;
      computes = computes || (!m.isView && !joined.hasHalo() && m.extents[joined.dim] == extent * joined.scale &&
                              placement.leaves(node));
      int64_t tile = m.tile.empty() ? 1 : m.tile[member(node).dim];
      tile /= std::gcd(tile, member(node).scale);
      loop.tile = std::lcm(loop.tile, tile);
    }
  if (!computes)
    return std::nullopt;
  loop.first = loop.members.front().node;
  loop.last = loop.members.back().node;
  for (int node = loop.first; node <= loop.last; ++node)
    if (place(node) == Place::After)
      loop.after.push_back(node);
  auto isInside = [&](int node) { return inLoop(node); };
  for (const ChunkMember &m : loop.members)
    for (const ChunkUse &result : problem.nodes[m.node].results)
      if (const auto &users = problem.values[result.value].users;
          m.dim < 0 && !std::all_of(users.begin(), users.end(), isInside))
        return std::nullopt;
  for (const ChunkMember &m : loop.members)
    for (const ChunkUse &use : problem.nodes[m.node].uses)
      if (isViewInit(use) && inLoop(problem.values[use.value].producer) && !allTouching(use.value, isInside))
        return std::nullopt;
  overlaps = std::any_of(loop.members.begin(), loop.members.end(), [](auto &m) { return m.hasHalo(); });
  if (options.isWanted && !options.isWanted(loop))
    return std::nullopt;
  if (!keepsBuffers(problem, loop) || !collectUpdates(problem, loop, /*mayRenew=*/options.allKinds))
    return std::nullopt;
  if (std::any_of(loop.members.begin(), loop.members.end(), [](auto &m) { return m.carries && m.isFresh; }))
    return std::nullopt;
  return loop;
}

GrownRegion snug::growRegion(const ChunkProblem &problem, int seed, int dim, int first, int last,
                             const GrowOptions &options) {
  GrownRegion grown;
  for (bool throughViews : {true, false}) {
    Region region(problem, first, last, options, throughViews);
    grown.loop = region.grow(seed, dim);
    grown.coarser = std::max(grown.coarser, region.coarser);
    grown.opensBefore = grown.opensBefore || region.opensBefore;
    grown.opensBehind = grown.opensBehind || region.opensBehind;
    grown.overlaps = grown.overlaps || region.overlaps;
    if (grown.loop || !region.wentThroughView)
      break;
  }
  return grown;
}
