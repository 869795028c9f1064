// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// --mesh auto with a budget, and --mesh least: a mesh is chosen by what its devices need, too.
#ifndef SNUG_LIB_DRIVER_FITTINGMESH_H
#define SNUG_LIB_DRIVER_FITTINGMESH_H

#include "lib/driver/ChooseMesh.h"

namespace mlir {
class MLIRContext;
}

namespace snug {

// Whether the budgets have a say in which mesh is taken.
bool asksForFittingMesh(const CompileOptions &options);

// Sets options.mesh, and options.topology where the number of devices was asked for: to the mesh on which the model is fastest
// among those where each device keeps the budgets, chunk loops included; with --mesh least, of the fewest devices. Where none
// does, to the one that is nearest to it, of which the compilation then says what is missing. `considered` gets what was looked
// at. An exit code.
int resolveFittingMesh(mlir::MLIRContext &context, CompileOptions &options, std::vector<MeshReport::Candidate> &considered);

} // namespace snug

#endif
