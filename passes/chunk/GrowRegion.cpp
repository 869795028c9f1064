// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/GrowRegion.h"
#include "passes/chunk/LoopBuffers.h"

#include <algorithm>
#include <numeric>
#include <set>

using namespace snug;

namespace {
enum class Place { Open, Loop, Before, After };

struct State {
  std::vector<Place> place; // of the window's nodes
  std::vector<ChunkMember> member;
};

class Region {
public:
  Region(const ChunkProblem &problem, int first, int last, const GrowOptions &options, bool throughViews)
      : problem(problem), first(first), last(last), throughViews(throughViews), recomputes(options.recomputes),
        unit(options.unit) {}

  std::optional<ChunkLoop> grow(int seed, int dim);
  int64_t coarser = 1;          // units in which more of the nodes would have joined
  bool wentThroughView = false; // without `throughViews` the region is another one

private:
  bool inWindow(int node) const { return node >= first && node <= last; }
  Place &place(int node) { return state.place[node - first]; }
  ChunkMember &member(int node) { return state.member[node - first]; }

  // Whether a slice of `scale` is a whole number of the node's iterations; else what would make it one is noted.
  bool fits(const ChunkNode &node, size_t dim, int64_t scale, int64_t step) {
    if (scale % step == 0)
      return true;
    if (node.parallel[dim])
      coarser = std::lcm(coarser, step / std::gcd(scale, step));
    return false;
  }
  bool add(int node, int dim, int64_t scale);
  bool needSlice(int value, int position, int64_t scale);
  bool needWhole(int node);
  bool isRecomputed(int node) const;
  bool drain();
  bool addBackward(int seed, int dim);
  void addForward(int seed);
  std::optional<ChunkMember> dimFor(int node);
  bool placeRest();
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
  bool throughViews; // destinations may be views of what the loop makes
  bool recomputes;   // what is needed whole and cheap is computed by each iteration
  int64_t unit;      // iterations of the seed's dim for one of the loop
  int64_t extent = 0;
  State state;
  std::vector<int> worklist;
  std::set<int> forcedBefore;
  int conflict = -1; // a member that turned out to be needed whole
};
} // namespace

// Joins the loop with `scale` iterations of its dim for one of the loop.
bool Region::add(int node, int dim, int64_t scale) {
  ChunkMember &m = member(node);
  if (place(node) == Place::Loop)
    return m.dim == dim && m.scale == scale;
  const ChunkNode &n = problem.nodes[node];
  if (place(node) != Place::Open || n.parallel.empty() || !n.parallel[dim] || n.extents[dim] != extent * scale)
    return false;
  for (const ChunkUse &result : n.results)
    if (result.access.empty() || result.access[dim].position < 0)
      return false;
  place(node) = Place::Loop;
  m = {node, dim, scale};
  worklist.push_back(node);
  return true;
}

// The loop reads the value in slices: its producer joins if it can, else it stands before the loop.
bool Region::needSlice(int value, int position, int64_t scale) {
  int producer = problem.values[value].producer;
  if (!inWindow(producer) || place(producer) == Place::Before)
    return true;
  if (place(producer) == Place::After)
    return false;
  if (place(producer) == Place::Loop && member(producer).dim < 0)
    return false; // it is there as a whole
  const ChunkNode &n = problem.nodes[producer];
  for (const ChunkUse &result : n.results)
    if (result.value == value)
      for (size_t dim = 0; dim < result.access.size(); ++dim)
        if (result.access[dim].position == position && fits(n, dim, scale, result.access[dim].scale) &&
            add(producer, static_cast<int>(dim), scale / result.access[dim].scale))
          return true;
  return needWhole(producer);
}

