// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ListOps.h"
#include "passes/canonicalize/LoweringTable.h"

std::string snug::listOps() {
  std::string text = "# Operators\n\nThe ONNX operators that Snug compiles, from its lowering table (`snugc --list-ops` prints this page). "
                     "An op holds from the opset\nof its row up to the newest; where a later version means something else, "
                     "the last column has it. `snugc --check MODEL.onnx`\nlists what a model needs beyond.\n\n| domain | op | from opset | lowered anew from opset |\n|---|---|---|---|\n";
  for (const LoweringTable::Row &row : LoweringTable::get().rows()) {
    text += "| " + (row.domain.empty() ? "ai.onnx" : row.domain) + " | " + row.opType + " | " +
            std::to_string(row.since.front()) + " |";
    for (size_t i = 1; i < row.since.size(); ++i)
      text += (i > 1 ? ", " : " ") + std::to_string(row.since[i]);
    text += " |\n";
  }
  return text;
}
