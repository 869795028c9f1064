// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/IndexRule.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/Order.h"
#include "passes/schedule/Passes.h"
#include "llvm/Support/Debug.h"

#define DEBUG_TYPE "snug-schedule"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_SCHEDULE
#include "passes/schedule/Passes.h.inc"
} // namespace snug

namespace {
// --- destinations are free to be written ---------------------------------------------------------------------------

// Whether nobody but `use` looks at the buffer behind it, so that a write in place harms nobody in any order.
bool isExclusive(OpOperand &use) {
  Value value = use.get();
  while (true) {
    unsigned readers = llvm::count_if(value.getUses(), [](OpOperand &u) { return !isa<tensor::DimOp>(u.getOwner()); });
    if (readers > 1)
      return false;
    if (Value source = wholeViewSource(value))
      value = source;
    else
      break;
  }
  Operation *op = value.getDefiningOp();
  return op ? !isa<nn::WeightOp, tensor::ExtractSliceOp>(op) && !op->hasTrait<OpTrait::ConstantLike>()
            : isWritableArgument(value);
}

// Sizes of a tensor, from where its buffer comes from if that is at hand, so as not to keep kernels alive for their
// shape.
SmallVector<OpFoldResult> sizesOf(OpBuilder &builder, Location loc, Value value) {
  while (auto kernel = value.getDefiningOp<DestinationStyleOpInterface>())
    value = kernel.getTiedOpOperand(cast<OpResult>(value))->get();
  if (auto empty = value.getDefiningOp<tensor::EmptyOp>())
    return empty.getMixedSizes();
  return tensor::getMixedSizes(builder, loc, value);
}

// Gives each destination a buffer of its own where it has none: a copy of tensor.empty and of linalg.fill for each user
// (CSE merges equal ones), a new tensor.empty for what is overwritten blindly, a copy where the old content counts.
void separateDestinations(Block &block) {
  auto makeExclusive = [&](Operation *op, OpOperand &init) {
    if (!isa<RankedTensorType>(init.get().getType()) || isExclusive(init))
      return;
    OpBuilder builder(op);
    Location loc = op->getLoc();
    Value value = init.get();
    if (auto fill = value.getDefiningOp<linalg::FillOp>(); fill && readsDestination(init)) {
      auto type = cast<RankedTensorType>(value.getType());
      Value empty =
          tensor::EmptyOp::create(builder, fill.getLoc(), sizesOf(builder, loc, value), type.getElementType());
      if (empty.getType() != type)
        empty = tensor::CastOp::create(builder, loc, type, empty);
      IRMapping mapping;
      mapping.map(fill.getOutputs()[0], empty);
      init.set(builder.clone(*fill, mapping)->getResult(0));
      return;
    }
    if (value.getDefiningOp<tensor::EmptyOp>()) {
      init.set(builder.clone(*value.getDefiningOp())->getResult(0));
      return;
    }
    auto type = cast<RankedTensorType>(value.getType());
    Value fresh = tensor::EmptyOp::create(builder, loc, sizesOf(builder, loc, value), type.getElementType());
    if (fresh.getType() != type)
      fresh = tensor::CastOp::create(builder, loc, type, fresh);
    if (readsDestination(init))
      fresh = linalg::CopyOp::create(builder, loc, value, fresh).getResult(0);
    init.set(fresh);
  };
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (auto dps = dyn_cast<DestinationStyleOpInterface>(op)) {
      for (OpOperand &init : dps.getDpsInitsMutable())
        makeExclusive(&op, init);
    } else if (auto loop = dyn_cast<scf::ForOp>(op)) {
      for (OpOperand &init : loop.getInitArgsMutable())
        makeExclusive(&op, init);
    }
  }
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
}

// --- results become destination arguments --------------------------------------------------------------------------

void addDestinationArguments(func::FuncOp function) {
  if (function->hasAttr("snug.num_inputs"))
    return;
  Builder builder(function.getContext());
  unsigned numInputs = function.getNumArguments();
  for (auto [index, type] : llvm::enumerate(function.getResultTypes())) {
    if (!isa<RankedTensorType>(type))
      continue;
    NamedAttrList attrs;
    for (StringRef name : {"snug.name", "snug.dims", "snug.element_type"})
      if (Attribute attr = function.getResultAttr(index, name))
        attrs.append(name, attr);
    attrs.append(kOutputArgument, builder.getUnitAttr());
    attrs.append("bufferization.writable", builder.getBoolAttr(true));
    (void)function.insertArgument(function.getNumArguments(), type, attrs.getDictionary(function.getContext()),
                                  function.getLoc());
  }
  function->setAttr("snug.num_inputs", builder.getI64IntegerAttr(numInputs));
}

