// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_CALIBRATE_H
#define SNUG_LIB_DRIVER_CALIBRATE_H

#include "lib/driver/Options.h"

namespace snug {

// Measures this machine with small kernels and writes its file to options.output. Returns an exit code.
int calibrate(const CompileOptions &options);

} // namespace snug

#endif
