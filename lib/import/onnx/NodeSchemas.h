// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the ONNX standard says of a node's inputs, outputs and attributes, read from the `onnx` package when Snug is built
// (node_schemas.py). What it says of element types is the lowering's to check, once they are known.

#ifndef SNUG_LIB_IMPORT_ONNX_NODESCHEMAS_H
#define SNUG_LIB_IMPORT_ONNX_NODESCHEMAS_H

#include "mlir/Support/LLVM.h"
#include <string>

namespace onnx {
class AttributeProto;
class NodeProto;
} // namespace onnx

namespace snug {

/// What of a node the version of its op at `opset` ("" is domain ai.onnx) does not allow, as the end of a sentence that
/// begins with the node ("has 3 inputs, ..."); empty where nothing is wrong, or where the standard knows no such op.
std::string schemaViolation(const ::onnx::NodeProto &node, llvm::StringRef domain, int64_t opset);

/// An attribute's type (AttributeProto.AttributeType). Files of IR version 1 may leave it out; then the field that is set
/// tells it.
int attributeType(const ::onnx::AttributeProto &attribute);

} // namespace snug

#endif // SNUG_LIB_IMPORT_ONNX_NODESCHEMAS_H
