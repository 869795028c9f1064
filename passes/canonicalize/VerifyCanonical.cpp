// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "dialects/onnx/OnnxDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/canonicalize/Passes.h"

#define DEBUG_TYPE "snug-verify-canonical"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_VERIFYCANONICAL
#include "passes/canonicalize/Passes.h.inc"
} // namespace snug

namespace {
struct VerifyCanonical : snug::impl::VerifyCanonicalBase<VerifyCanonical> {
  using Base::Base;

  void runOnOperation() final {
    WalkResult result = getOperation().walk([](Operation *op) -> WalkResult {
      if (!isa_and_nonnull<BuiltinDialect, func::FuncDialect, linalg::LinalgDialect, tensor::TensorDialect,
                           arith::ArithDialect, math::MathDialect, scf::SCFDialect, affine::AffineDialect, nn::NnDialect>(
              op->getDialect()) &&
          !isa<mesh::PinOp>(op))
        return op->emitOpError("is no op of canonical tensor IR (contract C1)");
      bool moves = isa<arith::TruncFOp, arith::SelectOp, arith::ConstantOp, arith::BitcastOp>(op);
      for (Type type : op->getResultTypes())
        if (isNarrowFloat(type) && !moves && isa<arith::ArithDialect, math::MathDialect>(op->getDialect()))
          return op->emitOpError() << "computes in " << type << ", which is for storing only (contract C1)";
      for (Type type : op->getResultTypes())
        if (isa<UnrankedTensorType>(type))
          return op->emitOpError("has a result of unknown rank (contract C1)");
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      signalPassFailure();
  }
};
} // namespace
