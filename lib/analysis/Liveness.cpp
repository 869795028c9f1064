// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/LivenessBuilder.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "llvm/Support/MathExtras.h"

#include <map>
#include <numeric>

using namespace mlir;
using namespace snug;

static bool isView(Operation *op) {
  return isa<tensor::ExtractSliceOp, tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::CastOp>(op);
}

void LivenessBuilder::number(Operation *op) {
  int64_t lower = now++;
  result.opAt.push_back(op);
  if (!isa<linalg::LinalgOp>(op) && op->getDialect() != op->getContext()->getLoadedDialect<nn::NnDialect>())
    for (Region &region : op->getRegions())
      for (Block &block : region)
        for (Operation &inner : block)
          number(&inner);
  if (now > lower + 1) {
    ++now;
    result.opAt.push_back(op);
  }
  spans[op] = {lower, now};
  result.times[op] = lower;
}

// The block of which each run runs the op at most once, and all that is around it in branches.
static Block *scopeOf(Block *block) {
  while (auto branch = dyn_cast_or_null<scf::IfOp>(block->getParentOp()))
    block = branch->getBlock();
  return block;
}

LivenessBuilder::LastUse LivenessBuilder::lastUse(Value value, Operation *beside) {
  if (auto found = lastUseCache.find(value); !beside && found != lastUseCache.end())
    return found->second;
  LastUse last;
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (isa<tensor::DimOp>(user) || (beside && insideMutuallyExclusiveRegions(user, beside)))
      continue;
    // Inside a loop it is needed again in the next iteration.
    Operation *at = user, *whole = user;
    while (at && at->getBlock() != value.getParentBlock()) {
      at = at->getParentOp();
      if (!isa_and_nonnull<scf::IfOp>(at))
        whole = at;
    }
    if (isView(user)) {
      LastUse through = lastUse(user->getResult(0), beside);
      if (whole == user) {
        last.any = std::max(last.any, through.any);
        last.read = std::max(last.read, through.read);
        continue;
      }
    }
    int64_t time = whole == user || !at ? spans.lookup(user).lower : spans.lookup(whole).upper - 1;
    last.any = std::max(last.any, time);
    auto insert = dyn_cast<tensor::InsertSliceOp>(user);
    if (!insert || at != user || use.get() != insert.getDest())
      last.read = std::max(last.read, time);
  }
  return beside ? last : lastUseCache[value] = last;
}

// Of a buffer, as the op sees it in a branch.
LivenessBuilder::LastUse LivenessBuilder::lastUseBeside(Operation *op, unsigned buffer, Block *scope) {
  LastUse last;
  for (auto [value, id] : result.bufferIds) {
    if ((id != buffer && !llvm::is_contained(mayBe.lookup(id), buffer)) || scopeOf(value.getParentBlock()) != scope)
      continue;
    LastUse one = lastUse(value, op);
    last.any = std::max(last.any, one.any);
    last.read = std::max(last.read, one.read);
  }
  return last;
}

// The operand that a kernel or a loop computes the result in; null for other ops.
static OpOperand *destinationOf(Value result) {
  if (auto kernel = result.getDefiningOp<DestinationStyleOpInterface>())
    return kernel.getTiedOpOperand(cast<OpResult>(result));
  if (auto loop = result.getDefiningOp<scf::ForOp>())
    return loop.getTiedLoopInit(cast<OpResult>(result));
  return nullptr;
}

// Whether a slice is written back to where it was taken, so that it may be computed in place.
static bool isWrittenBack(Value slice, Value written) {
  // What wrote the slice before stands between.
  while (OpOperand *destination = destinationOf(slice))
    slice = destination->get();
  auto extract = slice.getDefiningOp<tensor::ExtractSliceOp>();
  if (!extract)
    return false;
  SmallVector<Value> worklist{written};
  while (!worklist.empty())
    for (OpOperand &use : worklist.pop_back_val().getUses()) {
      Operation *user = use.getOwner();
      if (auto insert = dyn_cast<tensor::InsertSliceOp>(user); insert && use.get() == insert.getSource()) {
        if (insert.getDest() == extract.getSource() && insert.getMixedOffsets() == extract.getMixedOffsets() &&
            insert.getMixedSizes() == extract.getMixedSizes() && insert.getMixedStrides() == extract.getMixedStrides())
          return true;
      }
      for (Value result : user->getResults())
        if (destinationOf(result) == &use)
          worklist.push_back(result);
    }
  return false;
}

// Whether a kernel's body looks up values of the buffer, by tensor.extract say.
bool LivenessBuilder::readsInBody(Operation *op, std::optional<unsigned> buffer) {
  if (!bodiesOf(op).empty())
    return false;
  bool found = false;
  for (Region &region : op->getRegions())
    region.walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        found = found || (isa<RankedTensorType>(operand.getType()) && result.bufferOf(operand) == buffer);
    });
  return found;
}

