// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TOOLS_SNUG_RUN_INPUTS_H
#define SNUG_TOOLS_SNUG_RUN_INPUTS_H

#include "tools/snug-run/HostTensor.h"
#include "tools/snug-run/Options.h"

#include <vector>

namespace snug {

// The tensors of a run, in the model's order, and the dims that their shapes bind.
struct RunTensors {
  std::vector<HostTensor> inputs, outputs;
  std::vector<int64_t> dims;
};

// Reads and makes the inputs, binds the dims, makes zeroed outputs: what rank `rank` has of them, where the model gives ranks
// parts. Files that are not a rank's own have the whole.
RunTensors makeTensors(const snug_model *model, const RunOptions &options, uint32_t rank);

} // namespace snug

#endif
