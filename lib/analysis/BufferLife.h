// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// When the buffers of a bufferized host function are live: the intervals that the arena is packed by, and that reports
// draw.
#ifndef SNUG_LIB_ANALYSIS_BUFFERLIFE_H
#define SNUG_LIB_ANALYSIS_BUFFERLIFE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SetVector.h"

#include <optional>

namespace snug {

struct LiveSpan {
  int64_t lower = 0, upper = 0; ///< half open
};

/// Flattened time: each op takes a step, an op with regions the steps of its body and one at each end. The iterations
/// of a loop share the steps of its body.
class Timeline {
public:
  explicit Timeline(mlir::func::FuncOp function);
  LiveSpan of(mlir::Operation *op) const { return spans.lookup(op); }

private:
  void number(mlir::Operation *op);
  int64_t now = 0;
  llvm::DenseMap<mlir::Operation *, LiveSpan> spans;
};

struct BufferUses {
  llvm::SetVector<mlir::Value> aliases;          ///< the buffer, and all that may be a view of it
  llvm::SmallVector<mlir::Operation *> accesses; ///< the ops that read or write it, one once for each use
};

/// The uses of the buffer that `root` is, through all its aliases; an error where an alias cannot be followed.
mlir::FailureOr<BufferUses> bufferUses(mlir::Value root);

/// From the first access to the last; a loop that the buffer enters or leaves counts as one access of all its steps, as
/// its iterations repeat. nullopt where nobody looks at it.
mlir::FailureOr<std::optional<LiveSpan>> liveSpan(mlir::Operation *maker, llvm::ArrayRef<mlir::Operation *> accesses,
                                                  const Timeline &timeline);

} // namespace snug

#endif
