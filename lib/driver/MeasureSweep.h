// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_MEASURESWEEP_H
#define SNUG_LIB_DRIVER_MEASURESWEEP_H

#include "lib/driver/Report.h"
#include "mlir/IR/MLIRContext.h"

namespace snug {

// Compiles the model at each point of report.fits and runs it with random inputs, the same for all, in processes of its
// own which take turns with those of the first point: snug-run, which lies beside this program or on the PATH. A
// bounded dim is at its upper bound. Fills in the measured times. Returns an exit code of snug/ExitCodes.h, after a
// message on standard error.
int measureSweep(mlir::MLIRContext &context, const CompileOptions &options, CompileReport &report);

} // namespace snug

#endif
