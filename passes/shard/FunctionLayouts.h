// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How the arguments and results of a function lie. What is pinned lies as its pin says. What is given to a program and comes
// back, grown or written into, is given to it again (a key-value cache): it may lie in any way, the same before and after.
// All else is whole, on each device.
#ifndef SNUG_PASSES_SHARD_FUNCTIONLAYOUTS_H
#define SNUG_PASSES_SHARD_FUNCTIONLAYOUTS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/shard/Pins.h"

namespace snug {

/// As the attribute says, of a tensor of this type as a whole; whole without one. Failure and an error where it says none.
mlir::FailureOr<TensorLayout> readLayout(mlir::Operation *op, mlir::Attribute attribute, mlir::RankedTensorType type,
                                         const MeshExtents &mesh);

/// Null for a tensor that is whole.
mlir::Attribute layoutAttribute(mlir::MLIRContext *context, const TensorLayout &layout);

/// What is open of them, as choices that arguments and results share.
class FunctionLayouts {
public:
  /// Of a function whose pins can be kept (pinProblem).
  static FunctionLayouts of(mlir::func::FuncOp function, const MeshExtents &mesh);

  /// Of choice 0 there is one, as a whole.
  std::vector<std::vector<TensorLayout>> choices{{TensorLayout()}};
  llvm::SmallVector<unsigned> arguments, results; ///< the choice of each

  /// Of pins: how the values behind them lie along the axes.
  std::vector<KnownLayout> known(mlir::func::FuncOp function) const;

  /// Writes snug.layout, with state `states[i]` of choice i.
  void write(mlir::func::FuncOp function, llvm::ArrayRef<unsigned> states) const;
};

} // namespace snug

#endif