// Where the value comes from a tensor.empty by kernels that write in place and views that can be undone, puts the
// destination in place of that tensor.empty. True also where the value is there already.
bool produceInto(Value value, BlockArgument argument) {
  Value destination = argument;
  OpBuilder builder(value.getContext());
  SmallVector<Operation *> views; // from the result back
  Value current = value;
  tensor::EmptyOp empty;
  while (!empty) {
    Operation *op = current.getDefiningOp();
    if (!op)
      return current == argument;
    if (wholeViewSource(current)) {
      views.push_back(op);
      current = op->getOperand(0);
    } else if (auto loop = dyn_cast<scf::ForOp>(op)) {
      current = loop.getTiedLoopInit(cast<OpResult>(current))->get();
    } else if (auto dps = dyn_cast<DestinationStyleOpInterface>(op)) {
      current = dps.getTiedOpOperand(cast<OpResult>(current))->get();
    } else if (!(empty = dyn_cast<tensor::EmptyOp>(op))) {
      return false;
    }
  }
  if (!argument.use_empty()) // another result is made there
    return false;
  // A tensor has the shape of its destination, so until the first view back from here sizes are those of the empty.
  builder.setInsertionPointAfter(empty);
  for (auto [index, view] : llvm::enumerate(views)) {
    auto type = cast<RankedTensorType>(view->getOperand(0).getType());
    Location loc = view->getLoc();
    if (isa<tensor::CastOp>(view)) {
      destination = tensor::CastOp::create(builder, loc, type, destination);
    } else if (auto expand = dyn_cast<tensor::ExpandShapeOp>(view)) {
      destination = tensor::CollapseShapeOp::create(builder, loc, type, destination, expand.getReassociationIndices());
    } else {
      auto collapse = cast<tensor::CollapseShapeOp>(view);
      bool sizesKnown = type.hasStaticShape() || index + 1 == views.size();
      if (!sizesKnown)
        return false;
      SmallVector<OpFoldResult> sizes =
          type.hasStaticShape() ? tensor::getMixedSizes(builder, loc, view->getOperand(0)) : empty.getMixedSizes();
      destination =
          tensor::ExpandShapeOp::create(builder, loc, type, destination, collapse.getReassociationIndices(), sizes);
    }
  }
  if (destination.getType() != empty.getType())
    return false;
  empty.replaceAllUsesWith(destination);
  empty.erase();
  return true;
}

void assignDestinations(func::FuncOp function) {
  Operation *terminator = function.front().getTerminator();
  unsigned argument = function->getAttrOfType<IntegerAttr>("snug.num_inputs").getInt();
  for (OpOperand &result : terminator->getOpOperands()) {
    if (!isa<RankedTensorType>(result.get().getType()))
      continue;
    BlockArgument destination = function.getArgument(argument++);
    if (produceInto(result.get(), destination))
      continue;
    OpBuilder builder(terminator);
    result.set(linalg::CopyOp::create(builder, terminator->getLoc(), result.get(), destination).getResult(0));
  }
}

// --- order --------------------------------------------------------------------------------------------------------

void apply(const Order &order, KernelGraph &graph, Block &block) {
  llvm::SmallPtrSet<Operation *, 32> placed;
  Operation *terminator = block.getTerminator();
  // Free ops stand just before their first user.
  std::function<void(Operation *)> place = [&](Operation *op) {
    if (!placed.insert(op).second)
      return;
    op->walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        if (Operation *producer = operand.getDefiningOp(); producer && producer->getBlock() == &block)
          place(producer);
    });
    if (op != terminator)
      op->moveBefore(terminator);
  };
  for (unsigned id : order)
    place(graph.kernels[id].op);
  place(terminator);
  // Those that nobody uses.
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isFree(&op) && op.use_empty())
      op.erase();
}

struct SchedulePass : snug::impl::ScheduleBase<SchedulePass> {
  using ScheduleBase::ScheduleBase;

  LogicalResult schedule(func::FuncOp function, IndexBounds &bounds) {
    Block &block = function.front();
    separateDestinations(block);
    KernelGraph graph(block, bounds, inPlace);
    if (graph.failed)
      return failure();
    struct Candidate {
      StringRef name;
      Order order;
    };
    SmallVector<Candidate> candidates;
    if (order == "best" || order == "given")
      candidates.push_back({"given", graph.given()});
    if (order == "best" || order == "memory")
      candidates.push_back({"memory", graph.leastMemoryFirst()});
    if (order == "best" || order == "depth")
      candidates.push_back({"depth", graph.depthFirst(block)});
    const Candidate *best = nullptr;
    int64_t least = 0;
    for (const Candidate &candidate : candidates) {
      int64_t peak = graph.peak(candidate.order);
      LLVM_DEBUG(llvm::dbgs() << function.getName() << ": order " << candidate.name << " peak " << peak << "\n");
      if (!best || peak < least) {
        best = &candidate;
        least = peak;
      }
    }
    SmallVector<std::pair<unsigned, InPlace>> ties;
    graph.peak(best->order, &ties);
    for (auto [id, tie] : ties) {
      Operation *op = graph.kernels[id].op;
      op->setOperand(tie.init, op->getOperand(tie.operand));
    }
    if (!function.isPrivate()) {
      addDestinationArguments(function);
      assignDestinations(function);
    }
    apply(best->order, graph, block);
    return success();
  }

  void runOnOperation() override {
    if (!llvm::is_contained({"best", "given", "memory", "depth"}, order.getValue())) {
      mlir::emitError(getOperation().getLoc())
          << "unknown order '" << order.getValue() << "': use best, given, memory or depth";
      return signalPassFailure();
    }
    IndexBounds bounds(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isDeclaration() && failed(schedule(function, bounds)))
        return signalPassFailure();
  }
};
} // namespace
