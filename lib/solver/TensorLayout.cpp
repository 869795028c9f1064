// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/TensorLayout.h"

namespace snug {

namespace {
bool isCut(const AxisLayout &layout) { return layout.kind == AxisLayout::Cut; }

bool sharesDim(const AxisLayout &a, const AxisLayout &b) { return isCut(a) && isCut(b) && a.dim == b.dim; }
} // namespace

bool isFilled(const AxisLayout &cut, int axis, const MeshExtents &mesh) {
  return isCut(cut) && cut.segments.size() == 1 &&
         (cut.segments[0] == AxisLayout::kOpen || cut.segments[0] % mesh[axis] != 0);
}

int64_t filledExtent(int64_t extent, const MeshExtents &mesh) {
  int64_t devices = mesh[0] * mesh[1];
  return (extent + devices - 1) / devices * devices;
}

bool isLayout(const TensorLayout &layout, const MeshExtents &mesh) {
  bool isNested = sharesDim(layout[0], layout[1]) && mesh[0] > 1 && mesh[1] > 1;
  if (isNested && (layout[0].segments != layout[1].segments || isFilled(layout[0], 0, mesh) != isFilled(layout[1], 1, mesh)))
    return false;
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (isCut(layout[axis]) && mesh[axis] > 1 && !isFilled(layout[axis], axis, mesh))
      for (int64_t length : layout[axis].segments)
        if (length % (isNested ? mesh[0] * mesh[1] : mesh[axis]) != 0)
          return false;
  return true;
}

double shareOf(const TensorLayout &layout, const MeshExtents &mesh) {
  double share = 1;
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (isCut(layout[axis]))
      share /= static_cast<double>(mesh[axis]);
  return share;
}

double shareOf(const TensorLayout &layout, const MeshExtents &mesh, const std::vector<int64_t> &extents) {
  double share = shareOf(layout, mesh);
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    bool isCounted = axis == 1 && sharesDim(layout[0], layout[1]);
    if (int64_t extent = isCut(layout[axis]) ? extents[layout[axis].dim] : 0; extent > 0 && !isCounted && isFilled(layout[axis], axis, mesh))
      share *= static_cast<double>(filledExtent(extent, mesh)) / static_cast<double>(extent);
  }
  return share;
}

std::vector<int64_t> segmentsFor(int axis, const AxisLayout &cut, const TensorLayout &layout, const MeshExtents &mesh) {
  std::vector<int64_t> segments = cut.segments;
  if (axis == 1 && sharesDim(layout[0], cut))
    for (int64_t &length : segments)
      if (length != AxisLayout::kOpen)
        length = (isFilled(layout[0], 0, mesh) ? filledExtent(length, mesh) : length) / mesh[0];
  return segments;
}

TensorLayout after(TensorLayout layout, const ReshardStep &step) {
  layout[step.axis] = step.to;
  if (step.kind == ReshardStep::AllReduceBoth)
    layout[1] = step.to;
  return layout;
}

std::vector<ReshardStep> planResharding(TensorLayout from, const TensorLayout &to, const MeshExtents &mesh) {
  std::vector<ReshardStep> steps;
  auto step = [&](ReshardStep::Kind kind, int axis, const AxisLayout &next) {
    steps.push_back({kind, axis, from[axis], next});
    from = after(from, steps.back());
  };
  // Whether axis 0 would be cut where axis 1 cuts its parts already, or would cease to be: then axis 1 is gathered first.
  auto isUnder = [&](const AxisLayout &layout) { return sharesDim(layout, from[1]) && mesh[1] > 1; };
  auto differs = [&](int axis) { return mesh[axis] > 1 && from[axis] != to[axis]; };
  // Whether the axis may be like this while the other one is as it is.
  auto fits = [&](int axis, const AxisLayout &next) {
    TensorLayout layout = from;
    layout[axis] = next;
    return isLayout(layout, mesh);
  };
  // Where both become cuts of one dim, axis 0 has to be there before axis 1.
  auto waits = [&](int axis) { return axis == 1 && sharesDim(to[0], to[1]) && differs(0); };

  // What is cut before the rest is moved is less to move.
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (differs(axis) && from[axis].kind == AxisLayout::Whole && isCut(to[axis]) && !waits(axis) && !(axis == 0 && isUnder(to[0])) &&
        fits(axis, to[axis]))
      step(ReshardStep::Slice, axis, to[axis]);
  if (from[0].kind == AxisLayout::Partial && from[1].kind == AxisLayout::Partial && differs(0) && differs(1) && !isCut(to[0]) &&
      !isCut(to[1]))
    step(ReshardStep::AllReduceBoth, 0, AxisLayout::whole());
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (differs(axis) && from[axis].kind == AxisLayout::Partial) {
      bool scatters = isCut(to[axis]) && !waits(axis) && !(axis == 0 && isUnder(to[0])) && fits(axis, to[axis]);
      step(scatters ? ReshardStep::ReduceScatter : ReshardStep::AllReduce, axis, scatters ? to[axis] : AxisLayout::whole());
    }
  // Where both cut one dim, axis 1 lies within axis 0, and is undone first. Else axis 0 is, whose links are no faster, while there
  // is less to move.
  bool isNested = isCut(from[1]) && differs(0) && (isUnder(from[0]) || isUnder(to[0]));
  for (int axis : isNested ? std::array<int, 2>{1, 0} : std::array<int, 2>{0, 1}) {
    bool isInTheWay = isNested && axis == 1;
    if (!isCut(from[axis]) || (!differs(axis) && !isInTheWay) || mesh[axis] <= 1)
      continue;
    // What is cut along one dim and is to be along another is exchanged, unless the other axis stands in the way.
    bool moves = isCut(to[axis]) && to[axis].dim != from[axis].dim && !isInTheWay && !waits(axis) &&
                 fits(axis, to[axis]) && !sharesDim(to[axis], from[1 - axis]) && !sharesDim(from[axis], from[1 - axis]);
    step(moves ? ReshardStep::AllToAll : ReshardStep::AllGather, axis, moves ? to[axis] : AxisLayout::whole());
  }
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (differs(axis) && isCut(to[axis]))
      step(ReshardStep::Slice, axis, to[axis]);
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (differs(axis) && to[axis].kind == AxisLayout::Partial)
      step(ReshardStep::Mask, axis, to[axis]);
  return steps;
}

} // namespace snug
