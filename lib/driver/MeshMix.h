// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// --mesh-mix: what runs a mesh is chosen for.
#ifndef SNUG_LIB_DRIVER_MESHMIX_H
#define SNUG_LIB_DRIVER_MESHMIX_H

#include "lib/driver/Options.h"
#include "passes/shard/LayoutCosts.h"

namespace snug {

// The kinds of runs, and where the program's dims are in each.
struct MeshMix {
  std::vector<MeshPhase> phases;
  std::vector<PhasePoint> points;
};

// Of the canonicalized program; one run with the largest dims where nothing is said. An exit code.
int readMeshMix(mlir::ModuleOp program, const CompileOptions &options, MeshMix &mix);

} // namespace snug

#endif
