// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_SHARENODES_H
#define SNUG_PASSES_CANONICALIZE_SHARENODES_H

#include "mlir/IR/Region.h"

namespace snug {

// Nodes of the file that compute the same become one: exporters write the same mask or shape anew for each use. Not only is
// that less to compute; what is counted twice would be two sizes that nothing shows to be equal.
void shareNodes(mlir::Region &region);

} // namespace snug

#endif
