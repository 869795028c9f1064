// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/analysis/Order.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MathExtras.h"

#include <set>

using namespace mlir;
using namespace snug;

namespace {
constexpr int64_t kAlignment = 64; // as the arena rounds, so that the estimate is what is allocated

bool isTensor(Value value) { return isa<RankedTensorType>(value.getType()); }

// Tensors that the op reads or writes, those captured by its regions included.
void forEachTensor(Operation *op, llvm::function_ref<void(Value)> fn) {
  for (Value operand : op->getOperands())
    if (isTensor(operand))
      fn(operand);
  llvm::SetVector<Value> captured;
  getUsedValuesDefinedAbove(op->getRegions(), captured);
  for (Value value : captured)
    if (isTensor(value))
      fn(value);
}

} // namespace

bool snug::isFree(Operation *op) {
  if (isa<tensor::EmptyOp, tensor::DimOp, tensor::ExtractSliceOp, tensor::ExpandShapeOp, tensor::CollapseShapeOp,
          tensor::CastOp, nn::WeightOp>(op) ||
      op->hasTrait<OpTrait::ConstantLike>())
    return true;
  return op->getNumRegions() == 0 && isMemoryEffectFree(op) && !op->hasTrait<OpTrait::IsTerminator>() &&
         llvm::none_of(op->getOperandTypes(), llvm::IsaPred<ShapedType>) &&
         llvm::none_of(op->getResultTypes(), llvm::IsaPred<ShapedType>);
}

Value snug::wholeViewSource(Value value) {
  Operation *op = value.getDefiningOp();
  return op && isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::CastOp>(op) ? op->getOperand(0) : Value();
}

Value snug::writtenInto(Value result) {
  auto value = dyn_cast<OpResult>(result);
  if (!value)
    return {};
  if (auto kernel = dyn_cast<DestinationStyleOpInterface>(value.getOwner()))
    return kernel.getTiedOpOperand(value)->get();
  if (auto loop = dyn_cast<scf::ForOp>(value.getOwner()))
    return loop.getTiedLoopInit(value)->get();
  auto branch = dyn_cast<scf::IfOp>(value.getOwner());
  if (!branch)
    return {};
  // Both of its blocks make it in one tensor from outside, where the schedule has been there.
  Value made = branch.thenYield().getOperand(value.getResultNumber());
  while (made && branch->isProperAncestor(made.getParentBlock()->getParentOp()))
    made = wholeViewSource(made) ? wholeViewSource(made) : writtenInto(made);
  return made;
}

unsigned KernelGraph::newClass(int64_t bytes, bool owned) {
  classes.push_back({bytes, owned, 0});
  return classes.size() - 1;
}

unsigned KernelGraph::classOf(Value value) {
  if (auto found = classIds.find(value); found != classIds.end())
    return found->second;
  Operation *op = value.getDefiningOp();
  unsigned id;
  auto bytesOf = [&](ValueRange dynamicSizes) -> int64_t {
    std::optional<int64_t> bytes = bounds.bytes(cast<ShapedType>(value.getType()), dynamicSizes);
    if (!bytes) {
      emitError(value.getLoc()) << "a buffer of type " << value.getType()
                                << " has no upper bound: state the bounds of its dims with --dim NAME=A..B";
      failed = true;
    }
    return llvm::alignTo(bytes.value_or(0), kAlignment);
  };
  if (!op || value.getParentBlock() != &block || isa<nn::WeightOp>(op) || op->hasTrait<OpTrait::ConstantLike>())
    id = newClass(0, /*owned=*/false);
  else if (auto empty = dyn_cast<tensor::EmptyOp>(op))
    id = newClass(bytesOf(empty.getDynamicSizes()), /*owned=*/true);
  else if (Value source = wholeViewSource(value))
    id = classOf(source);
  else if (isa<tensor::ExtractSliceOp>(op))
    id = classOf(op->getOperand(0));
  else if (Value destination = writtenInto(value))
    id = classOf(destination);
  else
    id = newClass(0, /*owned=*/false); // no destination, so none of the schedule's: bufferization reports it
  classes[id].donated |= isDonatedArgument(value);
  classIds[value] = id;
  return id;
}

void KernelGraph::findProducers(Value value, SmallVectorImpl<unsigned> &producers) const {
  // What is free may lead to the same producers in many ways.
  llvm::SetVector<Value> leading;
  leading.insert(value);
  for (size_t next = 0; next < leading.size(); ++next) {
    Operation *op = leading[next].getDefiningOp();
    if (!op)
      continue;
    if (auto found = kernelIds.find(op); found == kernelIds.end())
      leading.insert_range(op->getOperands());
    else if (!llvm::is_contained(producers, found->second))
      producers.push_back(found->second);
  }
}

