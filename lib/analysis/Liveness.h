// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Live ranges of the buffers that a tensor program needs, before bufferization. One SSA tensor is one buffer; views
// (slices, reshapes) and what is written into a destination that dies there share their source's. So does what loops
// carry and branches yield, where bufferization needs no copy for it. A result of the function that is a part of a buffer
// or of an argument's is copied where it is returned. The interval problem of the memory stage has the same buffers and
// live ranges.
#ifndef SNUG_LIB_ANALYSIS_LIVENESS_H
#define SNUG_LIB_ANALYSIS_LIVENESS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

#include <optional>
#include <vector>

namespace snug {

/// One buffer. Live in [lower, upper) of the flattened time; an empty range if nobody touches it. Arguments, weights
/// and constants have one too, with `inArena` false.
struct TensorBuffer {
  mlir::Value root;  ///< the first tensor in it
  int64_t bytes = 0; ///< upper bound, rounded up to the alignment
  int64_t lower = 0, upper = 0;
  bool inArena = true;
  bool writable = true;
  mlir::Block *home = nullptr; ///< where it is made; in a loop body it is made anew in each iteration
};

class Liveness {
public:
  /// Bytes of a tensor at its upper bound, not rounded; nullopt where it has none.
  using BytesOf = llvm::function_ref<std::optional<int64_t>(mlir::Value)>;

  /// Emits an error at the op whose result has no bound, or where the function has more than one block.
  static mlir::FailureOr<Liveness> compute(mlir::func::FuncOp function, BytesOf bytesOf, int64_t alignment = 64);

  /// Index of the tensor's buffer; nullopt for values that are no tensors.
  std::optional<unsigned> bufferOf(mlir::Value value) const;
  /// Buffers that the op, or an op nested in it, reads or writes. Views and index arithmetic touch none.
  llvm::ArrayRef<unsigned> touchedBy(mlir::Operation *op) const;

  /// The flattened time at which the op begins.
  int64_t timeOf(mlir::Operation *op) const { return times.lookup(op); }
  /// Bytes of the arena that are live, by flattened time.
  std::vector<int64_t> bytesLive() const;

  /// The most bytes live at one time of the buffers that are made in bodies of the op, and where.
  std::pair<int64_t, mlir::Operation *> peakWithin(mlir::Operation *op) const;

  std::vector<TensorBuffer> buffers;
  int64_t peak = 0;                  ///< the most bytes of the arena live at one time
  mlir::Operation *peakOp = nullptr; ///< where

private:
  friend class LivenessBuilder;
  llvm::DenseMap<mlir::Value, unsigned> bufferIds;
  llvm::DenseMap<mlir::Operation *, llvm::SmallVector<unsigned>> touched;
  std::vector<mlir::Operation *> opAt; // by flattened time
  llvm::DenseMap<mlir::Operation *, int64_t> times;

  std::pair<int64_t, mlir::Operation *> sweep(llvm::function_ref<bool(const TensorBuffer &)> counts) const;
};

/// The blocks of an op for control flow that are straight-line programs, run one at a time: of scf.for, scf.while and
/// scf.if. None for other ops.
llvm::SmallVector<mlir::Block *> bodiesOf(mlir::Operation *op);

} // namespace snug

#endif
