// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/BufferLife.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Interfaces/LoopLikeInterface.h"

using namespace mlir;
using namespace snug;

Timeline::Timeline(func::FuncOp function) {
  for (Operation &op : function.front())
    number(&op);
}

void Timeline::number(Operation *op) {
  int64_t lower = now++;
  for (Region &region : op->getRegions())
    for (Block &block : region)
      for (Operation &inner : block)
        number(&inner);
  if (op->getNumRegions() > 0)
    ++now;
  spans[op] = {lower, now};
}

FailureOr<BufferUses> snug::bufferUses(Value root) {
  BufferUses result;
  auto &[aliases, accesses] = result;
  aliases.insert(root);
  for (size_t next = 0; next < aliases.size(); ++next)
    for (OpOperand &use : aliases[next].getUses()) {
      Operation *user = use.getOwner();
      if (isa<memref::DimOp, memref::DeallocOp>(user))
        continue;
      if (auto loop = dyn_cast<scf::ForOp>(user)) {
        aliases.insert(loop.getTiedLoopRegionIterArg(&use));
        aliases.insert(loop.getTiedLoopResult(&use));
      } else if (isa<scf::YieldOp>(user)) {
        Operation *parent = user->getParentOp();
        if (auto loop = dyn_cast<scf::ForOp>(parent))
          aliases.insert(loop.getRegionIterArg(use.getOperandNumber()));
        else if (!isa<scf::IfOp>(parent))
          return user->emitError(
              "internal fault: a buffer leaves a region in a way that the memory plan cannot follow");
        aliases.insert(parent->getResult(use.getOperandNumber()));
      } else if (user->getNumRegions() == 0 && llvm::any_of(user->getResultTypes(), llvm::IsaPred<BaseMemRefType>)) {
        if (!isMemoryEffectFree(user))
          return user->emitError("internal fault: the memory plan cannot tell whether this op's result is a view");
        aliases.insert(user->result_begin(), user->result_end());
      } else {
        accesses.push_back(user);
      }
    }
  return result;
}

FailureOr<std::optional<LiveSpan>> snug::liveSpan(Operation *maker, ArrayRef<Operation *> accesses,
                                                  const Timeline &timeline) {
  std::optional<LiveSpan> live;
  for (Operation *access : accesses) {
    Operation *widest = access;
    Operation *at = access;
    while (at && at->getBlock() != maker->getBlock()) {
      at = at->getParentOp();
      if (isa_and_nonnull<LoopLikeOpInterface>(at))
        widest = at;
    }
    if (!at)
      return access->emitError("internal fault: a buffer that is made in a loop is used after its iteration");
    LiveSpan span = timeline.of(widest);
    live = live ? LiveSpan{std::min(live->lower, span.lower), std::max(live->upper, span.upper)} : span;
  }
  return live;
}
