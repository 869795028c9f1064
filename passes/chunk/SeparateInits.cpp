// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/chunk/ChunkProgram.h"

using namespace mlir;
using namespace snug;

// Whether something besides this use needs the tensor.
static bool isShared(OpOperand &use) {
  return llvm::any_of(use.get().getUses(),
                      [&](OpOperand &other) { return &other != &use && !isa<tensor::DimOp>(other.getOwner()); });
}

void snug::separateInits(func::FuncOp function) {
  auto separate = [](Operation *op, OpOperand &init) {
    OpBuilder builder(op);
    // A fill and, below it, its tensor.empty.
    OpOperand *use = &init;
    if (auto fill = use->get().getDefiningOp<linalg::FillOp>();
        fill && fill->getNumResults() == 1 && fill.getOutputs()[0].getDefiningOp<tensor::EmptyOp>()) {
      if (isShared(*use)) {
        auto copy = cast<linalg::FillOp>(builder.clone(*fill));
        use->set(copy->getResult(0));
        fill = copy;
      }
      use = &fill.getOutputsMutable()[0];
      builder.setInsertionPoint(fill);
    }
    if (auto empty = use->get().getDefiningOp<tensor::EmptyOp>(); empty && isShared(*use))
      use->set(builder.clone(*empty)->getResult(0));
  };
  function.walk([&](Operation *op) {
    if (auto dps = dyn_cast<DestinationStyleOpInterface>(op)) {
      for (OpOperand &init : dps.getDpsInitsMutable())
        if (isa<RankedTensorType>(init.get().getType()))
          separate(op, init);
    } else if (auto loop = dyn_cast<scf::ForOp>(op)) {
      for (OpOperand &init : loop.getInitArgsMutable())
        if (isa<RankedTensorType>(init.get().getType()))
          separate(op, init);
    }
  });
}
