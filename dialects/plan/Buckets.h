// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A plan for several ranges of the dims: the module attribute `snug.buckets`. The program is one; only offsets in the
// arena, and its size, differ.
#ifndef SNUG_DIALECTS_PLAN_BUCKETS_H
#define SNUG_DIALECTS_PLAN_BUCKETS_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallVector.h"

#include <optional>

namespace snug {

struct Buckets {
  /// Of each entry of `snug.dims`, rising, the last its largest value. A bucket is one of them for each dim and holds the
  /// dims up to these that no smaller bucket holds. Buckets are numbered with the last dim running fastest.
  llvm::SmallVector<llvm::SmallVector<int64_t>> bounds;
  llvm::SmallVector<int64_t> arenas; ///< bytes, of each bucket; never less than of one with smaller bounds

  size_t size() const;
  llvm::SmallVector<int64_t> boundsOf(size_t bucket) const;
  /// The bucket with the next bound of that dim; nullopt for its last.
  std::optional<size_t> next(size_t bucket, size_t dim) const;

  /// nullopt where there is one plan for all dims, or the attribute is malformed.
  static std::optional<Buckets> read(mlir::ModuleOp module);
  void write(mlir::ModuleOp module) const;
};

/// The offset that the byte shift of a view of the arena has in a bucket; in the last one, for the largest dims, where
/// `bucket` is not given. nullopt where it is not the plan's.
std::optional<int64_t> plannedOffset(mlir::Value byteShift, std::optional<size_t> bucket = std::nullopt);

} // namespace snug

#endif
