// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/MeshPlanner.h"
#include "lib/solver/MeshFlips.h"

#include <algorithm>
#include <limits>

namespace snug {

const char *nameOf(Collective kind) {
  switch (kind) {
  case Collective::AllReduce:
    return "all-reduce";
  case Collective::ReduceScatter:
    return "reduce-scatter";
  case Collective::AllGather:
    return "all-gather";
  case Collective::AllToAll:
    return "all-to-all";
  }
  return "";
}

namespace {
// One collective over one ring of the mesh.
struct Step {
  Collective kind;
  size_t ring;
  double bytes;
};

struct Placement {
  MeshFamily family;
  MeshShape mesh;

  // Along which ring the cut's groups lie.
  size_t ringOf(Cut cut) const {
    if (cut == Cut::Both)
      return mesh.d2 == 1 ? 0 : mesh.d1 == 1 ? 1 : 2;
    return (cut == Cut::Outputs) == (family != MeshFamily::RowFirst) ? 0 : 1;
  }

  int64_t sizeOf(size_t ring) const { return ring == 0 ? mesh.d1 : ring == 1 ? mesh.d2 : mesh.d1 * mesh.d2; }

  std::vector<Step> steps(const CollectiveEvent &event) const {
    if (family != MeshFamily::HierarchicalOneD)
      return {{event.kind, ringOf(event.cut), event.bytes}};
    if (event.cut == Cut::Inputs) // in one part
      return {};
    // Over all devices, in steps: what passes the first axis is cut over the second by then.
    double part = event.bytes / static_cast<double>(mesh.d2);
    switch (event.kind) {
    case Collective::AllReduce:
      return {{Collective::ReduceScatter, 1, event.bytes},
              {Collective::AllReduce, 0, part},
              {Collective::AllGather, 1, event.bytes}};
    case Collective::ReduceScatter:
      return {{event.kind, 1, event.bytes}, {event.kind, 0, part}};
    case Collective::AllGather:
      return {{event.kind, 0, part}, {event.kind, 1, event.bytes}};
    case Collective::AllToAll:
      return {{event.kind, 1, event.bytes}, {event.kind, 0, event.bytes}};
    }
    return {};
  }
};

// The candidates of one pair of cuts.
std::vector<Placement> placements(int64_t outputs, int64_t inputs) {
  std::vector<Placement> result;
  if (inputs == 1) {
    result.push_back({MeshFamily::OneD, {outputs, 1}});
    for (int64_t d1 = 2; d1 < outputs; ++d1)
      if (outputs % d1 == 0)
        result.push_back({MeshFamily::HierarchicalOneD, {d1, outputs / d1}});
    return result;
  }
  result.push_back({MeshFamily::ColumnFirst, {outputs, inputs}});
  if (outputs > 1) // else all devices are one ring either way
    result.push_back({MeshFamily::RowFirst, {inputs, outputs}});
  return result;
}

class Planner {
public:
  explicit Planner(const MeshProblem &problem) : problem(problem) {}

  MeshPlan run() {
    std::vector<MeshCandidate> candidates;
    int64_t devices = topologyProblem(problem.topology).empty() ? problem.topology.size() : 0;
    for (int64_t inputs = 1; inputs <= devices; ++inputs) {
      if (devices % inputs != 0)
        continue;
      std::vector<Placement> wanted = placements(devices / inputs, inputs);
      wanted.erase(
          std::remove_if(wanted.begin(), wanted.end(), [&](const Placement &p) { return !isWanted(p.family); }),
          wanted.end());
      if (wanted.empty())
        continue;
      MeshTerms terms = problem.terms(devices / inputs, inputs);
      for (const Placement &placement : wanted)
        candidates.push_back(price(placement, terms));
    }
    return orderedPlan(problem, std::move(candidates));
  }

private:
  bool isWanted(MeshFamily family) const {
    return std::find(problem.families.begin(), problem.families.end(), family) != problem.families.end();
  }

  MeshCandidate price(const Placement &placement, const MeshTerms &terms) const {
    MeshCandidate c;
    c.family = placement.family;
    c.mesh = placement.mesh;
    c.refused = terms.refused;
    if (c.refused.empty() && terms.phases.size() != problem.phases.size())
      c.refused = "the model states " + std::to_string(terms.phases.size()) + " phases of " +
                  std::to_string(problem.phases.size());
    if (!c.refused.empty())
      return c;
    c.rings = ringsOf(problem.topology, c.mesh);
    for (size_t p = 0; p < terms.phases.size(); ++p) {
      PhasePrice phase;
      bool found = false;
      std::string why = "the model states no layout";
      for (const LayoutTerms &layout : terms.phases[p]) {
        phase.layouts.push_back(price(placement, c, layout));
        size_t last = phase.layouts.size() - 1;
        if (!phase.layouts[last].refused.empty()) {
          why = phase.layouts[last].refused;
        } else if (!found || isFaster(phase.layouts[last].time(), phase.price().time())) {
          phase.chosen = last;
          found = true;
        }
      }
      if (!found) {
        c.refused = problem.phases[p].name + ": " + why;
        return c;
      }
      c.time_s += problem.phases[p].runs * phase.price().time();
      c.phases.push_back(std::move(phase));
    }
    return c;
  }

