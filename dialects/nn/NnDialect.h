// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_NN_NNDIALECT_H
#define SNUG_DIALECTS_NN_NNDIALECT_H

#include "dialects/nn/IndexRule.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Linalg/IR/LinalgInterfaces.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/nn/NnDialect.h.inc"
#include "dialects/nn/NnEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/nn/NnAttrs.h.inc"
namespace snug::nn {
class ScatterOp; // in ScatterOp.h
}
#define GET_OP_CLASSES
#include "dialects/nn/NnOps.h.inc"

namespace snug {
// The type that kernels compute in with elements of a float type: f32 for narrower ones, which are a way of storing only.
mlir::FloatType computeType(mlir::FloatType elementType);
inline bool isNarrowFloat(mlir::Type type) {
  auto floatType = mlir::dyn_cast<mlir::FloatType>(type);
  return floatType && computeType(floatType) != floatType;
}
// f32, or what is computed in f32.
inline bool computesInF32(mlir::Type type) {
  auto floatType = mlir::dyn_cast<mlir::FloatType>(type);
  return floatType && computeType(floatType).isF32();
}
// Conversions between the two, marked `contract`: where a value is rounded only to be extended again, both are left out.
mlir::Value extendToCompute(mlir::OpBuilder &b, mlir::Location loc, mlir::Value scalar);
mlir::Value roundToStore(mlir::OpBuilder &b, mlir::Location loc, mlir::Value scalar, mlir::Type elementType);
// The value before conversions between float types that may be left out.
mlir::Value beforeConversions(mlir::Value value);
// Registers the dialect with its bufferization models.
void registerNnDialect(mlir::DialectRegistry &registry);
// Whether the kernel may write its result over this operand: element by element or row by row, it reads before it
// writes. That no other operand looks at the same buffer is up to the caller.
bool mayOverwrite(mlir::Operation *op, mlir::OpOperand &operand, mlir::OpOperand &init);
// IndexRule models of linalg and tensor ops.
void registerIndexRuleModels(mlir::DialectRegistry &registry);
} // namespace snug

#endif
