// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_LIB_DRIVER_COMPILE_H
#define SNUG_LIB_DRIVER_COMPILE_H

#include "lib/driver/Options.h"

namespace snug {

// Runs the pipeline. Messages go to standard error, IR of --emit to standard output. Returns an exit code of
// snug/ExitCodes.h; on any but 0 no output file is left behind. Not thread-safe against itself on one output path.
int compile(const CompileOptions &options);

} // namespace snug

#endif
