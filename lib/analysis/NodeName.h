// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_ANALYSIS_NODENAME_H
#define SNUG_LIB_ANALYSIS_NODENAME_H

#include "mlir/IR/Location.h"

#include <string>

namespace snug {

/// The ONNX node that a location names: locations carry node names as NameLoc, fused kernels several of them, of which
/// this is the first. Empty where there is none.
std::string nodeName(mlir::Location location);

/// All of them, each once.
llvm::SmallVector<std::string> nodeNames(mlir::Location location);

} // namespace snug

#endif
