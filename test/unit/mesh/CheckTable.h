// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Topologies of the check tables. Their choices and times are this project's own, derived by hand from the cost model
// of docs/topology.md; they are not figures of the paper.
#ifndef SNUG_TEST_UNIT_MESH_CHECKTABLE_H
#define SNUG_TEST_UNIT_MESH_CHECKTABLE_H

#include "Transformer.h"

namespace snug::test {

struct Choice {
  int64_t d1, d2;
  MeshFamily family;
};
inline std::string text(const Choice &c) {
  return std::to_string(c.d1) + "x" + std::to_string(c.d2) + " " + nameOf(c.family);
}
constexpr MeshFamily kOneD = MeshFamily::OneD, kColumn = MeshFamily::ColumnFirst, kRow = MeshFamily::RowFirst,
                     kHierarchical = MeshFamily::HierarchicalOneD;

/// Bandwidths in GB/s (infinite: 0 here), times in ns an element of the residual and layer, of two bytes each.
struct Expected {
  Choice best;
  double b1, b2, time, oneD;
};

struct Row {
  const char *id;
  std::vector<std::array<double, 3>> levels; // fan-out, one flow, group
  Expected ring, rails;
  Choice hierarchical; // of all families, with rails
  double hierarchicalTime;
};

/// Levels outermost first, GB/s.
inline Topology topologyOf(const std::vector<std::array<double, 3>> &levels, bool rails, double latency = 0) {
  Topology t;
  t.name = "table";
  t.rails = rails;
  for (const auto &[fanout, p2p, group] : levels)
    t.levels.push_back({static_cast<int64_t>(fanout), p2p * 1e9, group * 1e9, latency});
  return t;
}

const std::vector<Row> &checkTable();

} // namespace snug::test

#endif // SNUG_TEST_UNIT_MESH_CHECKTABLE_H
