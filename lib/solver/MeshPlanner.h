// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which device mesh a model is cut for, and how: the search space of Adaptive Tensor Parallelism (Cheng et al., arXiv
// 2301.08658), which is every d1 x d2 in column-first and row-first order, with one-dimensional tensor parallelism
// (Shoeybi et al., arXiv 1909.08053) by one ring and by hierarchical collectives. The planner knows nothing of models:
// a model says what it computes and sends for given numbers of cuts. Pure functions, for any thread; seconds, bytes.
#ifndef SNUG_LIB_SOLVER_MESHPLANNER_H
#define SNUG_LIB_SOLVER_MESHPLANNER_H

#include "lib/solver/MeshRings.h"
#include "lib/solver/TimeModel.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

namespace snug {

enum class Collective { AllReduce, ReduceScatter, AllGather, AllToAll };

/// The two ways in which a model is cut, by what they do to the first linear layer of a block: its outputs (heads, wide
/// dims) are cut over one mesh axis, its inputs (the residual's hidden dim) over the other. The second layer of a block
/// has them exchanged. Which axis of the mesh is which, the planner decides.
enum class Cut { Outputs, Inputs, Both };

/// A collective of all groups of an axis. `bytes` are those of the tensor on one device where it is whole over the
/// axis: before a reduce-scatter, after an all-gather, before an all-reduce or all-to-all.
struct CollectiveEvent {
  std::string what; ///< for people
  Collective kind = Collective::AllReduce;
  Cut cut = Cut::Outputs;
  double bytes = 0;
  double count = 1;
  /// The kernel, by its index in LayoutTerms::compute, whose rows it moves: both may be done in pieces of rows, each
  /// piece's collective while the next is computed. Its count is then the kernel's.
  std::optional<size_t> under;
};

/// What one device computes, as the time model of chunking has it.
struct ComputeTerm {
  std::string what;
  KernelCost cost;
  double count = 1;
};

/// One way to lay out activations, which weights do not depend on: a residual that is replicated over the outputs'
/// axis, or cut along the sequence.
struct LayoutTerms {
  std::string layout;
  std::string refused; ///< why it cannot be; empty if it can
  std::vector<CollectiveEvent> collectives;
  std::vector<ComputeTerm> compute;
};

/// What a model does when it is cut. Per phase, in the order of MeshProblem::phases, the layouts to choose from; of
/// equally fast ones the first is taken.
struct MeshTerms {
  std::string refused; ///< why no phase can be cut so, as "24 heads do not divide by 16"; empty if they can
  std::vector<std::vector<LayoutTerms>> phases;
};

/// A kind of run, as prefill and decode, and how many of it belong together: the declared mix.
struct MeshPhase {
  std::string name;
  double runs = 1;
};

/// OneD: outputs cut over all devices, one ring. Hierarchical: the same with collectives in steps, within the second
/// axis and then over the first. ColumnFirst: outputs over the first axis, inputs over the second. RowFirst: exchanged.
/// Free: each layer as is best for it, which contains all the others; closed forms know nothing of it.
enum class MeshFamily { OneD, ColumnFirst, HierarchicalOneD, RowFirst, Free };
const char *nameOf(MeshFamily family);
/// The family by a word of the command line: free, 1d, hierarchical, column-first, row-first; nullopt for others.
std::optional<MeshFamily> familyOf(const std::string &word);
const char *nameOf(Collective kind);

struct MeshProblem {
  Topology topology;
  std::vector<MeshPhase> phases;
  /// The model's terms where outputs and inputs are cut in so many parts, whose product is the number of devices.
  /// Called once for each pair.
  std::function<MeshTerms(int64_t outputs, int64_t inputs)> terms;
  std::optional<Machine> machine;      ///< without it computing takes no time, and only links are compared
  int threads = 1;                     ///< of each device
  std::vector<int> pieces{1, 2, 4, 8}; ///< of a kernel and the collectives under it; of equally fast ones the first
  std::vector<MeshFamily> families{MeshFamily::OneD, MeshFamily::ColumnFirst, MeshFamily::HierarchicalOneD,
                                   MeshFamily::RowFirst};
};

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

/// Every candidate priced and ordered. A collective takes the latency of its ring, and the bytes that each device sends
/// over the ring's bandwidth: (d-1)/d of the tensor on d devices, twice for an all-reduce (Thakur, Rabenseifner, Gropp,
/// IJHPCA 2005).
/// What runs in pieces takes pipelinedTime.
MeshPlan planMesh(const MeshProblem &problem);

/// Of equal pieces, each computed and then sent (or received and then computed, or both), one at a time each: the first
/// piece takes all its time, each other one what takes longer of the two.
inline double pipelinedTime(int pieces, double kernel_s, double links_s) {
  return kernel_s + links_s + (pieces - 1) * std::max(kernel_s, links_s);
}

/// One of so many pieces of a kernel's rows. Each reads all panels.
KernelCost pieceOf(const KernelCost &cost, int pieces);

} // namespace snug

#endif // SNUG_LIB_SOLVER_MESHPLANNER_H
