// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_PASSES_CANONICALIZE_OPS_STRINGS_H
#define SNUG_PASSES_CANONICALIZE_OPS_STRINGS_H

#include "dialects/nn/TextOps.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/StringType.h"

namespace snug {

class LoweringTable;

// Constant strings.
LoweredValue stringsValue(Lowering &l, llvm::ArrayRef<llvm::StringRef> strings, llvm::ArrayRef<int64_t> shape);

// What the runtime does with strings, which are i128 in scalar code; all other operands and results are i64.
llvm::SmallVector<mlir::Value> textOp(ScalarCode &c, nn::TextKind kind, mlir::ValueRange operands);

// A kernel that makes each element of the result of those of the inputs, which are broadcast. `body` takes them as
// ScalarCode::load gives them and returns what ScalarCode::store takes.
using ScalarBody = llvm::function_ref<mlir::Value(ScalarCode &, mlir::ValueRange)>;
mlir::FailureOr<LoweredValue> mapScalars(Lowering &l, llvm::ArrayRef<LoweredValue *> inputs, mlir::Type resultType,
                                         ScalarBody body);

// Of strings: whether they are equal, and conversions from and to them.
mlir::LogicalResult equalStrings(Lowering &l);
mlir::LogicalResult castStrings(Lowering &l, mlir::Type to, CastMode mode);

// Whether two strings are the same.
mlir::Value sameText(ScalarCode &c, mlir::Value x, mlir::Value y);

void addStringOps(LoweringTable &table);

} // namespace snug

#endif
