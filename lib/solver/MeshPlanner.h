// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which device mesh a model is cut for, and how: the search space of Adaptive Tensor Parallelism (Cheng et al., arXiv
// 2301.08658), which is every d1 x d2 in column-first and row-first order, with one-dimensional tensor parallelism
// (Shoeybi et al., arXiv 1909.08053) by one ring and by hierarchical collectives. The planner knows nothing of models:
// a model says what it computes and sends for given numbers of cuts. Pure functions, for any thread; seconds, bytes.
#ifndef SNUG_LIB_SOLVER_MESHPLANNER_H
#define SNUG_LIB_SOLVER_MESHPLANNER_H

#include "lib/solver/MeshPrices.h"
#include "lib/solver/TimeModel.h"

#include <algorithm>
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

const char *nameOf(Collective kind);

struct MeshProblem : MeshSetting {
  /// The model's terms where outputs and inputs are cut in so many parts, whose product is the number of devices.
  /// Called once for each pair.
  std::function<MeshTerms(int64_t outputs, int64_t inputs)> terms;
  std::optional<Machine> machine;      ///< without it computing takes no time, and only links are compared
  int threads = 1;                     ///< of each device
  std::vector<int> pieces{1, 2, 4, 8}; ///< of a kernel and the collectives under it; of equally fast ones the first
  std::vector<MeshFamily> families{MeshFamily::OneD, MeshFamily::ColumnFirst, MeshFamily::HierarchicalOneD,
                                   MeshFamily::RowFirst};
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
