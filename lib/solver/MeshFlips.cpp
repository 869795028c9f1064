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

// What is sent: seconds that do not depend on bandwidths, and bytes over each ring.
struct Sent {
  double fixed = 0;
  std::array<double, kRings> bytes{};
  Line line(const std::array<Ring, kRings> &rings, double y, double share = 1) const {
    Line sum{fixed, 0};
    for (size_t r = 0; r < kRings; ++r)
      if (bytes[r] > 0) {
        Line one = rings[r].line(y);
        sum.base += share * bytes[r] * one.base;
        sum.slope += share * bytes[r] * one.slope;
      }
    return sum;
  }
  bool operator==(const Sent &o) const { return fixed == o.fixed && bytes == o.bytes; }
};

// A kernel and what is sent under it, in as many pieces as is best.
struct Pipeline {
  double count = 0;
  std::vector<std::pair<int, double>> kernels; // by pieces
  Sent piece;                                  // but for its bytes, which are those of all

  Line links(size_t choice, const std::array<Ring, kRings> &rings, double y) const {
    return piece.line(rings, y, 1.0 / kernels[choice].first);
  }
  // Valid near y where neither the links overtake the kernel nor it them.
  Line line(size_t choice, const std::array<Ring, kRings> &rings, double y) const {
    Line sum = links(choice, rings, y);
    auto [pieces, kernel] = kernels[choice];
    if (sum.at(y) > kernel) {
      sum.base = pieces * sum.base + kernel;
      sum.slope *= pieces;
    } else {
      sum.base += pieces * kernel;
    }
    return sum;
  }
  // Valid near y where no number of pieces overtakes another, too.
  Line line(const std::array<Ring, kRings> &rings, double y) const {
    Line least{kInfinite, 0};
    for (size_t choice = 0; choice < kernels.size(); ++choice)
      if (Line line = this->line(choice, rings, y); line.at(y) < least.at(y))
        least = line;
    return least;
  }
};

struct Layout {
  Sent alone; // and computed
  std::vector<Pipeline> pipelines;
  Line line(const std::array<Ring, kRings> &rings, double y) const {
    Line sum = alone.line(rings, y);
    for (const Pipeline &pipeline : pipelines) {
      Line one = pipeline.line(rings, y);
      sum.base += pipeline.count * one.base;
      sum.slope += pipeline.count * one.slope;
    }
    return sum;
  }

  // Equal ones, of equal layers, are one.
  void add(const Pipeline &added) {
    for (Pipeline &pipeline : pipelines)
      if (pipeline.kernels == added.kernels && pipeline.piece == added.piece) {
        pipeline.count += added.count;
        return;
      }
    pipelines.push_back(added);
  }
};

// A y strictly inside of an interval that may be without end.
double inside(double a, double b) {
  double low = std::min(a, b), high = std::max(a, b);
  return high == kInfinite ? 2 * low + 1 : (low + high) / 2;
}

// Adds to the knees, ascending, where any two of `count` functions cross that are lines from knee to knee.
template <class F> void addCrossings(std::vector<double> &knees, size_t count, F lineOf) {
  std::vector<double> found;
  for (size_t i = 0; i <= knees.size(); ++i) {
    double low = i == 0 ? 0 : knees[i - 1], high = i == knees.size() ? kInfinite : knees[i], middle = inside(low, high);
    std::vector<Line> lines;
    for (size_t f = 0; f < count; ++f)
      lines.push_back(lineOf(f, middle));
    for (size_t f = 0; f < count; ++f)
      for (size_t g = 0; g < f; ++g) {
        double crossing = (lines[g].base - lines[f].base) / (lines[f].slope - lines[g].slope);
        if (crossing > low && crossing < high)
          found.push_back(crossing);
      }
  }
  knees.insert(knees.end(), found.begin(), found.end());
  std::sort(knees.begin(), knees.end());
  knees.erase(std::unique(knees.begin(), knees.end()), knees.end());
}

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

  // All points at which its time may bend, ascending.
  std::vector<double> knees() const {
    std::vector<double> ofRings;
    for (const Ring &ring : rings)
      if (ring.knee() > 0 && ring.knee() < kInfinite)
        ofRings.push_back(ring.knee());
    std::sort(ofRings.begin(), ofRings.end());
    std::vector<double> all = ofRings;
    for (const std::vector<Layout> &phase : phases)
      for (const Layout &layout : phase)
        for (const Pipeline &pipeline : layout.pipelines) {
          std::vector<double> own = kneesOf(pipeline, ofRings);
          all.insert(all.end(), own.begin(), own.end());
        }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::vector<double> result = all;
    for (const std::vector<Layout> &phase : phases) {
      std::vector<double> own = all;
      addCrossings(own, phase.size(), [&](size_t layout, double y) { return phase[layout].line(rings, y); });
      result.insert(result.end(), own.begin(), own.end());
    }
    return result;
  }

