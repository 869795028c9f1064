// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The moments of a program at which most bytes are live for sure (LiveMoment.cpp): before the first element of a node,
// and where that says too little, in the midst of its slabs.
#include "passes/chunk/LiveCut.h"
#include "passes/chunk/LiveMoment.h"

#include <algorithm>
#include <set>
#include <tuple>

using namespace snug;

// Nodes that are looked at slab by slab.
static constexpr size_t kMostTried = 32, kMostSlabs = 8;
static constexpr int64_t kMostSteps = 8;

namespace {
class LiveCut {
public:
  explicit LiveCut(const ChunkProblem &problem) : problem(problem), moment(problem) {}
  int64_t run();

private:
  // The moment before the first element of a node is done. Or, of its slabs along a position, of the last one of which
  // any is; or along two, of the one with which half of either have begun.
  struct Candidate {
    int node, position, other;
    int64_t most; ///< that the bound can be
  };

  int64_t slabOf(int node, int position) const;
  int64_t boundInSlabs(const Candidate &candidate, int64_t best) const;
  int64_t boundInHalves(const Candidate &candidate, int64_t best) const;

  const ChunkProblem &problem;
  LiveMoment moment;
};
} // namespace

// Slabs of a node along a position of its result: no thinner than the parts that others go with.
int64_t LiveCut::slabOf(int node, int position) const {
  int64_t slab = 1;
  int value = problem.nodes[node].results[0].value;
  for (int id : moment.graph.readsFor[value])
    for (const ResultDim &dim : moment.graph.reads[id].dims)
      if (dim.position == position && dim.isOutermost)
        slab = std::max(slab, dim.scale);
  int64_t extent = problem.values[value].extents[position];
  return extent % slab == 0 && extent > slab ? slab : 0;
}

int64_t LiveCut::boundInSlabs(const Candidate &candidate, int64_t best) const {
  auto [node, position, other, most] = candidate;
  int value = problem.nodes[node].results[0].value;
  int64_t slab = slabOf(node, position), extent = problem.values[value].extents[position];
  if (slab == 0 || !moment.graph.isSymmetric(value, position))
    return best;
  int64_t count = extent / slab;
  for (int64_t before : {count - 1, 2 * count / 3, count / 2}) {
    int64_t begin = before * slab, end = begin + slab;
    LiveMoment slabs(problem, {{value, position, begin}, {value, position, end}});
    Boxes later = slabs.boxesOf(node);
    for (int box = slabs.graph.firstBoxOf(value); box < slabs.graph.endOf(value); ++box)
      if (slabs.graph.beginOf(box, position) < begin)
        later.remove(box);
    best = std::max(best, slabs.boundAt(node, slabs.doneBefore(node, position, end), slabs.notDone(node, later)));
  }
  return best;
}

// Half of the slabs along one position have begun, and another one is about to; of those along the other, no more than
// half have. However many these are: so many, but for a step.
int64_t LiveCut::boundInHalves(const Candidate &candidate, int64_t best) const {
  auto [node, first, second, most] = candidate;
  int value = problem.nodes[node].results[0].value;
  std::vector<std::pair<int, int>> unknown;
  if (slabOf(node, first) == 0 || slabOf(node, second) == 0 || !moment.graph.separate(value, first, second, unknown))
    return best;
  int64_t least = most;
  for (auto [p, q] : {std::pair<int, int>{first, second}, {second, first}}) {
    int64_t slab = slabOf(node, p), otherSlab = slabOf(node, q);
    int64_t half = problem.values[value].extents[p] / slab / 2,
            otherHalf = problem.values[value].extents[q] / otherSlab / 2;
    int64_t step = (otherHalf + kMostSteps - 1) / kMostSteps;
    for (int64_t some = 1; some <= otherHalf && least > best; some += step) {
      int64_t begin = half * slab, end = begin + slab;
      int64_t surely = some * otherSlab, perhaps = std::min(otherHalf, some + step - 1) * otherSlab;
      LiveMoment slabs(problem, {{value, p, begin}, {value, p, end}, {value, q, surely}, {value, q, perhaps}}, unknown);
      Boxes done = slabs.doneBefore(node, p, end), later = slabs.boxesOf(node);
      done.add(slabs.doneBefore(node, q, surely));
      for (int box = slabs.graph.firstBoxOf(value); box < slabs.graph.endOf(value); ++box)
        if (slabs.graph.beginOf(box, p) < begin && slabs.graph.beginOf(box, q) < perhaps)
          later.remove(box);
      least = std::min(least, slabs.boundAt(node, done, slabs.notDone(node, later)));
    }
  }
  return std::max(best, least);
}

