// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/MeshRings.h"

#include <algorithm>
#include <limits>

namespace snug {

std::vector<LevelUse> ringUse(const Topology &t, const MeshShape &mesh, int axis) {
  size_t levels = t.levels.size();
  std::vector<LevelUse> use(levels);
  int64_t length = mesh.size(axis), groups = mesh.size(3 - axis);
  if (length <= 1)
    return use;
  // Of each level, how many places one of its units has; the unit of place p is p / span.
  std::vector<int64_t> span(levels, 1);
  for (size_t l = levels - 1; l > 0; --l)
    span[l - 1] = span[l] * t.levels[l].fanout;
  struct Unit {
    int64_t rings = 0, ring = -1, members = 0; // the ring that was seen last, and its members so far
    bool isLeft = false;
  };
  std::vector<std::vector<Unit>> units(levels);
  for (size_t l = 0; l < levels; ++l)
    units[l].resize(static_cast<size_t>(mesh.d1 * mesh.d2 / span[l]));

  for (int64_t g = 0; g < groups; ++g) {
    auto place = [&](int64_t k) { return axis == 1 ? (k % length) * mesh.d2 + g : g * mesh.d2 + k % length; };
    auto unitOf = [&](size_t l, int64_t k) -> Unit & { return units[l][static_cast<size_t>(place(k) / span[l])]; };
    for (int64_t k = 0; k < length; ++k)
      for (size_t l = 0; l < levels; ++l) {
        Unit &unit = unitOf(l, k);
        if (unit.ring != g)
          unit = {unit.rings, g, 0, false};
        ++unit.members;
      }
    for (int64_t k = 0; k < length; ++k) {
      size_t l = 0; // the outermost level at which the hop's ends are in different units
      while (place(k) / span[l] == place(k + 1) / span[l])
        ++l;
      Unit &unit = unitOf(l, k);
      if (unit.isLeft)
        continue;
      unit.isLeft = true;
      use[l].rings = std::max(use[l].rings, ++unit.rings);
      use[l].members = use[l].members == 0 ? unit.members : std::min(use[l].members, unit.members);
    }
  }
  return use;
}

double ringBandwidth(const Topology &t, const std::vector<LevelUse> &use) {
  double bandwidth = std::numeric_limits<double>::infinity();
  for (size_t l = 0; l < use.size(); ++l)
    if (use[l].rings > 0)
      bandwidth =
          std::min({bandwidth, t.levels[l].p2p_bytes_per_s * (t.rails ? static_cast<double>(use[l].members) : 1),
                    t.levels[l].group_bytes_per_s / static_cast<double>(use[l].rings)});
  return bandwidth;
}

double ringLatency(const Topology &t, const std::vector<LevelUse> &use) {
  double latency = 0;
  for (size_t l = 0; l < use.size(); ++l)
    if (use[l].rings > 0)
      latency = std::max(latency, t.levels[l].latency_s);
  return latency;
}

} // namespace snug