  LayoutPrice price(const Placement &placement, const MeshCandidate &c, const LayoutTerms &terms) const {
    LayoutPrice price;
    price.layout = terms.layout;
    price.refused = terms.refused;
    if (price.refused.empty())
      price.refused = overlapProblem(terms);
    if (!price.refused.empty())
      return price;
    std::vector<bool> isPipelined(terms.compute.size(), false);
    for (size_t k = 0; k < terms.compute.size(); ++k)
      if (std::optional<OverlapPrice> overlap = overlapOf(placement, terms, k)) {
        isPipelined[k] = true;
        addOverlap(c, *overlap, price);
      }
    for (const CollectiveEvent &event : terms.collectives) {
      if (event.under)
        continue;
      for (const Step &step : placement.steps(event)) {
        auto d = static_cast<double>(placement.sizeOf(step.ring));
        if (d <= 1)
          continue;
        addTraffic(price, step.ring, c.rings[step.ring], event.count, event.count * sentBytes(step, d));
      }
    }
    if (problem.machine)
      for (size_t k = 0; k < terms.compute.size(); ++k)
        if (!isPipelined[k])
          price.compute_s += terms.compute[k].count * timeOf(terms.compute[k].cost);
    return price;
  }

  double timeOf(const KernelCost &cost) const {
    return problem.machine ? kernelTime(*problem.machine, cost, problem.threads) : 0;
  }

  static double sentBytes(const Step &step, double devices) {
    return (step.kind == Collective::AllReduce ? 2 : 1) * (devices - 1) / devices * step.bytes;
  }

  static std::string overlapProblem(const LayoutTerms &terms) {
    for (const CollectiveEvent &event : terms.collectives)
      if (event.under && *event.under >= terms.compute.size())
        return "the model states that '" + event.what + "' runs under a kernel that it does not have";
      else if (event.under && terms.compute[*event.under].count != event.count)
        return "the model states that '" + event.what + "' runs under '" + terms.compute[*event.under].what +
               "', but not as often";
    return "";
  }

  // Nullopt where nothing is sent under the kernel.
  std::optional<OverlapPrice> overlapOf(const Placement &placement, const LayoutTerms &terms, size_t kernel) const {
    OverlapPrice overlap;
    overlap.what = terms.compute[kernel].what;
    overlap.kernel = kernel;
    overlap.count = terms.compute[kernel].count;
    bool any = false;
    for (const CollectiveEvent &event : terms.collectives)
      if (event.under == kernel)
        for (const Step &step : placement.steps(event))
          if (int64_t d = placement.sizeOf(step.ring); d > 1) {
            any = true;
            overlap.collectives[step.ring] += 1;
            overlap.bytes[step.ring] += sentBytes(step, static_cast<double>(d));
          }
    if (!any)
      return std::nullopt;
    const KernelCost &cost = terms.compute[kernel].cost;
    for (int pieces : problem.pieces)
      if (pieces == 1 || (pieces > 1 && (cost.rows <= 0 || pieces <= cost.rows)))
        overlap.kernel_s.push_back({pieces, timeOf(pieceOf(cost, pieces))});
    if (overlap.kernel_s.empty())
      overlap.kernel_s.push_back({1, timeOf(cost)});
    return overlap;
  }

  // Chooses the pieces.
  static void addOverlap(const MeshCandidate &c, OverlapPrice overlap, LayoutPrice &price) {
    auto linksTime = [&](int pieces) {
      double time = 0;
      for (size_t r = 0; r < kRings; ++r)
        if (overlap.collectives[r] > 0)
          time += overlap.collectives[r] * c.rings[r].latency + overlap.bytes[r] / pieces / c.rings[r].bandwidth;
      return time;
    };
    double best = std::numeric_limits<double>::infinity(), kernel = 0;
    for (auto [pieces, kernelTime] : overlap.kernel_s)
      if (double time = pipelinedTime(pieces, kernelTime, linksTime(pieces)); isFaster(time, best)) {
        best = time;
        kernel = kernelTime;
        overlap.pieces = pieces;
      }
    double alone = overlap.pieces * (kernel + linksTime(overlap.pieces));
    price.compute_s += overlap.count * overlap.pieces * kernel;
    price.hidden_s += overlap.count * (alone - best);
    for (size_t r = 0; r < kRings; ++r)
      if (double calls = overlap.count * overlap.pieces * overlap.collectives[r]; calls > 0)
        addTraffic(price, r, c.rings[r], calls, overlap.count * overlap.bytes[r]);
    price.overlaps.push_back(std::move(overlap));
  }

  const MeshProblem &problem;
};
} // namespace

KernelCost pieceOf(const KernelCost &cost, int pieces) {
  KernelCost piece = cost;
  piece.work = cost.work.times(1.0 / pieces);
  piece.rows = (cost.rows + pieces - 1) / pieces;
  piece.pieces = std::max(1.0, cost.pieces / pieces);
  piece.near_s = cost.near_s / pieces;
  piece.far_bytes = cost.far_bytes / pieces;
  return piece;
}

MeshPlan planMesh(const MeshProblem &problem) { return Planner(problem).run(); }

} // namespace snug
