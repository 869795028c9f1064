// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A view may leave elements out (a slice), or make one dim of several; both in a row are no view where what was left out lay
// between what becomes one dim. There, and where an op wants its elements side by side, a copy puts them so.
#include "dialects/nn/Contiguous.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/fuse/Patterns.h"

using namespace mlir;
using namespace snug;

void snug::copyScatteredViews(func::FuncOp function) {
  SmallVector<OpOperand *> scattered;
  function.walk([&](Operation *op) {
    if (auto collapse = dyn_cast<tensor::CollapseShapeOp>(op)) {
      if (!memref::CollapseShapeOp::isGuaranteedCollapsible(layoutOf(collapse.getSrc()), collapse.getReassociationIndices()))
        scattered.push_back(&collapse.getSrcMutable());
      return;
    }
    auto rules = dyn_cast<IndexRuleOpInterface>(op);
    if (!rules || !rules.wantsContiguous())
      return;
    for (OpOperand &operand : op->getOpOperands())
      if (isa<RankedTensorType>(operand.get().getType()) && !isContiguous(operand.get()))
        scattered.push_back(&operand);
  });
  llvm::SmallDenseMap<std::pair<Value, Block *>, Value> copies;
  for (OpOperand *operand : scattered) {
    Operation *op = operand->getOwner();
    OpBuilder builder(op);
    auto dps = dyn_cast<DestinationStyleOpInterface>(op);
    if (dps && dps.isDpsInit(operand)) { // what it holds does not count
      operand->set(emptyLike(builder, op->getLoc(), operand->get()));
      continue;
    }
    Value &copy = copies[{operand->get(), op->getBlock()}];
    if (!copy)
      copy = contiguousCopy(builder, op->getLoc(), operand->get());
    operand->set(copy);
  }
}