bool LivenessBuilder::diesAt(Value init, Operation *op) {
  std::optional<unsigned> buffer = result.bufferOf(init);
  if (!buffer || !result.buffers[*buffer].writable)
    return false;
  // What is made outside a loop is there for all iterations; only what the loop carries may be written in it.
  Block *scope = scopeOf(op->getBlock());
  if (scopeOf(result.buffers[*buffer].home) != scope) {
    bool isCarried =
        llvm::any_of(scope->getArguments(), [&](Value argument) { return result.bufferOf(argument) == buffer; });
    if (!isCarried && scope != &function.front())
      return false;
  }
  int64_t time = spans.lookup(op).lower;
  // The reading side was judged when the program was made: an op that reads its destination's buffer elsewhere than it
  // writes needs a copy.
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
    for (OpOperand *input : linalgOp.getDpsInputOperands())
      if (result.bufferOf(input->get()) == buffer &&
          (input->get() != init || !linalgOp.getMatchingIndexingMap(input).isIdentity()))
        return false;
  // What its body looks up is anywhere.
  if (readsInBody(op, buffer))
    return false;
  LastUse last = lastUses[*buffer];
  if (last.any > time && scope != op->getBlock())
    last = lastUseBeside(op, *buffer, scope);
  if (last.any <= time)
    return true;
  if (last.read > time)
    return false;
  if (isa<tensor::InsertSliceOp>(op))
    return true;
  return llvm::any_of(op->getResults(), [&](Value value) {
    OpOperand *destination = destinationOf(value);
    return destination && destination->get() == init && isWrittenBack(init, value);
  });
}

FailureOr<unsigned> LivenessBuilder::newBuffer(Value root, Block *home, bool inArena, bool writable) {
  TensorBuffer buffer;
  buffer.root = root;
  buffer.home = home;
  buffer.inArena = inArena;
  buffer.writable = writable;
  if (inArena) {
    std::optional<int64_t> bytes = bytesOf(root);
    if (!bytes) {
      Operation *op = root.getDefiningOp();
      return emitError(op ? op->getLoc() : root.getLoc())
             << "a buffer of type " << root.getType()
             << " has no upper bound: state the bounds of its dims with --dim NAME=A..B";
    }
    buffer.bytes = llvm::alignTo(*bytes, alignment);
  }
  result.buffers.push_back(buffer);
  lastUses.emplace_back();
  join(root, result.buffers.size() - 1);
  return result.buffers.size() - 1;
}

void LivenessBuilder::join(Value value, unsigned buffer) {
  result.bufferIds[value] = buffer;
  LastUse last = lastUse(value);
  SmallVector<unsigned> all = mayBe.lookup(buffer);
  all.push_back(buffer);
  for (unsigned id : all) {
    lastUses[id].any = std::max(lastUses[id].any, last.any);
    lastUses[id].read = std::max(lastUses[id].read, last.read);
  }
}

void LivenessBuilder::touch(Value value, Operation *op) {
  std::optional<unsigned> id = result.bufferOf(value);
  if (!id)
    return;
  touch(*id, op);
  for (unsigned other : mayBe.lookup(*id))
    touch(other, op);
}

void LivenessBuilder::touch(unsigned id, Operation *op) {
  TensorBuffer &buffer = result.buffers[id];
  for (Operation *at = op; at != function; at = at->getParentOp())
    if (auto &list = result.touched[at]; !llvm::is_contained(list, id))
      list.push_back(id);
  Operation *widest = op;
  for (Operation *at = op; at && at->getBlock() != buffer.home;) {
    at = at->getParentOp();
    if (isa_and_nonnull<LoopLikeOpInterface>(at))
      widest = at;
  }
  Span span = spans.lookup(widest);
  if (buffer.upper == buffer.lower) {
    buffer.lower = span.lower;
    buffer.upper = span.upper;
  }
  buffer.lower = std::min(buffer.lower, span.lower);
  buffer.upper = std::max(buffer.upper, span.upper);
}

LogicalResult LivenessBuilder::visitKernel(DestinationStyleOpInterface op) {
  for (OpResult value : op->getResults()) {
    if (!isa<RankedTensorType>(value.getType()))
      continue;
    Value init = op.getTiedOpOperand(value)->get();
    if (diesAt(init, op))
      join(value, *result.bufferOf(init));
    else if (failed(newBuffer(value, op->getBlock(), true, true)))
      return failure();
  }
  auto insert = dyn_cast<tensor::InsertSliceOp>(op.getOperation());
  if (insert && result.bufferOf(insert.getSource()) == result.bufferOf(insert.getResult()))
    return success(); // computed in place
  for (OpOperand &operand : op->getOpOperands())
    // A destination that is not taken over is read only if its content counts; tensor.empty has none.
    if (!(op.isDpsInit(&operand) && operand.get().getDefiningOp<tensor::EmptyOp>()))
      touch(operand.get(), op);
  for (Region &region : op->getRegions())
    region.walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        touch(operand, op);
    });
  for (Value value : op->getResults())
    touch(value, op);
  return success();
}

// Whether the tensor is a part of its buffer, not all of it.
bool LivenessBuilder::isPart(Value value) {
  while (true) {
    OpOperand *destination = destinationOf(value);
    Operation *op = value.getDefiningOp();
    if (isa_and_nonnull<tensor::ExtractSliceOp>(op))
      return true;
    if (destination && result.bufferOf(destination->get()) == result.bufferOf(value))
      value = destination->get();
    else if (op && isView(op))
      value = op->getOperand(0);
    else
      return false;
  }
}