KernelGraph::KernelGraph(Block &block, IndexBounds &bounds, bool inPlace, const OrderFacts &facts)
    : block(block), bounds(bounds) {
  for (Operation &op : block.without_terminator())
    if (!isFree(&op)) {
      kernelIds[&op] = kernels.size();
      kernels.push_back({&op, {}, {}, {}, {}, facts.within.lookup(&op)});
    }
  for (auto [first, second] : facts.before)
    if (auto a = kernelIds.find(first), b = kernelIds.find(second); a != kernelIds.end() && b != kernelIds.end())
      kernels[b->second].before.push_back(a->second);
  for (unsigned id = 0; id < kernels.size(); ++id) {
    Kernel &kernel = kernels[id];
    Operation *op = kernel.op;
    llvm::SetVector<Value> used(op->operand_begin(), op->operand_end());
    getUsedValuesDefinedAbove(op->getRegions(), used);
    for (Value value : used)
      if (value.getParentBlock() == &block)
        findProducers(value, kernel.before);
    for (unsigned producer : kernel.before)
      kernels[producer].after.push_back(id);

    auto touch = [&](Value value) {
      unsigned storage = classOf(value);
      if (!llvm::is_contained(kernel.touched, storage))
        kernel.touched.push_back(storage);
    };
    forEachTensor(op, touch);
    for (Value result : op->getResults())
      if (isTensor(result))
        touch(result);
    for (unsigned storage : kernel.touched)
      ++classes[storage].users;

    auto dps = dyn_cast<DestinationStyleOpInterface>(op);
    if (!dps || !inPlace)
      continue;
    for (OpOperand &init : dps.getDpsInitsMutable()) {
      if (!init.get().getDefiningOp<tensor::EmptyOp>())
        continue;
      for (OpOperand &operand : op->getOpOperands()) {
        if (!isTensor(operand.get()) || !mayOverwrite(op, operand, init))
          continue;
        // A slice is not the buffer: it would keep all of it. And no other operand may look at the buffer, unless it
        // is the same tensor, read the same way.
        Value root = operand.get();
        while (Value source = wholeViewSource(root))
          root = source;
        bool safe = !root.getDefiningOp<tensor::ExtractSliceOp>();
        unsigned storage = classOf(operand.get());
        for (OpOperand &other : op->getOpOperands())
          if (&other != &operand && isTensor(other.get()) && classOf(other.get()) == storage)
            safe &= other.get() == operand.get() && mayOverwrite(op, other, init);
        llvm::SetVector<Value> captured;
        getUsedValuesDefinedAbove(op->getRegions(), captured);
        for (Value value : captured)
          safe &= !isTensor(value) || classOf(value) != storage;
        if (safe)
          kernel.inPlace.push_back({init.getOperandNumber(), operand.getOperandNumber()});
      }
    }
  }
  // What is returned lives to the end, outside the arena: the schedule gives it a destination argument.
  for (Value value : block.getTerminator()->getOperands())
    if (isTensor(value)) {
      StorageClass &storage = classes[classOf(value)];
      storage.owned = storage.donated = false;
      ++storage.users;
    }
}

// --- orders -------------------------------------------------------------------------------------------------------

struct KernelGraph::Memory {
  explicit Memory(const KernelGraph &graph) : graph(graph), held(graph.classes.size(), -1) {
    for (auto [id, storage] : llvm::enumerate(graph.classes)) {
      users.push_back(storage.users);
      donated.push_back(storage.donated);
      if (storage.donated)
        held[id] = 0; // from the start
    }
  }

  struct Step {
    int64_t added = 0, freed = 0;
    SmallVector<InPlace, 1> ties;
  };

  // What running the kernel now would do.
  Step measure(unsigned id) const {
    const Kernel &kernel = graph.kernels[id];
    Step step;
    SmallVector<unsigned, 2> taken, placed;
    // What was donated first: it costs nothing, and what else dies here is free again.
    for (bool wantDonated : {true, false})
      for (InPlace tie : kernel.inPlace) {
        unsigned to = classAt(kernel, tie.init), from = classAt(kernel, tie.operand);
        bool mayTake = donated[from] ? graph.classes[to].owned : graph.classes[from].owned;
        if (donated[from] != wantDonated || !mayTake || held[to] >= 0 || held[from] < 0 || users[from] != 1 ||
            llvm::is_contained(taken, from) || llvm::is_contained(placed, to))
          continue;
        taken.push_back(from);
        placed.push_back(to);
        step.ties.push_back(tie);
      }
    for (unsigned storage : kernel.touched) {
      bool last = users[storage] == 1;
      if (held[storage] < 0 && !llvm::is_contained(placed, storage))
        step.added += bytes(storage);
      bool handedOn = llvm::is_contained(taken, storage) && graph.classes[ownerOf(kernel, step, storage)].owned;
      if (last && !handedOn)
        step.freed += held[storage] < 0 ? bytes(storage) : held[storage];
    }
    return step;
  }

