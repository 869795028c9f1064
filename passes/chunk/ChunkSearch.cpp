// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/ChunkSearch.h"
#include "passes/chunk/Descent.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <tuple>

using namespace snug;

static constexpr double kNoticeable = 1.02; // what a plan may cost before others are tried
static constexpr double kStep = 0.98;       // from one budget of the curve to the next one
static constexpr double kSlowStep = 0.94;   // where plans are slow
static constexpr int kFailures = 4;         // budgets in a row that a way does not meet, before it is given up

// Loops with halos, and sums in parts, have something to work on.
static bool hasKinds(const ChunkProblem &problem) {
  auto overlaps = [](const ChunkUse &use) {
    return std::any_of(use.access.begin(), use.access.end(),
                       [](const DimAccess &access) { return access.window != access.scale || access.offset != 0; });
  };
  return std::any_of(problem.nodes.begin(), problem.nodes.end(), [&](const ChunkNode &node) {
    return std::count(node.accumulates.begin(), node.accumulates.end(), true) > 0 ||
           std::any_of(node.uses.begin(), node.uses.end(), overlaps);
  });
}

class ChunkSearch::Impl {
public:
  Impl(ChunkProblem problem, const Machine &machine, int threads)
      : memory(std::move(problem), machine, threads), hasKinds(::hasKinds(memory.problem())) {}

  const ChunkPlan &plan(int64_t budget, int levels);

private:
  // A way to look for a plan. More levels and kinds are more ways to a fast plan, and more into a dead end; and loops that
  // make sums in parts change their last bits.
  struct Way {
    bool allKinds;
    int levels;
    bool operator<(const Way &o) const { return std::tie(allKinds, levels) < std::tie(o.allKinds, o.levels); }
  };

  // Plans for falling budgets, so chosen that a smaller budget never has one that needs more. As long as plans are fast, a
  // plan is kept while it fits, and what smaller budgets find does not matter. From the first slow one on all that any
  // budget found is known for all: what is found for a smaller one may be faster.
  struct Curve {
    int levels = 0;
    std::vector<const ChunkPlan *> plans;          // all that were found
    std::vector<std::pair<double, size_t>> points; // falling budgets with fast plans, and how many were known there
    std::map<Way, int> ways;                       // and how many budgets in a row each has not met
    bool isSlow = false, ended = false;
  };

  std::vector<Way> ways(int levels) const;
  const ChunkPlan &descend(int64_t aim, const Way &way);
  bool extend(Curve &curve, double budget);
  const ChunkPlan *fromCurve(int64_t budget, int levels);
  const ChunkPlan &search(int64_t budget, int levels);
  static bool isSlow(const ChunkPlan *plan) { return !plan || plan->time > kNoticeable * plan->unchunkedTime; }

  SearchMemory memory;
  const bool hasKinds;
  std::map<std::pair<int64_t, Way>, ChunkPlan> descents;         // by aim
  std::map<int, Curve> curves;                                   // by levels
  std::map<std::pair<int64_t, int>, const ChunkPlan *> searched; // by budget and levels
};

std::vector<ChunkSearch::Impl::Way> ChunkSearch::Impl::ways(int levels) const {
  std::vector<Way> result;
  for (bool allKinds : {false, true})
    for (int depth = 1; depth <= levels; ++depth)
      if (allKinds <= hasKinds)
        result.push_back({allKinds, depth});
  return result;
}

const ChunkPlan &ChunkSearch::Impl::descend(int64_t aim, const Way &way) {
  auto [entry, isNew] = descents.try_emplace({aim, way});
  if (isNew)
    entry->second = snug::descend(memory, aim, way.levels, way.allKinds);
  return entry->second;
}

// The fastest of the first `count` plans that fits; of equally fast ones the first.
static const ChunkPlan *fastest(const std::vector<const ChunkPlan *> &plans, size_t count, double budget) {
  const ChunkPlan *best = nullptr;
  for (size_t i = 0; i < count; ++i)
    if (static_cast<double>(plans[i]->peak) <= budget && (!best || plans[i]->time < best->time))
      best = plans[i];
  return best;
}

