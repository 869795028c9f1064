// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_INPUTVALUES_H
#define SNUG_LIB_DRIVER_INPUTVALUES_H

#include "lib/driver/Options.h"
#include "mlir/IR/BuiltinOps.h"

namespace snug {

// Marks the inputs of the imported program that --value fixes (kArgumentValue). An exit code.
int markInputValues(mlir::ModuleOp program, const CompileOptions &options);

} // namespace snug

#endif
