// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/Contiguous.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/fuse/Passes.h"

#define DEBUG_TYPE "snug-verify-kernels"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_VERIFYKERNELS
#include "passes/fuse/Passes.h.inc"
} // namespace snug

namespace {
struct VerifyKernels : snug::impl::VerifyKernelsBase<VerifyKernels> {
  using Base::Base;

  void runOnOperation() final {
    WalkResult result = getOperation().walk([](Operation *op) -> WalkResult {
      if (auto rules = dyn_cast<IndexRuleOpInterface>(op); rules && rules.wantsContiguous())
        for (Value operand : op->getOperands())
          if (isa<RankedTensorType>(operand.getType()) && !isContiguous(operand))
            return op->emitOpError("reads or writes a slice whose elements do not lie side by side (contract C3)");
      bool makesTensor = llvm::any_of(op->getResultTypes(), [](Type type) { return isa<TensorType>(type); });
      if (!makesTensor || isa<DestinationStyleOpInterface, nn::WeightOp, scf::ForOp, scf::IfOp>(op))
        return WalkResult::advance();
      if (isa<tensor::ExtractSliceOp, tensor::InsertSliceOp, tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::CastOp>(op))
        return WalkResult::advance();
      if (isa<tensor::EmptyOp>(op)) {
        if (op->hasOneUse())
          return WalkResult::advance();
        return op->emitOpError("is the destination of ") << std::distance(op->use_begin(), op->use_end())
                                                         << " kernels (contract C3)";
      }
      return op->emitOpError("is neither a kernel nor a view (contract C3)");
    });
    if (result.wasInterrupted())
      signalPassFailure();
  }
};
} // namespace
