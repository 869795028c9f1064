// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the ops of ai.onnx.ml share: lists in attributes, and scores.
#ifndef SNUG_PASSES_CANONICALIZE_OPS_CLASSIC_H
#define SNUG_PASSES_CANONICALIZE_OPS_CLASSIC_H

#include "passes/canonicalize/ScalarKernel.h"

namespace snug {

class LoweringTable;

// Numbers of an attribute that is a list or a tensor of floats.
std::optional<llvm::SmallVector<double>> floatsAttr(Lowering &l, llvm::StringRef name);
std::optional<llvm::SmallVector<llvm::StringRef>> stringsAttr(Lowering &l, llvm::StringRef name);
// Constant lists.
LoweredValue listOf(Lowering &l, llvm::ArrayRef<double> values, mlir::FloatType type);
LoweredValue listOf(Lowering &l, llvm::ArrayRef<int64_t> values);

// Of each string of `x` its place among `words`, which differ from each other, or -1.
mlir::FailureOr<LoweredValue> placesOf(Lowering &l, LoweredValue &x, llvm::ArrayRef<llvm::StringRef> words);

// Scores of (rows, outputs): x * coefficients^T + intercepts, of which there may be none.
mlir::FailureOr<LoweredValue> linearScores(Lowering &l, LoweredValue &x, int64_t outputs, llvm::ArrayRef<double> intercepts);
// 1 / (1 + exp(-x)) without overflow.
mlir::Value logistic(ScalarCode &c, mlir::Value x);
// Rows of scores, each made what attribute post_transform says.
mlir::FailureOr<LoweredValue> postTransform(Lowering &l, LoweredValue scores, int64_t columns, llvm::StringRef kind);
// One score is taken for that of the second of two classes: (-s, s), or (1 - s, s).
LoweredValue withSecondClass(Lowering &l, LoweredValue &scores, bool isProbability);
// Labels of classes from the lists `ints` or `strings`, whichever attribute there is.
struct ClassLabels {
  LoweredValue list;
  int64_t count = 0;
};
std::optional<ClassLabels> classLabels(Lowering &l, llvm::StringRef ints, llvm::StringRef strings);
// The label of each row's largest score, the first of equal ones.
LoweredValue labelsOf(Lowering &l, LoweredValue &scores, ClassLabels &labels);

void addLabelEncoderOps(LoweringTable &table);
void addClassifierOps(LoweringTable &table);
void addGramOps(LoweringTable &table);
void addMapOps(LoweringTable &table);
void addSupportVectorOps(LoweringTable &table);
void addTreeOps(LoweringTable &table);

} // namespace snug

#endif
