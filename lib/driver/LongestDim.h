// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_LONGESTDIM_H
#define SNUG_LIB_DRIVER_LONGESTDIM_H

#include "lib/driver/Options.h"
#include "mlir/IR/MLIRContext.h"

namespace snug {

// Whether a --dim is NAME=max or NAME=A..max.
bool asksForLongestDim(const CompileOptions &options);

// Puts the largest number with which the model fits the budgets into options.dims where `max` stands, and says it on
// standard error. The number after it does not fit; a need that falls again further on is not looked for. Returns an
// exit code of snug/ExitCodes.h; 4 where no number fits.
int resolveLongestDim(mlir::MLIRContext &context, CompileOptions &options);

} // namespace snug

#endif
