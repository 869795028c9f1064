// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_OPS_CONTRIBQUANTIZED_H
#define SNUG_PASSES_CANONICALIZE_OPS_CONTRIBQUANTIZED_H

#include "passes/canonicalize/LoweringTable.h"

namespace snug {

// ONNX Runtime's own ops of quantized values.
void addContribQuantizedOps(LoweringTable &table);

} // namespace snug

#endif
