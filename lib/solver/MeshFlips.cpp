// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/MeshFlips.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace snug {

namespace {
// Points that lie closer are one: those of other times are moved by their tolerance.
constexpr double kSamePoint = 1e-6;
constexpr double kInfinite = std::numeric_limits<double>::infinity();

// A time as a function of y = 1/x, x being the bandwidth that is varied.
struct Line {
  double base = 0, slope = 0;
  double at(double y) const { return base + slope * y; }
};

// Seconds a byte over a ring: the larger of slope * y and of what its other limits allow.
struct Ring {
  double slope = 0, floor = 0;
  double knee() const { return slope > 0 ? floor / slope : kInfinite; } // the y at which it begins to matter
  Line line(double y) const { return slope * y > floor ? Line{0, slope} : Line{floor, 0}; }
};

struct Layout {
  double fixed = 0; // computing and latency
  std::array<double, kRings> bytes{};
  Line line(const std::array<Ring, kRings> &rings, double y) const {
    Line sum{fixed, 0};
    for (size_t r = 0; r < kRings; ++r)
      if (bytes[r] > 0) {
        Line one = rings[r].line(y);
        sum.base += bytes[r] * one.base;
        sum.slope += bytes[r] * one.slope;
      }
    return sum;
  }
};

struct Candidate {
  std::array<Ring, kRings> rings;
  std::vector<std::vector<Layout>> phases;

  // Valid near y where no layout overtakes another.
  Line line(const std::vector<MeshPhase> &runs, double y) const {
    Line sum;
    for (size_t p = 0; p < phases.size(); ++p) {
      Line least{kInfinite, 0};
      for (const Layout &layout : phases[p]) {
        Line line = layout.line(rings, y);
        if (line.at(y) < least.at(y))
          least = line;
      }
      sum.base += runs[p].runs * least.base;
      sum.slope += runs[p].runs * least.slope;
    }
    return sum;
  }
};

// One bandwidth of the topology, and all candidates as functions of it.
class Variation {
public:
  Variation(const MeshProblem &problem, const MeshPlan &plan, size_t level, bool isGroup)
      : problem(problem), level(level), isGroup(isGroup) {
    for (size_t c = 0; c < plan.admissible; ++c)
      candidates.push_back(candidate(plan.candidates[c]));
    for (const Candidate &c : candidates)
      for (const Ring &ring : c.rings)
        if (ring.knee() > 0 && ring.knee() < kInfinite)
          knees.push_back(ring.knee());
    std::sort(knees.begin(), knees.end());
    knees.erase(std::unique(knees.begin(), knees.end()), knees.end());
  }

  void find(std::vector<BandwidthFlip> &flips) const {
    const LinkLevel &link = problem.topology.levels[level];
    double now = isGroup ? link.group_bytes_per_s : link.p2p_bytes_per_s, y = 1 / now;
    auto next = std::upper_bound(knees.begin(), knees.end(), y);
    auto add = [&](std::vector<double> ends) { // walks from y over the ends, until a flip is found
      double from = y;
      for (double to : ends) {
        if (auto flip = within(from, to)) {
          flips.push_back({level, isGroup, now, 1 / flip->first, flip->second});
          return;
        }
        from = to;
      }
    };
    std::vector<double> slower(next, knees.end()),
        faster(knees.begin(), std::lower_bound(knees.begin(), knees.end(), y));
    slower.push_back(kInfinite);
    std::reverse(faster.begin(), faster.end());
    faster.push_back(0);
    add(slower);
    add(faster);
  }

private:
  Candidate candidate(const MeshCandidate &priced) const {
    Candidate c;
    Topology others = problem.topology; // without this limit
    (isGroup ? others.levels[level].group_bytes_per_s : others.levels[level].p2p_bytes_per_s) = kInfinite;
    for (size_t r = 0; r < kRings; ++r) {
      const LevelUse &use = priced.rings[r].use[level];
      c.rings[r].floor = 1 / ringBandwidth(others, priced.rings[r].use);
      if (use.rings > 0)
        c.rings[r].slope =
            isGroup ? static_cast<double>(use.rings) : 1 / (others.rails ? static_cast<double>(use.members) : 1);
    }
    for (const PhasePrice &phase : priced.phases) {
      c.phases.emplace_back();
      for (const LayoutPrice &layout : phase.layouts)
        if (layout.refused.empty()) {
          c.phases.back().push_back({layout.compute_s + layout.latency_s, {}});
          for (size_t r = 0; r < kRings; ++r)
            c.phases.back().back().bytes[r] = layout.traffic[r].bytes;
        }
    }
    return c;
  }

  // A y strictly inside of an interval that may be without end.
  static double inside(double a, double b) {
    double low = std::min(a, b), high = std::max(a, b);
    return high == kInfinite ? 2 * low + 1 : (low + high) / 2;
  }

  // The flip nearest to `from` in an interval in which no ring has its knee.
  std::optional<std::pair<double, size_t>> within(double from, double to) const {
    // Where layouts overtake each other, the interval is cut further.
    std::vector<double> ends{to};
    double low = std::min(from, to), high = std::max(from, to), middle = inside(from, to);
    for (const Candidate &c : candidates)
      for (const std::vector<Layout> &phase : c.phases)
        for (size_t a = 0; a < phase.size(); ++a)
          for (size_t b = 0; b < a; ++b) {
            Line la = phase[a].line(c.rings, middle), lb = phase[b].line(c.rings, middle);
            double crossing = (lb.base - la.base) / (la.slope - lb.slope);
            if (crossing > low && crossing < high)
              ends.push_back(crossing);
          }
    if (from < to)
      std::sort(ends.begin(), ends.end());
    else
      std::sort(ends.rbegin(), ends.rend());
    for (double end : ends) {
      if (auto flip = linear(from, end))
        return flip;
      from = end;
    }
    return std::nullopt;
  }

  // The same where all times are lines: the nearest point at which the best is slower than another, beyond a tie. Of
  // several that meet there, the one that is fastest after it.
  std::optional<std::pair<double, size_t>> linear(double from, double to) const {
    std::optional<std::pair<double, size_t>> nearest;
    double y = inside(from, to), nearestSlope = 0, direction = to > from ? 1 : -1;
    Line best = candidates.front().line(problem.phases, y);
    for (size_t c = 1; c < candidates.size(); ++c) {
      Line other = candidates[c].line(problem.phases, y);
      Line lost{best.base - other.base * (1 + kTimeTolerance), best.slope - other.slope * (1 + kTimeTolerance)};
      bool isLostAtEnd = to == kInfinite ? lost.slope > 0 : lost.at(to) > 0;
      if (!isLostAtEnd)
        continue;
      double flip = lost.at(from) > 0 ? from : -lost.base / lost.slope;
      double nearer = nearest ? direction * (nearest->first - flip) : kInfinite;
      if (nearer > kSamePoint * flip || (nearer > -kSamePoint * flip && direction * other.slope < nearestSlope)) {
        nearest = {flip, c};
        nearestSlope = direction * other.slope;
      }
    }
    return nearest;
  }

  const MeshProblem &problem;
  size_t level;
  bool isGroup;
  std::vector<Candidate> candidates;
  std::vector<double> knees;
};
} // namespace

std::vector<BandwidthFlip> findFlips(const MeshProblem &problem, const MeshPlan &plan) {
  std::vector<BandwidthFlip> flips;
  if (plan.admissible < 2)
    return flips;
  for (size_t level = 0; level < problem.topology.levels.size(); ++level)
    for (bool isGroup : {false, true})
      Variation(problem, plan, level, isGroup).find(flips);
  return flips;
}

} // namespace snug
