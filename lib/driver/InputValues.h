// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_INPUTVALUES_H
#define SNUG_LIB_DRIVER_INPUTVALUES_H

#include "lib/driver/Options.h"
#include "mlir/IR/BuiltinOps.h"

namespace snug {

// Marks the inputs of the imported program that --value fixes (kArgumentValue), and those that it bounds: their elements are
// dims (kValueDims), whose definitions are added to `dims`. An exit code.
int markInputValues(mlir::ModuleOp program, const CompileOptions &options, std::vector<std::string> &dims);

} // namespace snug

#endif
