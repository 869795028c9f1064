// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ListOps.h"
#include "lib/import/onnx/SchemaFunctions.h"
#include "passes/canonicalize/LoweringTable.h"
#include "llvm/ADT/STLExtras.h"
#include <tuple>

std::string snug::listOps() {
  std::string text = "# Operators\n\nThe ONNX operators that Snug compiles, from its lowering table (`snugc --list-ops` prints this page). "
                     "An op holds from the opset\nof its row up to the newest; where a later version means something else, "
                     "the last column has it. `snugc --check MODEL.onnx`\nlists what a model needs beyond. Random numbers are SplitMix64's of each element's place, so that every run gives the same ones;\nthe seed is "
                     "the node's or, where it states none, made of its name.\n\n| domain | op | from opset | lowered anew from opset |\n|---|---|---|---|\n";
  // Operators that are compiled by what the schema defines them by have a row, too.
  std::vector<LoweringTable::Row> rows = LoweringTable::get().rows();
  for (const SchemaFunction &f : schemaFunctions())
    if (!LoweringTable::get().find(f.domain, f.name, f.since) &&
        llvm::none_of(rows, [&](const LoweringTable::Row &row) { return row.domain == f.domain && row.opType == f.name; }))
      rows.push_back({f.domain, f.name, {f.since}});
  llvm::sort(rows, [](const auto &a, const auto &b) { return std::tie(a.domain, a.opType) < std::tie(b.domain, b.opType); });
  for (const LoweringTable::Row &row : rows) {
    text += "| " + (row.domain.empty() ? "ai.onnx" : row.domain) + " | " + row.opType + " | " +
            std::to_string(row.since.front()) + " |";
    for (size_t i = 1; i < row.since.size(); ++i)
      text += (i > 1 ? ", " : " ") + std::to_string(row.since[i]);
    text += " |\n";
  }
  return text;
}
