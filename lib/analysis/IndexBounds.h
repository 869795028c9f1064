// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Bounds of index values, from the bounds that the user states for the model's named dims. Works alike on tensors
// (schedule) and on memrefs (memory), so that both see the same number of bytes for a buffer.
#ifndef SNUG_LIB_ANALYSIS_INDEXBOUNDS_H
#define SNUG_LIB_ANALYSIS_INDEXBOUNDS_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

#include <array>
#include <optional>
#include <string>

namespace snug {

/// A closed interval of integers.
struct Interval {
  int64_t min = 0, max = 0;
};

class IndexBounds {
public:
  /// Reads the module attribute `snug.dims`: [{name = "seq", min = 1, max = 4096, step = 1}, ...].
  /// With `atMost`, one value for each of these, no dim is larger than that.
  explicit IndexBounds(mlir::ModuleOp module, llvm::ArrayRef<int64_t> atMost = {});

  /// Bounds of an index or integer value; nullopt where nothing bounds it or 64 bits do not hold it.
  std::optional<Interval> of(mlir::Value value);
  /// Bounds of an extent of a tensor or memref.
  std::optional<Interval> ofDim(mlir::Value shaped, int64_t dim);
  /// A text that is the same for extents which are equal whatever the dims are: a number, or an expression over dim names
  /// or values. Extents with different texts may be equal, too.
  std::string symbolOf(mlir::Value shaped, int64_t dim);
  /// The most bytes a buffer of `type` with these dynamic sizes takes, not rounded; nullopt as above.
  std::optional<int64_t> bytes(mlir::ShapedType type, mlir::ValueRange dynamicSizes);
  /// Bounds of a dim expression: integers, dim names, + - * / and parentheses.
  std::optional<Interval> ofExpression(llvm::StringRef text);

private:
  std::optional<Interval> compute(mlir::Value value);
  std::optional<Interval> ofElement(mlir::Operation *op);

  llvm::StringMap<Interval> dims;
  std::optional<std::array<int64_t, 2>> mesh; // devices along its axes
  llvm::DenseMap<mlir::Value, std::optional<Interval>> cache;
};

/// Bytes of one element in memory; 0 for types that have no fixed size.
int64_t elementBytes(mlir::Type type);

/// Bytes of a tensor or memref at the upper bounds of its dims.
std::optional<int64_t> tensorBytes(mlir::Value value, IndexBounds &bounds);

} // namespace snug

#endif
