// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Operators that ONNX's schema defines by other operators. The bodies are those of the `onnx` package that Snug is built
// with (schema_functions.py).

#ifndef SNUG_LIB_IMPORT_ONNX_SCHEMAFUNCTIONS_H
#define SNUG_LIB_IMPORT_ONNX_SCHEMAFUNCTIONS_H

#include "mlir/Support/LLVM.h"
#include <string>
#include <vector>

namespace onnx {
class FunctionProto;
}

namespace snug {

/// The body of an operator ("" is domain ai.onnx) at an opset; null where the schema has none that fits all nodes.
const ::onnx::FunctionProto *schemaFunction(llvm::StringRef domain, llvm::StringRef name, int64_t opset);

struct SchemaFunction {
  std::string domain, name;
  int64_t since, until; // opsets of the model, both included
};
std::vector<SchemaFunction> schemaFunctions();

} // namespace snug

#endif // SNUG_LIB_IMPORT_ONNX_SCHEMAFUNCTIONS_H
