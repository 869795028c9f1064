// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What connects devices, as levels of units in units: the hierarchical communication matrix of Adaptive Tensor
// Parallelism (Cheng et al., arXiv 2301.08658). Pure functions, for any thread; bytes/s per direction, seconds.
#ifndef SNUG_LIB_SOLVER_TOPOLOGY_H
#define SNUG_LIB_SOLVER_TOPOLOGY_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace snug {

/// One level: `fanout` sibling units that reach each other. The units of the innermost level are devices.
struct LinkLevel {
  int64_t fanout = 1;
  double p2p_bytes_per_s = 0;   ///< of one flow between two siblings, alone
  double group_bytes_per_s = 0; ///< of all flows together that leave one unit for its siblings
  double latency_s = 0;         ///< of a collective that crosses this level, beside the time of its bytes
};

struct Topology {
  std::string name;
  std::vector<LinkLevel> levels; ///< outermost first
  /// Whether the transport spreads a ring over the links of all its members in a unit, as NCCL does where each GPU has
  /// a network card of its own; else one ring is one flow.
  bool rails = false;
  /// The device at each place; places count through the innermost level first. Empty: each at the place of its number.
  std::vector<int64_t> devices;

  int64_t size() const; ///< devices; 0 where a fan-out is below 1, or their product beyond kMostDevices
};

constexpr int64_t kMostDevices = 65536;
constexpr size_t kMostTopologyLevels = 16, kMostMatrixDevices = 1024;

/// The first `count` devices, in order of places, where they are whole units of one level and all of those below; nullopt else.
std::optional<Topology> firstDevices(const Topology &topology, int64_t count);

/// What no interconnect can be, in one message that names the key of the topology file; empty if all is well.
std::string topologyProblem(const Topology &topology);

/// The text of a topology file with levels (docs/topology.md), the same for the same topology.
std::string topologyText(const Topology &topology);

/// Reads a topology file: levels, or matrices of all pairs, which are clustered. Nullopt and one message in `error` if
/// it is no JSON, lacks a key, has one that is not known, or a value that no interconnect has.
std::optional<Topology> parseTopology(const std::string &text, std::string &error);

/// What was measured between each two of N devices: N x N, [a][b] of what a sends to b. Diagonals do not matter.
struct LinkMatrix {
  std::vector<std::vector<double>> p2p_bytes_per_s; ///< one pair at a time
  std::vector<std::vector<double>> latency_s;
  /// Of each pair while all pairs exchange at once; empty if that was not measured.
  std::vector<std::vector<double>> contended_bytes_per_s;
};

/// The levels of a matrix whose links differ by no more than 10 % within a level: the fastest links that make units of
/// one size, in which all reach each other so fast, are the innermost level; then the same with these units, by their
/// slowest pair. Where contention was not measured, a unit has the bandwidth of one flow for all that leave it.
/// Expects square matrices of one size of at least 1 and positive bandwidths.
Topology clusterLinks(const LinkMatrix &matrix);

/// A topology of a common machine, by what its data sheet states. `source` says where from.
struct TopologyPreset {
  Topology topology; ///< its name is the preset's
  std::string source;
};
const std::vector<TopologyPreset> &topologyPresets();

/// So many devices at one switch: what is assumed where no topology is given. Of GPUs of NVIDIA with this compute capability (90 of
/// sm_90) links are what joins those of one machine, by data sheets; of CPUs (0) they are fast for processes of one machine or of
/// machines with network cards.
Topology uniformTopology(int64_t devices, int gpuCapability = 0);

} // namespace snug

#endif // SNUG_LIB_SOLVER_TOPOLOGY_H
