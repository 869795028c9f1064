// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TOOLS_SNUG_RUN_RUN_H
#define SNUG_TOOLS_SNUG_RUN_RUN_H

#include "tools/snug-run/Options.h"

namespace snug {

// Does what the command line asks for; throws CommandFailure.
void runModel(const RunOptions &options);

} // namespace snug

#endif
