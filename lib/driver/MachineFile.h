// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The machine that a compilation's time model is about: from --machine, else built in for --march.
#ifndef SNUG_LIB_DRIVER_MACHINEFILE_H
#define SNUG_LIB_DRIVER_MACHINEFILE_H

#include "lib/driver/Options.h"

namespace snug {

// Sets options.machine, or says why not and returns the exit code.
int chooseMachine(CompileOptions &options);

} // namespace snug

#endif