private:
  std::vector<double> kneesOf(const Pipeline &pipeline, const std::vector<double> &ofRings) const {
    std::vector<double> result = ofRings;
    for (size_t choice = 0; choice < pipeline.kernels.size(); ++choice) {
      std::vector<double> own = ofRings;
      addCrossings(own, 2, [&](size_t links, double y) {
        return links ? pipeline.links(choice, rings, y) : Line{pipeline.kernels[choice].second, 0};
      });
      result.insert(result.end(), own.begin(), own.end());
    }
    std::sort(result.begin(), result.end());
    addCrossings(result, pipeline.kernels.size(),
                 [&](size_t choice, double y) { return pipeline.line(choice, rings, y); });
    return result;
  }
};

// One bandwidth of the topology, and all candidates as functions of it.
class Variation {
public:
  Variation(const MeshSetting &setting, const MeshPlan &plan, size_t level, bool isGroup)
      : setting(setting), level(level), isGroup(isGroup) {
    for (size_t c = 0; c < plan.admissible; ++c)
      candidates.push_back(candidate(plan.candidates[c]));
    for (const Candidate &c : candidates) {
      std::vector<double> own = c.knees();
      knees.insert(knees.end(), own.begin(), own.end());
    }
    std::sort(knees.begin(), knees.end());
    knees.erase(std::unique(knees.begin(), knees.end()), knees.end());
  }

  void find(std::vector<BandwidthFlip> &flips) const {
    const LinkLevel &link = setting.topology.levels[level];
    double now = isGroup ? link.group_bytes_per_s : link.p2p_bytes_per_s, y = 1 / now;
    auto next = std::upper_bound(knees.begin(), knees.end(), y);
    auto add = [&](std::vector<double> ends) { // walks from y over the ends, until a flip is found
      double from = y;
      for (double to : ends) {
        if (auto flip = linear(from, to)) {
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
    Topology others = setting.topology; // without this limit
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
        if (layout.refused.empty())
          c.phases.back().push_back(layoutOf(layout, priced));
    }
    return c;
  }

  static Layout layoutOf(const LayoutPrice &price, const MeshCandidate &priced) {
    Layout layout;
    layout.alone.fixed = price.compute_s + price.latency_s;
    for (size_t r = 0; r < kRings; ++r)
      layout.alone.bytes[r] = price.traffic[r].bytes;
    for (const OverlapPrice &overlap : price.overlaps) {
      Pipeline pipeline{overlap.count, overlap.kernel_s, {0, overlap.bytes}};
      for (size_t r = 0; r < kRings; ++r) {
        pipeline.piece.fixed += overlap.collectives[r] * priced.rings[r].latency;
        layout.alone.bytes[r] -= overlap.count * overlap.bytes[r];
      }
      for (auto [pieces, kernel] : overlap.kernel_s)
        if (pieces == overlap.pieces)
          layout.alone.fixed -= overlap.count * pieces * (kernel + pipeline.piece.fixed);
      layout.add(pipeline);
    }
    return layout;
  }

  // In an interval in which all times are lines: the point nearest to `from` at which the best is slower than
  // another, beyond a tie. Of several that meet there, the one that is fastest after it.
  std::optional<std::pair<double, size_t>> linear(double from, double to) const {
    std::optional<std::pair<double, size_t>> nearest;
    double y = inside(from, to), nearestSlope = 0, direction = to > from ? 1 : -1;
    Line best = candidates.front().line(setting.phases, y);
    for (size_t c = 1; c < candidates.size(); ++c) {
      Line other = candidates[c].line(setting.phases, y);
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

  const MeshSetting &setting;
  size_t level;
  bool isGroup;
  std::vector<Candidate> candidates;
  std::vector<double> knees;
};
} // namespace

std::vector<BandwidthFlip> findFlips(const MeshSetting &setting, const MeshPlan &plan) {
  std::vector<BandwidthFlip> flips;
  if (plan.admissible < 2)
    return flips;
  for (size_t level = 0; level < setting.topology.levels.size(); ++level)
    for (bool isGroup : {false, true})
      Variation(setting, plan, level, isGroup).find(flips);
  return flips;
}

} // namespace snug
