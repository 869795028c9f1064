// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The named dims of a model and expressions of them. A dim fixed on the command line is a constant; a bounded one is an
// affine symbol, numbered in the order of the ranges given. So every extent is an AffineExpr without dims, and equal
// extents are equal pointers.
#ifndef SNUG_PASSES_CANONICALIZE_DIMSYMBOLS_H
#define SNUG_PASSES_CANONICALIZE_DIMSYMBOLS_H

#include "mlir/IR/AffineExpr.h"
#include "mlir/Support/LLVM.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <string>

namespace snug {

struct DimRange {
  std::string name;
  int64_t min = 0, max = 0, step = 1;
  bool isIteration = false; // the number of a loop's iteration, no dim
  bool isValue = false;     // an element of an input, no extent
  mlir::AffineExpr bound;   // of a size that is computed from data, no dim either: what it is at most
  mlir::AffineExpr first, second; // of the larger (or smaller) of two extents, no dim either: the two
  bool isLarger = false;
  bool isFixed() const { return min == max; }
  bool isOpen() const { return max < 0; }
  bool isExtremum() const { return bool(first); }
};

class DimSymbols {
public:
  explicit DimSymbols(mlir::MLIRContext *context) : context(context) {}

  // Adds NAME=V, NAME=A..B[:STEP] or NAME=EXPRESSION of other names. Returns false and sets `error` to one sentence on
  // bad syntax, a repeated name, an extent below 0 or an empty range.
  bool add(llvm::StringRef definition, std::string &error);
  // Whether the name has been given, in whichever form.
  bool isKnown(llvm::StringRef name) const;
  // Adds a name of unknown extent: a symbol without an upper bound, which lowering may find equal to something known.
  // Its values are multiples of `step`.
  void addOpen(llvm::StringRef name, int64_t step = 1);
  // Whether an open dim is among those of an expression.
  bool isOpen(mlir::AffineExpr expr) const;
  // The ranges of the dims of an expression, those of which it has the larger or smaller one included.
  llvm::SmallVector<const DimRange *> rangesOf(mlir::AffineExpr expr) const;
  // Adds the number of a loop's iteration, from 0 to before `count`: a symbol that is used only inside of the loop.
  mlir::AffineExpr addIteration(mlir::AffineExpr count);
  // Notes that a dim is an element of an input.
  void markValue(llvm::StringRef name);
  // Whether the expression has such a symbol.
  bool isOfIteration(mlir::AffineExpr expr) const;
  // Adds a size that is computed from data, from 0 to `bound`; the name is for messages.
  mlir::AffineExpr addData(llvm::StringRef name, mlir::AffineExpr bound);
  bool isOfData(mlir::AffineExpr expr) const;
  // The expression where each size that is computed from data is what makes it the largest.
  mlir::AffineExpr atMost(mlir::AffineExpr expr) const { return extreme(expr, true); }
  // The larger (or smaller) of two expressions of dims, where that is another one for other values: a symbol of its own,
  // the same one for the same two. It prints as max(a, b) or min(a, b), which no definition of a dim can have.
  mlir::AffineExpr extremum(mlir::AffineExpr left, mlir::AffineExpr right, bool larger, mlir::AffineExpr most = {});
  // Whether the expression has such a symbol.
  bool isOfExtremum(mlir::AffineExpr expr) const;
  // Symbols whose dims go in steps as multiples of these, so that they can be divided by what divides the step.
  mlir::AffineExpr inSteps(mlir::AffineExpr expr) const;
  // NAME=EXPRESSION that makes two different extents equal: an open name that stands alone in a term of their
  // difference. Products of as many factors each are taken to be equal factor by factor: what is reshaped on the way to
  // an elementwise op was of one shape.
  std::optional<std::string> solve(mlir::AffineExpr left, mlir::AffineExpr right) const;
  // The open name and what it has to be a multiple of, so that `divisor` divides the extent.
  std::optional<std::pair<std::string, int64_t>> solveStep(mlir::AffineExpr extent, int64_t divisor) const;
  // The same, so that two extents can be equal, where one of them is a quotient: halves that are rounded down and up are
  // those of a multiple of 2, and what gives 28 divided by 8 and rounded up is taken to be 8 * 28.
  std::optional<std::pair<std::string, int64_t>> solveDivided(mlir::AffineExpr left, mlir::AffineExpr right) const;

  // Parses an extent as ONNX files write it: a number, a name, or sums and products of them ("past + 1", "2*seq").
  // Names without a value are appended to `missing` (once) and stand for 1 meanwhile.
  std::optional<mlir::AffineExpr> parse(llvm::StringRef text, llvm::SmallVectorImpl<std::string> &missing) const;

  // An expression in names rather than symbol numbers; parse() reads it back unless it has an extremum.
  std::string print(mlir::AffineExpr expr) const;
  llvm::ArrayRef<DimRange> ranges() const { return all; }
  // Ranges that are affine symbols, by symbol number.
  llvm::ArrayRef<unsigned> symbols() const { return symbolRanges; }
  // The largest and smallest value of an expression without dims over all ranges; exact for monotone expressions, and
  // for those of one dim that has few values.
  std::optional<int64_t> upperBound(mlir::AffineExpr expr) const;
  std::optional<int64_t> lowerBound(mlir::AffineExpr expr) const;

private:
  std::optional<mlir::AffineExpr> parse(llvm::StringRef text, llvm::SmallVectorImpl<std::string> &missing, int depth) const;
  std::optional<int64_t> evaluate(mlir::AffineExpr expr, bool upper) const;
  std::optional<std::string> solveLinear(mlir::AffineExpr difference) const;
  std::optional<int64_t> bound(mlir::AffineExpr expr, bool upper, int depth = 0) const;
  std::optional<int64_t> eitherBound(mlir::AffineExpr expr, bool upper) const;
  std::optional<int64_t> valueAt(mlir::AffineExpr expr, int64_t value) const;
  mlir::AffineExpr extreme(mlir::AffineExpr expr, bool upper) const;
  mlir::MLIRContext *context;
  llvm::SmallVector<DimRange> all;
  llvm::SmallVector<std::pair<std::string, std::string>> expressions; // names that stand for expressions
  llvm::SmallVector<unsigned> symbolRanges;
};

} // namespace snug

#endif
