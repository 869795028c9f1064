// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_EXPANDINPUTS_H
#define SNUG_PASSES_CANONICALIZE_EXPANDINPUTS_H

#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace snug {

// Inputs of an imported model that are sequences or optionals become tensors, NAME.0, NAME.1..., or NAME itself for a tensor
// that may be missing; ops at the beginning of @main put them together again. How many there are, `dims` says:
// NAME.length=N of a sequence, NAME.present=0 or 1 of an optional (which is there if nothing is said), and NAME.rank=N of an
// input whose shape the file does not state; such entries are taken out of the list. Where one is missing or malformed,
// `problem` is one sentence that says so.
mlir::LogicalResult expandInputs(mlir::ModuleOp module, llvm::SmallVectorImpl<std::string> &dims, std::string &problem);

} // namespace snug

#endif
