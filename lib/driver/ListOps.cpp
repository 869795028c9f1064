// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/ListOps.h"
#include "lib/import/onnx/SchemaFunctions.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/OpSchemas.h"
#include "llvm/ADT/STLExtras.h"
#include <tuple>

using namespace snug;

// Types in few words: those of a kind, where all of it are there, by the kind's name.
static std::string briefly(TypeSet set) {
  constexpr std::pair<TypeSet, llvm::StringLiteral> kinds[] = {
      {types::Floats, "float"},
      {types::Signed, "int"},
      {types::Unsigned, "uint"},
      {types::of(17, 18, 19, 20), "float8"},
  };
  std::string text;
  auto add = [&](llvm::StringRef name) { text += (text.empty() ? "" : " ") + name.str(); };
  for (auto [kind, name] : kinds)
    if ((set & kind) == kind) {
      add(name);
      set &= ~kind;
    }
  for (int64_t code = 1; set >> code; ++code)
    if (set >> code & 1)
      add(nameOf(code));
  return text;
}

// Of the inputs and outputs in order, each set once.
static std::string typesOf(const LoweringTable::Row &row) {
  const OpSchema *schema = OpSchema::find(row.domain, row.opType, INT64_MAX);
  if (!schema)
    return briefly(row.types);
  std::string text;
  llvm::SmallVector<TypeSet> seen;
  llvm::StringRef inputs = schema->inputs;
  for (char letter : (inputs + schema->outputs).str()) {
    TypeSet set = schema->set(letter);
    if (inputs.contains(letter) && (set & row.types))
      set &= row.types;
    if (!set || llvm::is_contained(seen, set))
      continue;
    seen.push_back(set);
    text += (text.empty() ? "" : "; ") + briefly(set);
  }
  return text;
}

std::string snug::listOps() {
  std::string text =
      "# Operators\n\n"
      "The ONNX operators that Snug compiles, from its lowering table (`snugc --list-ops` prints this page). An op holds from the opset\n"
      "of its row up to the newest; where a later version means something else, the fourth column has it. The last column has the\n"
      "element types of inputs and outputs, in their order and each set once; *float* are float16, bfloat16, float32 and float64,\n"
      "*int* and *uint* the integers of 8 to 64 bits, *float8* float8e4m3fn, float8e4m3fnuz, float8e5m2 and float8e5m2fnuz.\n"
      "`snugc --check MODEL.onnx` lists what a model needs beyond. Random numbers are SplitMix64's of each element's place, so that every\n"
      "run gives the same ones; the seed is the node's or, where it states none, made of its name.\n\n"
      "| domain | op | from opset | lowered anew from opset | element types |\n|---|---|---|---|---|\n";
  // Operators that are compiled by what the schema defines them by have a row, too.
  std::vector<LoweringTable::Row> rows = LoweringTable::get().rows();
  for (const SchemaFunction &f : schemaFunctions())
    if (!LoweringTable::get().find(f.domain, f.name, f.since) &&
        llvm::none_of(rows, [&](const LoweringTable::Row &row) { return row.domain == f.domain && row.opType == f.name; }))
      rows.push_back({f.domain, f.name, {f.since}, types::All});
  llvm::sort(rows, [](const auto &a, const auto &b) { return std::tie(a.domain, a.opType) < std::tie(b.domain, b.opType); });
  for (const LoweringTable::Row &row : rows) {
    text += "| " + (row.domain.empty() ? "ai.onnx" : row.domain) + " | " + row.opType + " | " +
            std::to_string(row.since.front()) + " |";
    for (size_t i = 1; i < row.since.size(); ++i)
      text += (i > 1 ? ", " : " ") + std::to_string(row.since[i]);
    text += " | " + typesOf(row) + " |\n";
  }
  return text;
}
