// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What programs for meshes take whose computing and traffic are known, wherever from: a closed form (MeshPlanner.h) or a search
// over all layouts. Priced by the links of a topology, ordered, and how far each bandwidth is from another choice. Pure
// functions, for any thread; seconds, bytes.
#ifndef SNUG_LIB_SOLVER_MESHPRICES_H
#define SNUG_LIB_SOLVER_MESHPRICES_H

#include "lib/solver/MeshRings.h"

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace snug {

/// A kind of run, as prefill and decode, and how many of it belong together: the declared mix.
struct MeshPhase {
  std::string name;
  double runs = 1;
};

/// What all candidates have in common.
struct MeshSetting {
  Topology topology;
  std::vector<MeshPhase> phases;
};

/// OneD: outputs cut over all devices, one ring. Hierarchical: the same with collectives in steps, within the second
/// axis and then over the first. ColumnFirst: outputs over the first axis, inputs over the second. RowFirst: exchanged.
/// Free: each layer as is best for it, which contains all the others; closed forms know nothing of it.
enum class MeshFamily { OneD, ColumnFirst, HierarchicalOneD, RowFirst, Free };
const char *nameOf(MeshFamily family);
/// The family by a word of the command line: free, 1d, hierarchical, column-first, row-first; nullopt for others.
std::optional<MeshFamily> familyOf(const std::string &word);

/// Whether keys go round devices where rows of an attention are cut: where that is faster, never, or always.
enum class RingAttention { Auto, Off, On };
std::optional<RingAttention> ringAttentionOf(const std::string &word); ///< auto, off, on; nullopt for others

/// What goes over one axis. `bytes` are those that each device sends. A collective in pieces is as many.
struct AxisTraffic {
  double collectives = 0, bytes = 0, latency_s = 0, transfer_s = 0;
};

/// Mesh axes 1 and 2, and the ring of all devices in order of places, which only 2D meshes use beside the two.
constexpr size_t kRings = 3;

/// One of them. Infinite bandwidth and no latency where it has one device.
struct MeshRing {
  std::vector<LevelUse> use; ///< by level of the topology
  double bandwidth = 0, latency = 0;
};

/// A kernel and all collectives under it, for one of `count` times that they are done.
struct OverlapPrice {
  std::string what;
  size_t kernel = 0; ///< of LayoutTerms::compute
  double count = 1;
  std::vector<std::pair<int, double>> kernel_s;      ///< by pieces to choose from: of one of them
  std::array<double, kRings> collectives{}, bytes{}; ///< of one piece; of all
  int pieces = 1;                                    ///< chosen
};

struct LayoutPrice {
  std::string layout, refused;
  double compute_s = 0, latency_s = 0, transfer_s = 0;
  double hidden_s = 0; ///< of these: what runs while something else does
  std::array<AxisTraffic, kRings> traffic;
  std::vector<OverlapPrice> overlaps;
  double time() const { return compute_s + latency_s + transfer_s - hidden_s; }
};

struct PhasePrice {
  std::vector<LayoutPrice> layouts;
  size_t chosen = 0;
  const LayoutPrice &price() const { return layouts[chosen]; }
};

struct MeshCandidate {
  MeshFamily family = MeshFamily::OneD;
  MeshShape mesh;
  std::string refused; ///< why it cannot be; empty if it can, and then all below is set
  std::array<MeshRing, kRings> rings;
  std::vector<PhasePrice> phases;
  double time_s = 0; ///< of all phases, as often as they run
};

/// Where one bandwidth of the topology, all else the same, changes the choice.
struct BandwidthFlip {
  size_t level = 0;
  bool isGroup = false; ///< of a unit's group bandwidth; else that of one flow
  double now = 0, at = 0;
  size_t candidate = 0; ///< the one that is better beyond `at`
};

struct MeshPlan {
  std::string problem; ///< why there is no plan: a topology that cannot be; empty else
  /// Best first, refused ones last. Equally fast (within 1e-9) are taken by larger d1, then in the order of MeshFamily.
  std::vector<MeshCandidate> candidates;
  size_t admissible = 0;            ///< of them; 0: the model cannot be cut for so many devices
  std::vector<BandwidthFlip> flips; ///< at most two of each bandwidth: the nearest below and above
};

/// What one device computes and sends in a run of one phase.
struct StatedTraffic {
  double compute_s = 0;
  std::array<double, kRings> collectives{}, bytes{};
  StatedTraffic &operator+=(const StatedTraffic &o) {
    compute_s += o.compute_s;
    for (size_t r = 0; r < kRings; ++r) {
      collectives[r] += o.collectives[r];
      bytes[r] += o.bytes[r];
    }
    return *this;
  }
};

/// A program for a mesh whose traffic is known.
struct StatedProgram {
  MeshFamily family = MeshFamily::Free;
  MeshShape mesh;                    ///< of as many devices as the topology has
  std::string refused;               ///< why there is none; empty if there is
  std::vector<StatedTraffic> phases; ///< as MeshSetting has them
};

/// Programs priced and ordered, by the same rules as planMesh.
MeshPlan planStated(const MeshSetting &setting, const std::vector<StatedProgram> &programs);

/// The rings of a mesh of the topology's devices.
std::array<MeshRing, kRings> ringsOf(const Topology &topology, const MeshShape &mesh);

/// So many collectives, of so many bytes that a device sends in all, over one ring.
void addTraffic(LayoutPrice &price, size_t ring, const MeshRing &over, double collectives, double bytes);

/// A plan of candidates whose times are set: ordered, with its flips.
MeshPlan orderedPlan(const MeshSetting &setting, std::vector<MeshCandidate> candidates);

} // namespace snug

#endif // SNUG_LIB_SOLVER_MESHPRICES_H