// The plans for this budget. False if there are none.
bool ChunkSearch::Impl::extend(Curve &curve, double budget) {
  auto best = [&] { return fastest(curve.plans, curve.plans.size(), budget); };
  bool found = false;
  for (auto &[way, failures] : curve.ways)
    if (failures < kFailures && (curve.isSlow || isSlow(best()))) {
      curve.plans.push_back(&descend(static_cast<int64_t>(budget), way));
      bool isMet = static_cast<double>(curve.plans.back()->peak) <= budget;
      found = found || isMet;
      failures = isMet ? 0 : failures + 1;
    }
  // Where the fast choices did not get there, the ones that save most.
  for (const Way &way : ways(curve.levels))
    if (!found && !best())
      curve.plans.push_back(&descend(0, way));
  return found || best();
}

// Null below the end of the curve.
const ChunkPlan *ChunkSearch::Impl::fromCurve(int64_t budget, int levels) {
  auto [entry, isNew] = curves.try_emplace(levels);
  Curve &curve = entry->second;
  if (isNew) {
    const ChunkPlan &unchunked = descend(std::numeric_limits<int64_t>::max(), {false, 1});
    curve.levels = levels;
    curve.plans.push_back(&unchunked);
    curve.points.push_back({static_cast<double>(unchunked.peak), 1});
    for (const Way &way : ways(levels))
      curve.ways[way] = 0;
  }
  auto isBelow = [&](const std::pair<double, size_t> &point) { return point.first <= static_cast<double>(budget); };
  while (!curve.isSlow && !isBelow(curve.points.back())) {
    double next = kStep * curve.points.back().first;
    const ChunkPlan *kept = fastest(curve.plans, curve.plans.size(), next);
    if (isSlow(kept))
      extend(curve, next);
    if (!isSlow(fastest(curve.plans, curve.plans.size(), next)) && next >= 1)
      curve.points.push_back({next, curve.plans.size()});
    else
      curve.isSlow = true;
  }
  if (auto point = std::find_if(curve.points.begin(), curve.points.end(), isBelow); point != curve.points.end())
    return fastest(curve.plans, point->second, static_cast<double>(budget));
  for (double next = kStep * curve.points.back().first; !curve.ended; next *= kSlowStep)
    if ((curve.ended = next < 1 || !extend(curve, next))) {
      // The least of all, in the fastest way there is.
      auto less = [](const ChunkPlan *a, const ChunkPlan *b) { return a->peak < b->peak; };
      const int64_t least = (*std::min_element(curve.plans.begin(), curve.plans.end(), less))->peak;
      for (const Way &way : ways(levels))
        curve.plans.push_back(&descend(least, way));
    }
  return fastest(curve.plans, curve.plans.size(), static_cast<double>(budget));
}

// For this budget alone.
const ChunkPlan &ChunkSearch::Impl::search(int64_t budget, int levels) {
  const ChunkPlan *&best = searched[{budget, levels}];
  if (best)
    return *best;
  auto fits = [&] { return best && best->peak <= budget; };
  auto attempt = [&](int64_t aim, const Way &way) {
    const ChunkPlan &plan = descend(aim, way);
    if (!best || (fits() && plan.peak <= budget ? plan.time < best->time : plan.peak < best->peak))
      best = &plan;
  };
  for (const Way &way : ways(levels))
    if (!fits() || isSlow(best))
      attempt(budget, way);
  for (const Way &way : ways(levels))
    if (!fits())
      attempt(0, way);
  return *best;
}

const ChunkPlan &ChunkSearch::Impl::plan(int64_t budget, int levels) {
  // Bodies of loops are asked for few budgets.
  const ChunkPlan *known = levels > 1 ? fromCurve(budget, levels) : nullptr;
  return known ? *known : search(budget, levels);
}

ChunkSearch::ChunkSearch(ChunkProblem problem, const Machine &machine, int threads)
    : impl(std::make_unique<Impl>(std::move(problem), machine, threads)) {}

ChunkSearch::~ChunkSearch() = default;

const ChunkPlan &ChunkSearch::plan(int64_t budget, int levels) { return impl->plan(budget, levels); }
