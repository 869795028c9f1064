// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/OpSchemas.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/Twine.h"
#include <vector>

using namespace snug;

static constexpr OpSchema kSchemas[] = {
#include "passes/canonicalize/OpSchemas.inc"
};

const OpSchema *OpSchema::find(llvm::StringRef domain, llvm::StringRef opType, int64_t opset) {
  // Versions of an op, oldest first.
  static const llvm::StringMap<std::vector<const OpSchema *>> byName = [] {
    llvm::StringMap<std::vector<const OpSchema *>> map;
    for (const OpSchema &schema : kSchemas)
      map[(llvm::Twine(schema.domain) + "::" + schema.opType).str()].push_back(&schema);
    return map;
  }();
  auto versions = byName.find((llvm::Twine(domain == "ai.onnx" ? "" : domain) + "::" + opType).str());
  if (versions == byName.end())
    return nullptr;
  const OpSchema *found = nullptr;
  for (const OpSchema *schema : versions->second)
    if (schema->since <= opset)
      found = schema;
  return found;
}
