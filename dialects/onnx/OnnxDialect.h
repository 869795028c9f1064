// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// C++ side of the dialect snug_onnx: an ONNX model as it stands in its file. Ops, types and attributes are documented
// in OnnxOps.td.

#ifndef SNUG_DIALECTS_ONNX_ONNXDIALECT_H
#define SNUG_DIALECTS_ONNX_ONNXDIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/onnx/OnnxDialect.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/onnx/OnnxTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/onnx/OnnxAttrs.h.inc"

#define GET_OP_CLASSES
#include "dialects/onnx/OnnxOps.h.inc"

namespace snug::onnx {

/// Module attributes that import sets.
inline constexpr llvm::StringLiteral kModelName = "snug.model_name"; // StringAttr, the graph's name
inline constexpr llvm::StringLiteral kIrVersion = "snug.ir_version"; // i64
inline constexpr llvm::StringLiteral kOpsets = "snug.opset_imports"; // {ai.onnx = 20 : i64, ...}
inline constexpr llvm::StringLiteral kProducer = "snug.producer";    // StringAttr, name and version; optional

/// Argument and result attributes of @main.
inline constexpr llvm::StringLiteral kTensorName = "snug.name"; // StringAttr, the ONNX value's name
/// Array of strings, one a dim: its number when static, its name or expression ("past + 1") when symbolic, the
/// tensor's and the dim's position ("x_dim2") when the file says neither. Absent when the rank is unknown or the value is no tensor.
inline constexpr llvm::StringLiteral kTensorDims = "snug.dims";
/// `array<i64: 1, -1>`: it is to be in parts, of the dim that stands for each axis of the mesh, if any. Also on an initializer.
inline constexpr llvm::StringLiteral kTensorPin = "snug.pin";
/// TypeAttr, once lowered: what the elements mean (ui8, f8E4M3FN, i4), where canonical IR stores them as another type.
inline constexpr llvm::StringLiteral kTensorType = "snug.element_type";

/// On a model-local function: StringAttrs, array of the attribute names it takes, and dictionary of their defaults.
inline constexpr llvm::StringLiteral kFunctionDomain = "snug.domain";
inline constexpr llvm::StringLiteral kFunctionOpType = "snug.op_type";
inline constexpr llvm::StringLiteral kFunctionAttributes = "snug.attributes";
inline constexpr llvm::StringLiteral kFunctionDefaults = "snug.attribute_defaults";

/// Symbol of a model-local function.
std::string functionSymbol(llvm::StringRef domain, llvm::StringRef name, llvm::StringRef overload = "");
/// The overload under which the schema's definition of an operator stands, as a node of that opset uses it.
std::string schemaOverload(int64_t opset);

} // namespace snug::onnx

#endif // SNUG_DIALECTS_ONNX_ONNXDIALECT_H
