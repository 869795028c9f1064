// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TOOLS_SNUG_RUN_PROFILE_H
#define SNUG_TOOLS_SNUG_RUN_PROFILE_H

#include "snug/Runtime.h"
#include <vector>

namespace snug {

// Prints the time of each kernel, longest first: milliseconds a run and their share of it, launches a run, and the ONNX
// nodes of the first launch. `launchNs`: of each launch, all runs together; `runMs`: of each run.
void printProfile(const snug_model *model, const std::vector<uint64_t> &launchNs, const std::vector<double> &runMs);

} // namespace snug

#endif
