// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lib/import/onnx/SchemaFunctions.h"

#include "llvm/ADT/StringRef.h"
#include "onnx-ml.pb.h"

extern const unsigned char snugSchemaFunctions[];
extern const unsigned long snugSchemaFunctionsSize;

using namespace llvm;

namespace snug {

static const ::onnx::ModelProto &bodies() {
  static const ::onnx::ModelProto model = [] {
    ::onnx::ModelProto parsed;
    parsed.ParseFromArray(snugSchemaFunctions, static_cast<int>(snugSchemaFunctionsSize));
    return parsed;
  }();
  return model;
}

/// The opsets that a body holds for.
static std::pair<int64_t, int64_t> range(const ::onnx::FunctionProto &function) {
  auto [since, rest] = StringRef(function.overload()).split(' ');
  std::pair<int64_t, int64_t> opsets = {0, 0};
  since.getAsInteger(10, opsets.first);
  rest.split(' ').first.getAsInteger(10, opsets.second);
  return opsets;
}

const ::onnx::FunctionProto *schemaFunction(StringRef domain, StringRef name, int64_t opset) {
  const ::onnx::FunctionProto *best = nullptr;
  for (const ::onnx::FunctionProto &function : bodies().functions()) {
    auto [since, until] = range(function);
    if (function.domain() == domain && function.name() == name && since <= opset && opset <= until &&
        (!best || range(*best).first <= since))
      best = &function;
  }
  return best;
}

std::vector<SchemaFunction> schemaFunctions() {
  std::vector<SchemaFunction> all;
  for (const ::onnx::FunctionProto &function : bodies().functions()) {
    auto [since, until] = range(function);
    all.push_back({function.domain(), function.name(), since, until});
  }
  return all;
}

} // namespace snug
