// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How a tensor lies on a mesh of devices, and the collectives that bring it from one layout to another. Pure functions, for
// any thread.
#ifndef SNUG_LIB_SOLVER_TENSORLAYOUT_H
#define SNUG_LIB_SOLVER_TENSORLAYOUT_H

#include <array>
#include <cstdint>
#include <vector>

namespace snug {

/// What the devices along one mesh axis have of a tensor: all of it, parts of one of its dims, or summands of it.
///
/// A cut dim is a row of segments, each of which is cut into as many equal parts as there are devices: the device at place i
/// has part i of each segment, in their order. One segment is the plain cut. More than one is what a matrix needs whose
/// columns are several matrices side by side, as queries, keys and values of attention: each device has some heads of each.
///
/// A dim that does not divide, or is open until the program runs, is one segment, which is filled up to a multiple of all
/// devices of the mesh. What devices have beyond its end has no meaning, and no other layout of the tensor has it.
struct AxisLayout {
  static constexpr int64_t kOpen = -1;
  enum Kind { Whole, Cut, Partial };
  Kind kind = Whole;
  int64_t dim = 0;               ///< of a Cut
  std::vector<int64_t> segments; ///< of a Cut: their lengths, whose sum is the dim's extent; kOpen alone where it is open

  static AxisLayout whole() { return {}; }
  static AxisLayout partial() { return {Partial, 0, {}}; }
  static AxisLayout cut(int64_t dim, std::vector<int64_t> segments) { return {Cut, dim, std::move(segments)}; }
  bool operator==(const AxisLayout &o) const { return kind == o.kind && (kind != Cut || (dim == o.dim && segments == o.segments)); }
  bool operator!=(const AxisLayout &o) const { return !(*this == o); }
};

constexpr int kMeshAxes = 2;

/// By mesh axis. Where both cut one dim they do it in the same segments, and the parts of axis 0 are cut again by axis 1: the
/// device at (i, j) has part i * n1 + j of n0 * n1.
using TensorLayout = std::array<AxisLayout, kMeshAxes>;

/// Devices along each axis.
using MeshExtents = std::array<int64_t, kMeshAxes>;

/// Whether a dim is filled up where `axis` cuts it so: see AxisLayout.
bool isFilled(const AxisLayout &cut, int axis, const MeshExtents &mesh);

/// What a dim of that extent is filled up to: a multiple of all devices, so that parts of axis 0 are cut by axis 1 where they
/// would be without it.
int64_t filledExtent(int64_t extent, const MeshExtents &mesh);

/// Whether the layout can be: segments that all devices get equal parts of, or are filled up to get, and no dim that is cut in
/// two ways.
bool isLayout(const TensorLayout &layout, const MeshExtents &mesh);

/// The share of the elements that one device holds, what is filled up not counted.
double shareOf(const TensorLayout &layout, const MeshExtents &mesh);
/// The same, counted, of a tensor of these extents.
double shareOf(const TensorLayout &layout, const MeshExtents &mesh, const std::vector<int64_t> &extents);

/// Segments of a dim as `axis` finds them when it cuts the dim: those of the layout, shorter where axis 0 cuts it already, and then
/// filled up.
std::vector<int64_t> segmentsFor(int axis, const AxisLayout &cut, const TensorLayout &layout, const MeshExtents &mesh);

/// One step on the way to another layout: of `axis`, from what it was to `to`; the other axis stays as it is.
struct ReshardStep {
  /// Slice moves nothing: each device keeps its part of what it has. Nor does Mask, which makes summands: the first device along the
  /// axis has the tensor, and all others zeros. AllReduceBoth is the one of both axes, `axis` being 0.
  enum Kind { Slice, Mask, AllReduce, AllReduceBoth, ReduceScatter, AllGather, AllToAll };
  Kind kind = Slice;
  int axis = 0;
  AxisLayout from, to;
};

/// The layout after a step.
TensorLayout after(TensorLayout layout, const ReshardStep &step);

/// The steps from one layout of a tensor to another, by single axes: what makes tensors smaller first (slices, reductions),
/// then moves and gathers, then the slices and masks that have to wait for these. Axes with one device take part in none.
std::vector<ReshardStep> planResharding(TensorLayout from, const TensorLayout &to, const MeshExtents &mesh);

} // namespace snug

#endif // SNUG_LIB_SOLVER_TENSORLAYOUT_H
