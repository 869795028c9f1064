// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_NN_NNDIALECT_H
#define SNUG_DIALECTS_NN_NNDIALECT_H

#include "dialects/nn/IndexRule.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
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
#define GET_OP_CLASSES
#include "dialects/nn/NnOps.h.inc"

namespace snug {
// Registers the dialect with its bufferization models.
void registerNnDialect(mlir::DialectRegistry &registry);
// IndexRule models of linalg and tensor ops.
void registerIndexRuleModels(mlir::DialectRegistry &registry);
} // namespace snug

#endif
