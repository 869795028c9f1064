// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How far a bandwidth of the topology is from one at which another mesh would be chosen. Pure functions, for any
// thread.
#ifndef SNUG_LIB_SOLVER_MESHFLIPS_H
#define SNUG_LIB_SOLVER_MESHFLIPS_H

#include "lib/solver/MeshPrices.h"

namespace snug {

/// Times that differ by less are equal: what is left of them is rounding.
constexpr double kTimeTolerance = 1e-9;
inline bool isFaster(double a, double b) { return a * (1 + kTimeTolerance) < b; }

/// The flips of an ordered plan: exact, since with one bandwidth x each time is piecewise linear in 1/x.
std::vector<BandwidthFlip> findFlips(const MeshSetting &setting, const MeshPlan &plan);

} // namespace snug

#endif // SNUG_LIB_SOLVER_MESHFLIPS_H