bool Region::needWhole(int node) {
  if (!inWindow(node) || place(node) == Place::Before)
    return true;
  if (place(node) == Place::After)
    return false;
  if (place(node) == Place::Loop) {
    if (member(node).dim < 0)
      return true;
    conflict = node;
    return false;
  }
  place(node) = Place::Before;
  if (recomputes && isRecomputed(node)) {
    place(node) = Place::Loop;
    member(node) = {node, -1, 1};
  }
  for (const ChunkUse &use : problem.nodes[node].uses)
    if (!needWhole(problem.values[use.value].producer))
      return false;
  return true;
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
      DimAccess access = accessOf(use, m);
      // Where the whole buffer may be the loop's own, it is read and written through slices of slices. Any other must
      // be a value from before the loop, for the loop to carry it.
      bool wholeView = isViewInit(use);
      if (wholeView && throughViews && allTouching(use.value, [&](int node) { return inWindow(node); })) {
        wholeView = false;
        wentThroughView = true;
      }
      if (access.position >= 0 && value.extents[access.position] != extent * access.scale)
        return false; // a broadcast dim of extent 1 and the like
      if (access.position < 0 || wholeView ? !needWhole(value.producer)
                                           : !needSlice(use.value, access.position, access.scale))
        return false;
    }
  }
  return true;
}

bool Region::addBackward(int seed, int dim) {
  // A member that is needed whole cannot be in the loop: start again without it.
  for (int attempt = 0; attempt <= last - first; ++attempt) {
    state.place.assign(last - first + 1, Place::Open);
    state.member.assign(last - first + 1, {});
    worklist.clear();
    conflict = -1;
    bool ok = true;
    for (int node : forcedBefore)
      ok = ok && needWhole(node);
    if (!ok || place(seed) != Place::Open || !add(seed, dim, unit))
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
    DimAccess produced;
    for (const ChunkUse &result : problem.nodes[producer].results)
      if (result.value == use.value)
        produced = accessOf(result, member(producer));
    std::optional<ChunkMember> here;
    for (size_t dim = 0; dim < use.access.size(); ++dim)
      if (use.access[dim].position == produced.position && n.parallel[dim] &&
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
      State saved = state;
      std::optional<ChunkMember> m = dimFor(node);
      worklist.clear();
      if (m && add(node, m->dim, m->scale) && drain())
        continue;
      state = std::move(saved);
      worklist.clear();
      place(node) = Place::After;
    }
  }
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
      place(node) = needsLoop || needsAfter ? Place::After : Place::Before;
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
  if (n.extents[dim] % unit != 0)
    return std::nullopt;
  extent = n.extents[dim] / unit;
  if (extent < 2 || !addBackward(seed, dim))
    return std::nullopt;
  addForward(seed);
  if (!placeRest())
    return std::nullopt;
  ChunkLoop loop;
  loop.extent = extent;
  bool computes = false;
  for (int node = first; node <= last; ++node)
    if (place(node) == Place::Loop) {
      const ChunkNode &m = problem.nodes[node];
      loop.members.push_back(member(node));
      computes = computes || !m.isView;
      if (member(node).dim < 0)
        continue;
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
  auto inLoop = [&](int node) { return inWindow(node) && place(node) == Place::Loop; };
  for (const ChunkMember &m : loop.members)
    for (const ChunkUse &result : problem.nodes[m.node].results)
      if (const auto &users = problem.values[result.value].users;
          m.dim < 0 && !std::all_of(users.begin(), users.end(), inLoop))
        return std::nullopt;
  for (const ChunkMember &m : loop.members)
    for (const ChunkUse &use : problem.nodes[m.node].uses)
      if (isViewInit(use) && inLoop(problem.values[use.value].producer) && !allTouching(use.value, inLoop))
        return std::nullopt;
  if (!keepsBuffers(problem, loop) || !collectUpdates(problem, loop))
    return std::nullopt;
  return loop;
}

std::optional<ChunkLoop> snug::growRegion(const ChunkProblem &problem, int seed, int dim, int first, int last,
                                          const GrowOptions &options, int64_t *coarser) {
  Region region(problem, first, last, options, /*throughViews=*/true);
  std::optional<ChunkLoop> loop = region.grow(seed, dim);
  if (coarser)
    *coarser = region.coarser;
  if (loop || !region.wentThroughView)
    return loop;
  return Region(problem, first, last, options, /*throughViews=*/false).grow(seed, dim);
}
