// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How the rings of a mesh axis share the links of a topology. Pure functions, for any thread.
#ifndef SNUG_LIB_SOLVER_MESHRINGS_H
#define SNUG_LIB_SOLVER_MESHRINGS_H

#include "lib/solver/Topology.h"

namespace snug {

/// Devices d1 x d2, counted through the second axis first: place p is at (p / d2, p % d2). The groups of an axis are
/// the places that differ in its index only; each group is one ring, in order of places and back from the last to the
/// first. All groups of one axis run at the same time, the two axes never do.
struct MeshShape {
  int64_t d1 = 1, d2 = 1;
  int64_t size(int axis) const { return axis == 1 ? d1 : d2; }
};

/// How the rings of an axis use the links out of the units of one level.
struct LevelUse {
  int64_t rings = 0;   ///< different rings that leave the busiest unit; 0: none crosses this level
  int64_t members = 0; ///< that a ring has in a unit which it leaves; the least of any
};

/// By level. Axes are 1 and 2; the shape has as many devices as the topology.
std::vector<LevelUse> ringUse(const Topology &topology, const MeshShape &mesh, int axis);

/// Bytes/s of each ring while all of them run: the least, over the units that are left, of one flow (with rails, of as
/// many as the ring has members there) and of an equal share of what leaves the unit. Infinite where nothing is
/// crossed.
double ringBandwidth(const Topology &topology, const std::vector<LevelUse> &use);

/// That of the slowest level crossed, in seconds.
double ringLatency(const Topology &topology, const std::vector<LevelUse> &use);

} // namespace snug

#endif // SNUG_LIB_SOLVER_MESHRINGS_H