  void run(unsigned id, const Step &step) {
    const Kernel &kernel = graph.kernels[id];
    live += step.added;
    peak = std::max(peak, live + kernel.within);
    live -= step.freed;
    for (InPlace tie : step.ties)
      if (unsigned to = classAt(kernel, tie.init); donated[classAt(kernel, tie.operand)]) {
        donated[to] = true;
        held[to] = 0;
      }
    for (unsigned storage : kernel.touched) {
      if (held[storage] < 0)
        held[storage] = bytes(storage);
      --users[storage];
    }
  }

  int64_t live = 0, peak = 0;

private:
  int64_t bytes(unsigned storage) const { return graph.classes[storage].owned ? graph.classes[storage].bytes : 0; }
  unsigned classAt(const Kernel &kernel, unsigned operand) const {
    return graph.classIds.lookup(kernel.op->getOperand(operand));
  }
  unsigned ownerOf(const Kernel &kernel, const Step &step, unsigned from) const {
    for (InPlace tie : step.ties)
      if (classAt(kernel, tie.operand) == from)
        return classAt(kernel, tie.init);
    return from;
  }

  const KernelGraph &graph;
  SmallVector<int64_t> held; // bytes of a class that has been written, -1 before
  SmallVector<unsigned> users;
  SmallVector<bool> donated; // now in an input's buffer
};

Order KernelGraph::given() const {
  // As it stands, but for what has to wait: the first that is ready, again and again.
  Order order;
  SmallVector<unsigned> waiting;
  std::set<unsigned> ready;
  for (auto [id, kernel] : llvm::enumerate(kernels)) {
    waiting.push_back(kernel.before.size());
    if (kernel.before.empty())
      ready.insert(id);
  }
  while (!ready.empty()) {
    unsigned id = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(id);
    for (unsigned next : kernels[id].after)
      if (--waiting[next] == 0)
        ready.insert(next);
  }
  return order;
}

Order KernelGraph::depthFirst(Block &block) const {
  Order order;
  SmallVector<char> state(kernels.size(), 0);
  // An explicit stack: models are deeper than call stacks.
  auto visit = [&](unsigned root) {
    SmallVector<std::pair<unsigned, unsigned>> stack;
    if (!state[root])
      stack.push_back({root, 0});
    state[root] = 1;
    while (!stack.empty()) {
      auto &[id, next] = stack.back();
      if (next == kernels[id].before.size()) {
        order.push_back(id);
        stack.pop_back();
        continue;
      }
      unsigned producer = kernels[id].before[next++];
      if (!state[producer]) {
        state[producer] = 1;
        stack.push_back({producer, 0});
      }
    }
  };
  for (Value value : block.getTerminator()->getOperands()) {
    SmallVector<unsigned> producers;
    findProducers(value, producers);
    for (unsigned producer : producers)
      visit(producer);
  }
  for (unsigned id : given()) // what no result needs
    visit(id);
  return order;
}

Order KernelGraph::leastMemoryFirst() const {
  Order order;
  Memory memory(*this);
  SmallVector<unsigned> waiting;
  SmallVector<unsigned> ready;
  for (auto [id, kernel] : llvm::enumerate(kernels)) {
    waiting.push_back(kernel.before.size());
    if (kernel.before.empty())
      ready.push_back(id);
  }
  while (!ready.empty()) {
    Memory::Step best = memory.measure(ready.front());
    unsigned bestAt = 0;
    for (unsigned at = 1; at < ready.size(); ++at) {
      Memory::Step step = memory.measure(ready[at]);
      if (std::make_tuple(step.added - step.freed, step.added, ready[at]) <
          std::make_tuple(best.added - best.freed, best.added, ready[bestAt])) {
        best = step;
        bestAt = at;
      }
    }
    unsigned id = ready[bestAt];
    ready.erase(ready.begin() + bestAt);
    memory.run(id, best);
    order.push_back(id);
    for (unsigned next : kernels[id].after)
      if (--waiting[next] == 0)
        ready.push_back(next);
  }
  return order;
}

int64_t KernelGraph::peak(const Order &order, SmallVectorImpl<std::pair<unsigned, InPlace>> *ties) const {
  Memory memory(*this);
  for (unsigned id : order) {
    Memory::Step step = memory.measure(id);
    if (ties)
      for (InPlace tie : step.ties)
        ties->push_back({id, tie});
    memory.run(id, step);
  }
  return memory.peak;
}