int64_t LiveCut::run() {
  std::vector<Candidate> candidates;
  auto add = [&](int node, int position, int other, const Boxes &done) {
    int64_t most = moment.readAtOnce(node, {});
    for (int box : moment.liveAfter(done))
      most += moment.graph.bytesOf(box);
    candidates.push_back({node, position, other, most});
  };
  auto whole = [&](int node, int position) {
    return moment.doneBefore(node, position,
                             position < 0 ? 0 : problem.values[problem.nodes[node].results[0].value].extents[position]);
  };
  for (size_t i = 0; i < problem.nodes.size(); ++i) {
    const ChunkNode &n = problem.nodes[i];
    int node = static_cast<int>(i);
    if (!moment.isComputed(node) || n.isEmpty || n.results.empty())
      continue;
    Boxes done = moment.doneBefore(node, -1, 0);
    add(node, -1, -1, done);
    if (n.results.size() > 1)
      continue;
    std::vector<std::pair<int, Boxes>> inSlabs;
    for (size_t p = 0; p < problem.values[n.results[0].value].extents.size(); ++p)
      if (Boxes more = whole(node, static_cast<int>(p)); more != done) {
        add(node, static_cast<int>(p), -1, more);
        for (const auto &[other, same] : inSlabs) {
          Boxes both = more;
          both.add(same);
          if (both != more && both != same)
            add(node, other, static_cast<int>(p), both);
        }
        inSlabs.push_back({static_cast<int>(p), std::move(more)});
      }
  }
  auto mostFirst = [](const Candidate &a, const Candidate &b) {
    return std::make_tuple(-a.most, a.node, a.position, a.other) <
           std::make_tuple(-b.most, b.node, b.position, b.other);
  };
  std::sort(candidates.begin(), candidates.end(), mostFirst);
  int64_t best = 0;
  for (const Candidate &candidate : candidates)
    if (candidate.position < 0 && candidate.most > best)
      best = std::max(best, moment.boundAt(candidate.node, moment.doneBefore(candidate.node, -1, 0),
                                           moment.notDone(candidate.node, moment.boxesOf(candidate.node))));
  // In slabs it is no more than if no slab were done, but what they all are computed from. Alike blocks of a program
  // have alike slabs.
  std::vector<Candidate> inSlabs;
  std::set<std::tuple<int64_t, int, int>> seen;
  for (Candidate &candidate : candidates) {
    if (candidate.position < 0 || candidate.most <= best || seen.size() >= kMostTried ||
        !seen.insert({candidate.most, candidate.position, candidate.other}).second)
      continue;
    Boxes done = whole(candidate.node, candidate.position);
    if (candidate.other >= 0)
      done.add(whole(candidate.node, candidate.other));
    candidate.most =
        moment.boundAt(candidate.node, done, moment.notDone(candidate.node, moment.boxesOf(candidate.node)));
    inSlabs.push_back(candidate);
  }
  std::sort(inSlabs.begin(), inSlabs.end(), mostFirst);
  size_t tried = 0;
  for (const Candidate &candidate : inSlabs)
    if (candidate.most > best && tried++ < kMostSlabs)
      best = candidate.other < 0 ? boundInSlabs(candidate, best) : boundInHalves(candidate, best);
  return best;
}

int64_t snug::leastLive(const ChunkProblem &problem) { return LiveCut(problem).run(); }
