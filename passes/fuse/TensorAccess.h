// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reads of tensors traced back through what produced them: views, copies and elementwise ops. A read is a tensor and
// one affine expression of iteration dims an index; tracing it back composes the expressions, and simplifies what
// reshapes leave behind with the extents of the iteration dims.
#ifndef SNUG_PASSES_FUSE_TENSORACCESS_H
#define SNUG_PASSES_FUSE_TENSORACCESS_H

#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

namespace snug {

using Indices = llvm::SmallVector<mlir::AffineExpr>;

struct TensorAccess {
  mlir::Value tensor;
  Indices indices;
};

/// The iteration dims that indices speak of, by their extents (or ShapedType::kDynamic).
struct IterationSpace {
  llvm::SmallVector<int64_t> extents;

  /// Learns the extents of dims that index a tensor as they are.
  void read(mlir::Value tensor, mlir::AffineMap map);
  /// (expr floordiv divisor) and (expr mod divisor), for expr >= 0.
  mlir::AffineExpr divide(mlir::AffineExpr expr, int64_t divisor) const;
  mlir::AffineExpr modulo(mlir::AffineExpr expr, int64_t divisor) const;
  /// The same read of the source of an expand_shape or collapse_shape; nothing where it cannot be said.
  std::optional<TensorAccess> throughView(mlir::Operation *view, llvm::ArrayRef<mlir::AffineExpr> indices) const;

private:
  std::optional<int64_t> maximum(mlir::AffineExpr expr) const;
};

/// One result, all loops parallel, each element of the result computed from scalars and nothing else.
bool isPointwise(mlir::linalg::LinalgOp op);
/// The read of `operand` that computing the result at `indices` makes.
TensorAccess readOf(mlir::linalg::LinalgOp op, mlir::OpOperand &operand, llvm::ArrayRef<mlir::AffineExpr> indices);

/// Writes the computation of one element of a tensor into a block, with snug_nn.index for the place.
class ScalarProgram {
public:
  /// A value that is not traced further: gives its scalar, or null for what is a plain input. Failure: give up.
  using Source = std::function<mlir::FailureOr<mlir::Value>(const TensorAccess &)>;

  /// Whether the elements of an elementwise op's result are computed, or the result is an input.
  using Choice = std::function<bool(mlir::linalg::LinalgOp, llvm::ArrayRef<mlir::AffineExpr>)>;

  ScalarProgram(mlir::OpBuilder &builder, const IterationSpace &space, Choice computes, Source source)
      : b(builder), space(space), computes(std::move(computes)), source(std::move(source)) {}

  /// The builder's block is extended; new inputs become block arguments.
  mlir::FailureOr<mlir::Value> element(const TensorAccess &access);
  mlir::Value index(mlir::AffineExpr expr);
  /// Clones a body without its terminator and returns the scalar that it yields.
  mlir::Value cloneBody(mlir::Block &body, mlir::IRMapping &mapping);

  llvm::SmallVector<TensorAccess> inputs; // one each block argument that was added
  llvm::SetVector<mlir::Operation *> traced;

private:
  mlir::FailureOr<mlir::Value> computed(mlir::linalg::LinalgOp op, llvm::ArrayRef<mlir::AffineExpr> indices);
  mlir::Value input(const TensorAccess &access);

  mlir::OpBuilder &b;
  const IterationSpace &space;
  Choice computes;
  Source source;
};

/// Traces a read through views and pure copies as far as `accepts` likes where it ends. With `factors`, through
/// multiplication by and division by scalars, too, which are appended (scalar, is a divisor).
TensorAccess throughCopies(TensorAccess access, const IterationSpace &space,
                           llvm::function_ref<bool(llvm::ArrayRef<mlir::AffineExpr>)> accepts,
                           llvm::SmallVectorImpl<std::pair<mlir::Value, bool>> *factors);

} // namespace snug

#endif
