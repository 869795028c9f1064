// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/memory/DeferWaits.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

using namespace mlir;
using namespace snug;

static Value bufferOf(Value memref) {
  while (auto view = memref.getDefiningOp<ViewLikeOpInterface>())
    memref = view.getViewSource();
  return memref;
}

// Whether the op has to find the shift done.
static bool needs(Operation *op, mesh::ShiftOp shift) {
  if (isa<ViewLikeOpInterface, memref::DimOp, memref::AllocOp>(op))
    return false;
  if (op->getNumRegions() && !isa<DestinationStyleOpInterface>(op)) // a loop or branch: whatever is in it
    return true;
  auto kernel = dyn_cast<DestinationStyleOpInterface>(op);
  Value sent = bufferOf(shift.getInput()), got = bufferOf(shift.getInit());
  return op->hasTrait<OpTrait::IsTerminator>() || llvm::any_of(op->getOpOperands(), [&](OpOperand &operand) {
           if (!isa<BaseMemRefType>(operand.get().getType()))
             return false;
           Value buffer = bufferOf(operand.get());
           return buffer == got || (buffer == sent && (!kernel || kernel.isDpsInit(&operand)));
         });
}

static bool isHeavy(Operation *op) { return isa<nn::AttentionOp, nn::ContractOp>(op); }

static bool isBefore(Value value, Operation *op) {
  Operation *made = value.getDefiningOp();
  return !made || made->getBlock() != op->getBlock() || made->isBeforeInBlock(op);
}

// The heavy kernel before the shift that it could as well be started before; null where there is none.
static Operation *kernelAbove(mesh::ShiftOp shift) {
  auto buffer = shift.getInit().getDefiningOp<memref::AllocOp>();
  Value sent = bufferOf(shift.getInput());
  if (!buffer)
    return nullptr;
  for (Operation *op = shift->getPrevNode(); op; op = op->getPrevNode()) {
    auto kernel = dyn_cast<DestinationStyleOpInterface>(op);
    if (isa<ViewLikeOpInterface, memref::DimOp, memref::AllocOp>(op))
      continue;
    if ((op->getNumRegions() && !kernel) || isa<mesh::WaitOp>(op))
      return nullptr;
    if (kernel && llvm::any_of(kernel.getDpsInits(), [&](Value init) { return isa<BaseMemRefType>(init.getType()) && bufferOf(init) == sent; }))
      return nullptr;
    if (isHeavy(op)) {
      bool isKnown = isBefore(shift.getInput(), op) && llvm::all_of(buffer->getOperands(), [&](Value size) { return isBefore(size, op); });
      return isKnown ? op : nullptr;
    }
  }
  return nullptr;
}

size_t snug::deferWaits(func::FuncOp function) {
  SmallVector<mesh::ShiftOp> shifts;
  function.walk([&](mesh::ShiftOp shift) {
    if (!shift.getStarts() && isa<MemRefType>(shift.getInput().getType()))
      shifts.push_back(shift);
  });
  size_t changed = 0;
  // The last first: of a ring one shift waits for the one before it, and for no kernel.
  for (mesh::ShiftOp shift : llvm::reverse(shifts)) {
    Operation *kernel = nullptr, *op = shift->getNextNode();
    for (; op && !needs(op, shift); op = op->getNextNode())
      if (isHeavy(op))
        kernel = op;
    if (!kernel)
      kernel = kernelAbove(shift);
    if (!kernel || !op)
      continue;
    if (kernel->isBeforeInBlock(shift))
      if (Operation *buffer = shift.getInit().getDefiningOp(); kernel->isBeforeInBlock(buffer))
        buffer->moveBefore(kernel);
    shift->moveBefore(kernel);
    shift.setStarts(true);
    OpBuilder b(op);
    mesh::WaitOp::create(b, shift.getLoc(), shift.getInput(), shift.getInit());
    ++changed;
  }
  return changed;
}
