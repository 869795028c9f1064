// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Buffers of loops and branches, as upstream's bufferization makes them.
#include "lib/analysis/LivenessBuilder.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace snug;

SmallVector<Block *> snug::bodiesOf(Operation *op) {
  SmallVector<Block *> bodies;
  if (isa<scf::ForOp, scf::WhileOp, scf::IfOp>(op))
    for (Region &region : op->getRegions())
      if (!region.empty())
        bodies.push_back(&region.front());
  return bodies;
}

// The buffer that a loop carries from `init` on, as the argument of its body.
FailureOr<unsigned> LivenessBuilder::carry(Value init, BlockArgument argument, Operation *loop) {
  unsigned buffer;
  if (diesAt(init, loop)) {
    buffer = *result.bufferOf(init);
  } else {
    if (!init.getDefiningOp<tensor::EmptyOp>())
      touch(init, loop);
    FailureOr<unsigned> made = newBuffer(argument, loop->getBlock(), true, true);
    if (failed(made))
      return failure();
    buffer = *made;
  }
  // In the body only the body's uses count; those of the result come when the loop is over.
  lastUses[buffer] = {};
  join(argument, buffer);
  touch(buffer, loop);
  return buffer;
}

bool LivenessBuilder::isMadeIn(unsigned buffer, Operation *op) {
  return result.buffers[buffer].inArena && op->isAncestor(result.buffers[buffer].home->getParentOp());
}

// Where iterations yield tensors of their own, there are the one that came from outside, the last one and the next one.
LogicalResult LivenessBuilder::leave(Operation *loop, Value init, Value given, Value yielded, Value value) {
  std::optional<unsigned> buffer = result.bufferOf(given);
  if (!buffer)
    return success();
  bool isNew = result.bufferOf(yielded) != buffer;
  if (isNew && (result.bufferOf(init) == buffer || init.getDefiningOp<tensor::EmptyOp>())) {
    if (failed(newBuffer(value, loop->getBlock(), true, true)))
      return failure();
    touch(value, loop);
  }
  join(value, *result.bufferOf(value));
  return success();
}

LogicalResult LivenessBuilder::visitLoop(scf::ForOp loop) {
  for (auto [init, argument, value] :
       llvm::zip_equal(loop.getInitArgs(), loop.getRegionIterArgs(), loop.getResults())) {
    if (!isa<RankedTensorType>(init.getType()))
      continue;
    FailureOr<unsigned> buffer = carry(init, argument, loop);
    if (failed(buffer))
      return failure();
    result.bufferIds[value] = *buffer;
  }
  if (failed(visitBlock(*loop.getBody())))
    return failure();
  for (auto [init, argument, yielded, value] :
       llvm::zip_equal(loop.getInitArgs(), loop.getRegionIterArgs(), loop.getYieldedValues(), loop.getResults()))
    if (failed(leave(loop, init, argument, yielded, value)))
      return failure();
  return success();
}

LogicalResult LivenessBuilder::visitWhile(scf::WhileOp loop) {
  for (auto [init, argument] : llvm::zip_equal(loop.getInits(), loop.getBeforeArguments()))
    if (isa<RankedTensorType>(init.getType()) && failed(carry(init, argument, loop)))
      return failure();
  if (failed(visitBlock(*loop.getBeforeBody())))
    return failure();
  ValueRange condition = loop.getConditionOp().getArgs(), before = loop.getBeforeArguments();
  for (auto [index, argument, value] : llvm::enumerate(loop.getAfterArguments(), loop.getResults())) {
    if (!isa<RankedTensorType>(value.getType()))
      continue;
    unsigned buffer = *result.bufferOf(condition[index]);
    if (isMadeIn(buffer, loop)) { // and handed on
      result.buffers[buffer].home = loop->getBlock();
    } else if (index >= before.size() || result.bufferOf(before[index]) != buffer) {
      FailureOr<unsigned> made = newBuffer(argument, loop->getBlock(), true, true);
      if (failed(made))
        return failure();
      buffer = *made;
    }
    result.bufferIds[value] = buffer;
    lastUses[buffer] = {};
    join(argument, buffer);
    touch(buffer, loop);
  }
  if (failed(visitBlock(*loop.getAfterBody())))
    return failure();
  ValueRange inits = loop.getInits(), yielded = loop.getYieldOp().getResults();
  for (auto [index, argument, value] : llvm::enumerate(loop.getAfterArguments(), loop.getResults())) {
    // What has no init is made in the loop.
    Value from = index < inits.size() ? inits[index] : argument, to = index < inits.size() ? yielded[index] : argument;
    if (failed(leave(loop, from, argument, to, value)))
      return failure();
  }
  return success();
}

void LivenessBuilder::merge(unsigned from, unsigned into) {
  mayBe[into].append(mayBe.lookup(from));
  for (auto &[value, buffer] : result.bufferIds)
    if (buffer == from)
      buffer = into;
  for (auto &[op, list] : result.touched)
    if (llvm::is_contained(list, from)) {
      llvm::erase(list, from);
      if (!llvm::is_contained(list, into))
        list.push_back(into);
    }
  TensorBuffer &a = result.buffers[into], &b = result.buffers[from];
  a.bytes = std::max(a.bytes, b.bytes);
  a.lower = std::min(a.lower, b.lower);
  a.upper = std::max(a.upper, b.upper);
  b.lower = b.upper = 0;
}

// A result is in the buffer that the branch taken has made for it, which is one buffer whichever branch it is; or in
// one from outside, which is then needed as long as the result is, and may not be written.
LogicalResult LivenessBuilder::visitIf(scf::IfOp op) {
  for (Block *block : bodiesOf(op))
    if (failed(visitBlock(*block)))
      return failure();
  for (auto [index, value] : llvm::enumerate(op.getResults())) {
    if (!isa<RankedTensorType>(value.getType()))
      continue;
    std::optional<unsigned> made;
    SmallVector<unsigned> others;
    for (Operation *yield : {op.thenYield().getOperation(), op.elseYield().getOperation()}) {
      unsigned buffer = *result.bufferOf(yield->getOperand(index));
      bool isOwn = isMadeIn(buffer, op);
      if (isOwn && made && *made != buffer)
        merge(buffer, *made);
      else if (isOwn)
        made = buffer;
      else if (!llvm::is_contained(others, buffer))
        others.push_back(buffer);
    }
    if (!made && others.size() == 1) {
      join(value, others.front());
      touch(value, op);
      continue;
    }
    if (!made) {
      FailureOr<unsigned> none = newBuffer(value, op->getBlock(), /*inArena=*/false, /*writable=*/false);
      made = *none;
    }
    TensorBuffer &buffer = result.buffers[*made];
    buffer.home = op->getBlock();
    buffer.root = value;
    buffer.writable = buffer.writable && others.empty();
    for (unsigned other : others) {
      mayBe[*made].append(mayBe.lookup(other));
      mayBe[*made].push_back(other);
    }
    join(value, *made);
    touch(value, op);
  }
  return success();
}
