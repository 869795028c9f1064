// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/Placement.h"

#include <algorithm>

using namespace snug;

void Placement::goBack(size_t mark) {
  for (; undone.size() > mark; undone.pop_back())
    steps[undone.back().first - first] = undone.back().second;
}

void Placement::clear() {
  steps.assign(steps.size(), {});
  undone.clear();
}

bool Placement::leaves(int node) const {
  for (const ChunkUse &result : problem.nodes[node].results) {
    const std::vector<int> &users = problem.values[result.value].users;
    if (users.empty() || std::any_of(users.begin(), users.end(), [&](int user) {
          return !inLoop(user) || (problem.nodes[user].isView && leaves(user));
        }))
      return true;
  }
  return false;
}

// Whether each iteration takes some of a tensor of this length, as it must: the first one, which reaches out of it at
// its start, the last one, which does at its end, and those between.
static bool isNeverEmpty(const LoopSlice &slice, int64_t length, int64_t extent) {
  return slice.scale + slice.before + slice.after > 0 && slice.scale + slice.after > 0 &&
         (slice.fromStart || length > slice.scale * (extent - 1) - slice.before);
}

bool Placement::isLegal(const ChunkMember &m, int64_t extent) const {
  if (m.dim < 0)
    return true;
  const ChunkNode &n = problem.nodes[m.node];
  auto isTaken = [&](const ChunkUse &use) {
    LoopSlice slice = sliceOf(use, computed(m));
    const ChunkValue &value = problem.values[use.value];
    return slice.position < 0 || (isNeverEmpty(slice, value.extents[slice.position], extent) &&
                                  (!slice.fromStart || value.fixed[slice.position]));
  };
  if (m.carries && leaves(m.node))
    return false; // what is new would have to be told from what is kept
  if (!std::all_of(n.uses.begin(), n.uses.end(), isTaken) || !std::all_of(n.results.begin(), n.results.end(), isTaken))
    return false;
  if ((!m.hasHalo() && n.extents[m.dim] == extent * m.scale) || !leaves(m.node))
    return true; // so is every sum
  // Dims that are known at run time only differ by what their upper bounds differ by where the loop steps through both
  // one by one.
  bool isFixed = m.scale == 1 || std::all_of(n.results.begin(), n.results.end(), [&](const ChunkUse &result) {
    return problem.values[result.value].fixed[result.access[m.dim].position];
  });
  return isFixed && m.before >= 0 && m.scale * extent + m.after >= n.extents[m.dim];
}

bool snug::isWorthwhile(const ChunkProblem &problem, const ChunkMember &m) {
  return 2 * (m.scale + m.before + m.after) <= problem.nodes[m.node].extents[m.dim];
}

bool snug::mayCarry(const ChunkProblem &problem, const ChunkMember &m) {
  const ChunkNode &n = problem.nodes[m.node];
  if (n.isView || n.results.size() != 1 || m.before + m.after <= 0 || !n.parallel[m.dim])
    return false;
  const ChunkUse &result = n.results[0];
  const DimAccess &access = result.access[m.dim];
  auto isTensor = [&](const ChunkUse &use) { return !use.isInit && !problem.values[use.value].extents.empty(); };
  auto isPlain = [&](const ChunkUse &use) {
    const ChunkValue &value = problem.values[use.value];
    return !use.isInit || (value.producer >= 0 && problem.nodes[value.producer].isEmpty);
  };
  return access.scale == 1 && access.window == 1 && access.offset == 0 &&
         problem.values[result.value].fixed[access.position] &&
         std::count_if(n.uses.begin(), n.uses.end(), [](const ChunkUse &use) { return use.isInit; }) == 1 &&
         std::any_of(n.uses.begin(), n.uses.end(), isTensor) && // a constant is as fast to write as to keep
         std::all_of(n.uses.begin(), n.uses.end(), isPlain);
}

bool snug::mayHaveSize(const ChunkProblem &problem, const ChunkLoop &loop, int64_t size) {
  int64_t last = (loop.extent + size - 1) / size * size - size; // where the last iteration begins
  auto isTaken = [&](const ChunkUse &use, const ChunkMember &m) {
    LoopSlice slice = sliceOf(use, m);
    return slice.position < 0 || !slice.fromStart ||
           problem.values[use.value].extents[slice.position] > slice.scale * last - slice.before;
  };
  for (const ChunkMember &m : loop.members) {
    const ChunkNode &n = problem.nodes[m.node];
    for (const auto *uses : {&n.uses, &n.results})
      for (const ChunkUse &use : *uses)
        if (!isTaken(use, computed(m)))
          return false;
  }
  return true;
}
