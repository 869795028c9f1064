// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A mesh plan for people and for programs. Pure functions, for any thread.
#ifndef SNUG_LIB_SOLVER_MESHPLANTEXT_H
#define SNUG_LIB_SOLVER_MESHPLANTEXT_H

#include "lib/solver/MeshPrices.h"

namespace snug {

/// The choice, all candidates with their terms, what was dropped and why, and the bandwidths at which the choice flips.
std::string meshPlanText(const MeshSetting &setting, const MeshPlan &plan);

/// The same as one JSON object (docs/topology.md).
std::string meshPlanJson(const MeshSetting &setting, const MeshPlan &plan);

} // namespace snug

#endif // SNUG_LIB_SOLVER_MESHPLANTEXT_H
