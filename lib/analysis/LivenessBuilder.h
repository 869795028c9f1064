// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What computes a Liveness: kernels in Liveness.cpp, bodies of loops and branches in LivenessOfBodies.cpp.
#ifndef SNUG_LIB_ANALYSIS_LIVENESSBUILDER_H
#define SNUG_LIB_ANALYSIS_LIVENESSBUILDER_H

#include "lib/analysis/Liveness.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"

namespace snug {
class LivenessBuilder {
public:
  LivenessBuilder(mlir::func::FuncOp function, Liveness::BytesOf bytesOf, int64_t alignment)
      : function(function), bytesOf(bytesOf), alignment(alignment) {}
  llvm::LogicalResult run();
  Liveness result;

private:
  struct Span {
    int64_t lower, upper;
  };
  // The last op that looks at a buffer: at all, and other than by an insert into it, which only looks at the rest.
  struct LastUse {
    int64_t any = -1, read = -1;
  };

  void number(mlir::Operation *op);
  llvm::LogicalResult visit(mlir::Operation *op);
  llvm::LogicalResult visitKernel(mlir::DestinationStyleOpInterface op);
  llvm::LogicalResult visitBlock(mlir::Block &block);
  llvm::LogicalResult visitLoop(mlir::scf::ForOp loop);
  llvm::LogicalResult visitWhile(mlir::scf::WhileOp loop);
  llvm::LogicalResult visitIf(mlir::scf::IfOp op);
  bool isPart(mlir::Value value);
  void visitReturn(mlir::Operation *op);
  mlir::FailureOr<unsigned> carry(mlir::Value init, mlir::BlockArgument argument, mlir::Operation *loop);
  llvm::LogicalResult leave(mlir::Operation *loop, mlir::Value init, mlir::Value given, mlir::Value yielded,
                            mlir::Value value);
  bool isMadeIn(unsigned buffer, mlir::Operation *op);
  void merge(unsigned from, unsigned into);
  mlir::FailureOr<unsigned> newBuffer(mlir::Value root, mlir::Block *home, bool inArena, bool writable);
  void join(mlir::Value value, unsigned buffer);
  void touch(mlir::Value value, mlir::Operation *op);
  void touch(unsigned buffer, mlir::Operation *op);
  /// Less the uses in branches that are not taken where the op is, if one is given.
  LastUse lastUse(mlir::Value value, mlir::Operation *beside = nullptr);
  LastUse lastUseBeside(mlir::Operation *op, unsigned buffer, mlir::Block *scope);
  bool readsInBody(mlir::Operation *op, std::optional<unsigned> buffer);
  bool diesAt(mlir::Value init, mlir::Operation *op);

  mlir::func::FuncOp function;
  Liveness::BytesOf bytesOf;
  int64_t alignment;
  int64_t now = 0;
  llvm::DenseMap<mlir::Operation *, Span> spans;
  std::vector<LastUse> lastUses; // of each buffer's tensors so far
  llvm::DenseMap<unsigned, llvm::SmallVector<unsigned>>
      mayBe; // buffers that a branch's result may be in, instead of its own
  llvm::DenseMap<mlir::Value, LastUse> lastUseCache;
};
} // namespace snug

#endif
