// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Named dims that follow from others: exporters name the extent of every input, also where the model itself says what it
// has to be (a mask over `past + 1` keys whose extent is called `s81`).
#ifndef SNUG_PASSES_CANONICALIZE_INFERDIMS_H
#define SNUG_PASSES_CANONICALIZE_INFERDIMS_H

#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace snug {

// `dims` are definitions as snug-lower-onnx takes them. Adds NAME=EXPRESSION for names of inputs' dims that follow from
// the given ones; names that do not are in `open`. The module, imported and with a function @main, is left as it is.
void inferDims(mlir::ModuleOp module, llvm::SmallVectorImpl<std::string> &dims,
               llvm::SmallVectorImpl<std::string> &open);

} // namespace snug

#endif
