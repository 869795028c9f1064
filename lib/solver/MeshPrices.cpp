// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/MeshPrices.h"
#include "lib/solver/MeshFlips.h"

#include <algorithm>
#include <limits>

namespace snug {

const char *nameOf(MeshFamily family) {
  switch (family) {
  case MeshFamily::OneD:
    return "1D";
  case MeshFamily::ColumnFirst:
    return "column-first";
  case MeshFamily::HierarchicalOneD:
    return "hierarchical 1D";
  case MeshFamily::RowFirst:
    return "row-first";
  case MeshFamily::Free:
    return "free";
  }
  return "";
}

std::optional<RingAttention> ringAttentionOf(const std::string &word) {
  if (word == "auto")
    return RingAttention::Auto;
  if (word == "off")
    return RingAttention::Off;
  return word == "on" ? std::optional(RingAttention::On) : std::nullopt;
}

std::optional<MeshFamily> familyOf(const std::string &word) {
  for (auto [name, family] : {std::pair("free", MeshFamily::Free), std::pair("1d", MeshFamily::OneD),
                              std::pair("hierarchical", MeshFamily::HierarchicalOneD),
                              std::pair("column-first", MeshFamily::ColumnFirst), std::pair("row-first", MeshFamily::RowFirst)})
    if (word == name)
      return family;
  return std::nullopt;
}

static bool precedes(const MeshCandidate &a, const MeshCandidate &b) {
    return a.mesh.d1 != b.mesh.d1 ? a.mesh.d1 > b.mesh.d1 : a.family < b.family;
  }

  // Best first by the rule, which is no order of pairs (ties do not chain): the best of those that are left, again and
  // again.
static std::vector<MeshCandidate> ordered(std::vector<MeshCandidate> left) {
    std::vector<MeshCandidate> result;
    while (!left.empty()) {
      double least = std::numeric_limits<double>::infinity();
      for (const MeshCandidate &c : left)
        least = std::min(least, c.time_s);
      auto best = left.end();
      for (auto c = left.begin(); c != left.end(); ++c)
        if (!isFaster(least, c->time_s) && (best == left.end() || precedes(*c, *best)))
          best = c;
      result.push_back(std::move(*best));
      left.erase(best);
    }
    return result;
  }

std::array<MeshRing, kRings> ringsOf(const Topology &topology, const MeshShape &mesh) {
  std::array<MeshRing, kRings> rings;
  MeshShape whole{1, mesh.d1 * mesh.d2};
  for (size_t r = 0; r < kRings; ++r) {
    std::vector<LevelUse> use = ringUse(topology, r == 2 ? whole : mesh, r == 0 ? 1 : 2);
    double bandwidth = ringBandwidth(topology, use), latency = ringLatency(topology, use);
    rings[r] = {std::move(use), bandwidth, latency};
  }
  return rings;
}

void addTraffic(LayoutPrice &price, size_t ring, const MeshRing &over, double collectives, double bytes) {
  AxisTraffic &traffic = price.traffic[ring];
  double latency = collectives * over.latency, transfer = bytes / over.bandwidth;
  traffic.collectives += collectives;
  traffic.bytes += bytes;
  traffic.latency_s += latency;
  traffic.transfer_s += transfer;
  price.latency_s += latency;
  price.transfer_s += transfer;
}

MeshPlan orderedPlan(const MeshSetting &setting, std::vector<MeshCandidate> candidates) {
  MeshPlan plan;
  plan.problem = topologyProblem(setting.topology);
  if (!plan.problem.empty())
    return plan;
  auto firstRefused = std::stable_partition(candidates.begin(), candidates.end(), [](const MeshCandidate &c) { return c.refused.empty(); });
  std::vector<MeshCandidate> refused(firstRefused, candidates.end());
  candidates.erase(firstRefused, candidates.end());
  plan.candidates = ordered(std::move(candidates));
  plan.admissible = plan.candidates.size();
  plan.candidates.insert(plan.candidates.end(), refused.begin(), refused.end());
  plan.flips = findFlips(setting, plan);
  return plan;
}

MeshPlan planStated(const MeshSetting &setting, const std::vector<StatedProgram> &programs) {
  std::vector<MeshCandidate> candidates;
  for (const StatedProgram &program : programs) {
    MeshCandidate c;
    c.family = program.family;
    c.mesh = program.mesh;
    c.refused = program.refused;
    if (c.refused.empty())
      c.rings = ringsOf(setting.topology, c.mesh);
    for (size_t p = 0; c.refused.empty() && p < setting.phases.size(); ++p) {
      LayoutPrice price;
      price.layout = "searched";
      price.compute_s = program.phases[p].compute_s;
      for (size_t r = 0; r < kRings; ++r)
        if (program.phases[p].collectives[r] > 0)
          addTraffic(price, r, c.rings[r], program.phases[p].collectives[r], program.phases[p].bytes[r]);
      c.time_s += setting.phases[p].runs * price.time();
      c.phases.push_back({{price}, 0});
    }
    candidates.push_back(std::move(c));
  }
  return orderedPlan(setting, std::move(candidates));
}

} // namespace snug
