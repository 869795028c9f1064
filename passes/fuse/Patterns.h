// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The pattern groups that snug-fuse runs one after another (Fuse.cpp says in which order and why).
#ifndef SNUG_PASSES_FUSE_PATTERNS_H
#define SNUG_PASSES_FUSE_PATTERNS_H

#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"

namespace snug {

// One result, all loops parallel, written in the order of the loops.
bool isElementwise(mlir::linalg::GenericOp op);

// An elementwise op that only moves elements: broadcasts and permutes. Its one input's map, or nullopt.
std::optional<mlir::AffineMap> copiedMap(mlir::linalg::GenericOp op);

// Norms and softmax along the last dim that are spelled out become one op each.
void fuseRows(mlir::func::FuncOp function);

// Products, softmax and elementwise ops between them become one attention each, which reads its operands where they
// lie. After softmax is one op, while each elementwise op still stands alone.
void fuseAttention(mlir::func::FuncOp function);

// What stands in front of an attention joins it, which is replaced.
void absorbOperands(nn::AttentionOp op);

// Loops over windows of an activation times a weight become contractions.
void populateConvolutionPatterns(mlir::RewritePatternSet &patterns);

// Copies are not made but read through: the indexing maps of what reads them are changed.
void populateFoldCopyPatterns(mlir::RewritePatternSet &patterns);

// Copies of what a contraction or attention computes are not made: it writes in the layout of the copy.
void populateWriteThroughPatterns(mlir::RewritePatternSet &patterns);

// Elementwise consumers of a contraction become its epilogue, also through views and changes of layout.
void populateEpiloguePatterns(mlir::RewritePatternSet &patterns);

// What a view cannot make one dim of is copied first. After all fusing, which may read through the view.
void copyScatteredViews(mlir::func::FuncOp function);

} // namespace snug

#endif
