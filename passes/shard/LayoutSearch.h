// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which dims of which ops are cut along which mesh axis: the cuts that are possible are found first, then what they cost
// becomes a problem without MLIR (lib/solver/LayoutSolver.h), and its solution attributes of the ops (Layouts.h).
#ifndef SNUG_PASSES_SHARD_LAYOUTSEARCH_H
#define SNUG_PASSES_SHARD_LAYOUTSEARCH_H

#include "lib/solver/MeshPrices.h"
#include "passes/shard/LayoutCosts.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringRef.h"

namespace snug {

struct LayoutSearchResult {
  double seconds = 0;    ///< of a run, as modelled
  bool isOptimal = true; ///< of all that was looked at
  size_t outside = 0;    ///< products with matrices of weights that cannot be cut as the family says, and so are cut freely
  /// Matrices of which a device holds more than its share, and how many bytes more, in all that it is read as.
  llvm::MapVector<llvm::StringRef, double> replicated;
};

/// Chooses for the mesh of `costs`, of what is of the family; earlier choices are replaced. Failure with an error where an op
/// cannot be done at all, or the model has nothing that can be cut as the family says.
mlir::FailureOr<LayoutSearchResult> searchLayouts(mlir::ModuleOp module, LayoutCosts &costs, MeshFamily family = MeshFamily::Free);

/// What the best programs of these families compute and send, in their order; writes nothing. A family that the model has not
/// is refused, and all are where a pin cannot be on this mesh.
std::vector<StatedProgram> priceLayouts(mlir::ModuleOp module, LayoutCosts &costs, llvm::ArrayRef<MeshFamily> families);

} // namespace snug

#endif