// Who calls the function gets whole buffers that are nobody else's: a part of one, and what is the caller's already, is
// copied in the end.
void LivenessBuilder::visitReturn(Operation *op) {
  for (Value value : op->getOperands()) {
    std::optional<unsigned> buffer = result.bufferOf(value);
    if (!buffer)
      continue;
    Value root = result.buffers[*buffer].root;
    if (result.buffers[*buffer].inArena ? !isPart(value) : !isa<BlockArgument>(root) || isWritableArgument(root))
      continue;
    TensorBuffer copy;
    copy.root = value;
    copy.home = op->getBlock();
    copy.bytes = llvm::alignTo(bytesOf(value).value_or(0), alignment);
    result.buffers.push_back(copy);
    lastUses.emplace_back();
    touch(result.buffers.size() - 1, op);
  }
}

LogicalResult LivenessBuilder::visitBlock(Block &block) {
  for (Operation &op : block)
    if (failed(visit(&op)))
      return failure();
  return success();
}

LogicalResult LivenessBuilder::visit(Operation *op) {
  if (isView(op)) {
    if (std::optional<unsigned> buffer = result.bufferOf(op->getOperand(0)))
      join(op->getResult(0), *buffer);
    return success();
  }
  if (isa<tensor::DimOp>(op))
    return success();
  if (auto loop = dyn_cast<scf::ForOp>(op))
    return visitLoop(loop);
  if (auto loop = dyn_cast<scf::WhileOp>(op))
    return visitWhile(loop);
  if (auto branch = dyn_cast<scf::IfOp>(op))
    return visitIf(branch);
  if (auto dps = dyn_cast<DestinationStyleOpInterface>(op))
    return visitKernel(dps);
  if (isa<func::ReturnOp>(op))
    visitReturn(op);
  bool resident = isa<nn::WeightOp>(op) || op->hasTrait<OpTrait::ConstantLike>();
  for (Value value : op->getResults())
    if (isa<RankedTensorType>(value.getType()) && failed(newBuffer(value, op->getBlock(), !resident, !resident)))
      return failure();
  if (resident || isa<tensor::EmptyOp>(op))
    return success();
  op->walk([&](Operation *inner) {
    for (Value operand : inner->getOperands())
      touch(operand, op);
  });
  for (Value value : op->getResults())
    touch(value, op);
  return success();
}

std::pair<int64_t, Operation *> Liveness::sweep(function_ref<bool(const TensorBuffer &)> counts) const {
  std::map<int64_t, int64_t> change;
  for (const TensorBuffer &buffer : buffers)
    if (buffer.inArena && buffer.upper > buffer.lower && counts(buffer)) {
      change[buffer.lower] += buffer.bytes;
      change[buffer.upper] -= buffer.bytes;
    }
  int64_t live = 0;
  std::pair<int64_t, Operation *> most{0, nullptr};
  for (auto [time, bytes] : change) {
    live += bytes;
    if (live > most.first)
      most = {live, opAt[time]};
  }
  return most;
}

std::vector<int64_t> Liveness::bytesLive() const {
  std::vector<int64_t> live(opAt.size() + 1);
  for (const TensorBuffer &buffer : buffers)
    if (buffer.inArena && buffer.upper > buffer.lower) {
      live[buffer.lower] += buffer.bytes;
      live[buffer.upper] -= buffer.bytes;
    }
  std::partial_sum(live.begin(), live.end(), live.begin());
  return live;
}

std::pair<int64_t, Operation *> Liveness::peakWithin(Operation *op) const {
  return sweep([&](const TensorBuffer &buffer) { return op->isAncestor(buffer.home->getParentOp()); });
}

LogicalResult LivenessBuilder::run() {
  if (!llvm::hasSingleElement(function.getBody()))
    return function.emitError("memory is planned for functions of one block; this one has control flow between blocks");
  for (Operation &op : function.front())
    number(&op);
  for (BlockArgument argument : function.getArguments())
    if (isa<RankedTensorType>(argument.getType()) &&
        failed(newBuffer(argument, &function.front(), false, isWritableArgument(argument))))
      return failure();
  if (failed(visitBlock(function.front())))
    return failure();
  std::tie(result.peak, result.peakOp) = result.sweep([](const TensorBuffer &) { return true; });
  return success();
}

FailureOr<Liveness> Liveness::compute(func::FuncOp function, BytesOf bytesOf, int64_t alignment) {
  LivenessBuilder builder(function, bytesOf, alignment);
  if (failed(builder.run()))
    return failure();
  return std::move(builder.result);
}

std::optional<unsigned> Liveness::bufferOf(Value value) const {
  auto found = bufferIds.find(value);
  return found == bufferIds.end() ? std::nullopt : std::optional<unsigned>(found->second);
}

ArrayRef<unsigned> Liveness::touchedBy(Operation *op) const {
  auto found = touched.find(op);
  return found == touched.end() ? ArrayRef<unsigned>() : ArrayRef<unsigned>(found->second);
}
