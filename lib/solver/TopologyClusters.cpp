// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Levels out of a matrix of links.
#include "lib/solver/Topology.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace snug {

// Links that differ by no more than this are of one kind.
static constexpr double kTolerance = 0.1;

namespace {
using Matrix = std::vector<std::vector<double>>;
using Units = std::vector<std::vector<size_t>>;

// Units as sets of devices, in the order of their places; each step joins units to larger ones.
class Clusters {
public:
  explicit Clusters(const LinkMatrix &matrix) : matrix(matrix) {
    for (size_t device = 0; device < matrix.p2p_bytes_per_s.size(); ++device)
      units.push_back({device});
    link = matrix.p2p_bytes_per_s;
    for (size_t a = 0; a < link.size(); ++a)
      for (size_t b = 0; b < a; ++b)
        link[a][b] = link[b][a] = std::min(link[a][b], link[b][a]); // a ring uses both directions
  }

  Topology build() {
    Topology t;
    while (units.size() > 1)
      join(fastestGroups(), t);
    if (t.levels.empty()) // one device: any link does
      t.levels.push_back({1, 1e9, 1e9, 0});
    std::reverse(t.levels.begin(), t.levels.end());
    for (size_t device : units.front())
      t.devices.push_back(static_cast<int64_t>(device));
    if (std::is_sorted(t.devices.begin(), t.devices.end()))
      t.devices.clear();
    return t;
  }

private:
  // The groups of units to join: of one size, and in each all links belong to the fastest kinds that make such groups.
  Units fastestGroups() const {
    std::vector<double> links;
    for (size_t a = 0; a < units.size(); ++a)
      links.insert(links.end(), link[a].begin() + a + 1, link[a].end());
    std::sort(links.rbegin(), links.rend());
    for (size_t first = 0; first < links.size();) {
      size_t end = first;
      while (end < links.size() && links[end] >= links[first] * (1 - kTolerance))
        ++end;
      Units groups = connected(links[end - 1]);
      if (areLevel(groups, links[end - 1]))
        return groups;
      first = end;
    }
    return connected(0); // not reached: the slowest kind joins all
  }

  // Sets of units that links of at least `least` connect, by their first unit.
  Units connected(double least) const {
    std::vector<bool> seen(units.size());
    Units groups;
    for (size_t start = 0; start < units.size(); ++start) {
      if (seen[start])
        continue;
      seen[start] = true;
      std::vector<size_t> group{start};
      for (size_t i = 0; i < group.size(); ++i)
        for (size_t next = 0; next < units.size(); ++next)
          if (!seen[next] && link[group[i]][next] >= least) {
            seen[next] = true;
            group.push_back(next);
          }
      std::sort(group.begin(), group.end());
      groups.push_back(group);
    }
    return groups;
  }

  // A level says of any two siblings that a flow between them is so fast: a chain of fast links is no unit.
  bool areLevel(const Units &groups, double least) const {
    return std::all_of(groups.begin(), groups.end(), [&](const std::vector<size_t> &group) {
      if (group.size() != groups.front().size())
        return false;
      for (size_t a : group)
        for (size_t b : group)
          if (a != b && link[a][b] < least)
            return false;
      return true;
    });
  }

  void join(const Units &groups, Topology &t) {
    constexpr double kInfinite = std::numeric_limits<double>::infinity();
    LinkLevel level{static_cast<int64_t>(groups.front().size()), kInfinite, kInfinite, 0};
    for (const std::vector<size_t> &group : groups)
      for (size_t a : group) {
        double out = 0, in = 0; // of unit a, while all pairs exchange
        for (size_t b : group)
          if (a != b) {
            level.p2p_bytes_per_s = std::min(level.p2p_bytes_per_s, link[a][b]);
            for (size_t from : units[a])
              for (size_t to : units[b]) {
                level.latency_s = std::max({level.latency_s, matrix.latency_s[from][to], matrix.latency_s[to][from]});
                if (!matrix.contended_bytes_per_s.empty()) {
                  out += matrix.contended_bytes_per_s[from][to];
                  in += matrix.contended_bytes_per_s[to][from];
                }
              }
          }
        level.group_bytes_per_s = std::min({level.group_bytes_per_s, out, in});
      }
    // One flow alone is one that leaves the unit; while all exchange, inner ones may take of a device's own link.
    level.group_bytes_per_s = std::max(level.group_bytes_per_s, level.p2p_bytes_per_s);
    t.levels.push_back(level);

    Units joined;
    Matrix between(groups.size(), std::vector<double>(groups.size(), kInfinite));
    for (size_t g = 0; g < groups.size(); ++g) {
      joined.emplace_back();
      for (size_t a : groups[g])
        joined[g].insert(joined[g].end(), units[a].begin(), units[a].end());
      for (size_t o = 0; o < groups.size(); ++o)
        for (size_t a : groups[g])
          for (size_t b : groups[o])
            if (g != o)
              between[g][o] = std::min(between[g][o], link[a][b]);
    }
    units = joined;
    link = between;
  }

  const LinkMatrix &matrix;
  Units units; // devices of each unit
  Matrix link; // slowest flow between two units, either direction
};
} // namespace

Topology clusterLinks(const LinkMatrix &matrix) { return Clusters(matrix).build(); }

} // namespace snug
