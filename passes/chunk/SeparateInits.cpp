// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/Order.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "passes/chunk/ChunkProgram.h"

using namespace mlir;
using namespace snug;

// Whether something besides this use needs the tensor.
static bool isShared(OpOperand &use) {
  return llvm::any_of(use.get().getUses(),
                      [&](OpOperand &other) { return &other != &use && !isa<tensor::DimOp>(other.getOwner()); });
}

// Whether the result of the branch around the user stands in this tensor from outside: then both of its blocks write there.
static bool isOfBranch(Value empty, Operation *user) {
  Operation *at = user->getParentOp();
  while (at && at->getBlock() != empty.getParentBlock() && isa<scf::IfOp>(at))
    at = at->getParentOp();
  auto branch = dyn_cast_or_null<scf::IfOp>(at);
  return branch && llvm::any_of(branch.getResults(), [&](Value result) {
           while (result && result != empty)
             result = wholeViewSource(result) ? wholeViewSource(result) : writtenInto(result);
           return result == empty;
         });
}

void snug::separateInits(func::FuncOp function) {
  // The first users get copies, the last one the original; each then stands where it is needed.
  llvm::SmallPtrSet<Operation *, 8> wereShared;
  auto own = [&](OpOperand &use) {
    Operation *user = use.getOwner(), *made = use.get().getDefiningOp();
    if (isOfBranch(use.get(), user))
      return;
    // In a body it is made there: from outside it would be live as long as the loop.
    if (isShared(use) || made->getBlock() != user->getBlock()) {
      wereShared.insert(made);
      OpBuilder builder(user);
      use.set(builder.clone(*made)->getResult(0));
    } else if (wereShared.contains(made)) {
      made->moveBefore(user);
    }
  };
  auto separate = [&](OpOperand &init) {
    OpOperand *use = &init;
    if (auto fill = use->get().getDefiningOp<linalg::FillOp>();
        fill && fill->getNumResults() == 1 && fill.getOutputs()[0].getDefiningOp<tensor::EmptyOp>()) {
      own(*use);
      use = &use->get().getDefiningOp<linalg::FillOp>().getOutputsMutable()[0];
    }
    if (use->get().getDefiningOp<tensor::EmptyOp>())
      own(*use);
  };
  function.walk([&](Operation *op) {
    if (auto dps = dyn_cast<DestinationStyleOpInterface>(op)) {
      for (OpOperand &init : dps.getDpsInitsMutable())
        if (isa<RankedTensorType>(init.get().getType()))
          separate(init);
    } else if (auto loop = dyn_cast<LoopLikeOpInterface>(op)) {
      for (OpOperand &init : loop.getInitsMutable())
        if (isa<RankedTensorType>(init.get().getType()))
          separate(init);
    }
  });
}

void snug::sinkEmpties(func::FuncOp function) {
  function.walk([](Block *block) {
    for (auto empty : llvm::to_vector(block->getOps<tensor::EmptyOp>())) {
      Operation *first = nullptr;
      for (Operation *user : empty->getUsers())
        if (Operation *at = block->findAncestorOpInBlock(*user); at && (!first || at->isBeforeInBlock(first)))
          first = at;
      if (first)
        empty->moveBefore(first);
    }
  });
}
