// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What connects the devices that a model is cut for: from --topology, else links that are all alike.
#ifndef SNUG_LIB_DRIVER_TOPOLOGYFILE_H
#define SNUG_LIB_DRIVER_TOPOLOGYFILE_H

#include "lib/driver/Options.h"

namespace snug {

// Sets options.topology, or says why not and returns the exit code. A name without a file of that name may be a preset's.
int chooseTopology(CompileOptions &options);

} // namespace snug

#endif
