// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/IndexRule.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/Order.h"
#include "lib/analysis/Liveness.h"
#include "passes/schedule/Destinations.h"
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

// Kernels that read a tensor, through views.
void addReaders(Value tensor, SmallVectorImpl<Operation *> &readers) {
  for (Operation *user : tensor.getUsers()) {
    if (isa<mesh::CollectiveOpInterface>(user) || user->getBlock() != tensor.getParentBlock())
      continue;
    if (!isFree(user))
      readers.push_back(user);
    else
      for (Value view : user->getResults())
        addReaders(view, readers);
  }
}

// What goes round is sent before those who read it do, and they do so before those who read what comes: so that the one is
// hidden behind the other. As the program has it; whatever need not be so may be otherwise.
void keepRings(Block &block, OrderFacts &facts) {
  for (auto shift : block.getOps<mesh::ShiftOp>()) {
    SmallVector<Operation *> before, after;
    addReaders(shift.getInput(), before);
    if (auto copy = shift.getInput().getDefiningOp<linalg::CopyOp>()) // of what others read where it is
      addReaders(copy.getInputs()[0], before);
    addReaders(shift->getResult(0), after);
    for (Operation *first : before) {
      if (shift->isBeforeInBlock(first))
        facts.before.push_back({shift, first});
      for (Operation *second : after)
        if (first->isBeforeInBlock(second))
          facts.before.push_back({first, second});
    }
  }
}

struct SchedulePass : snug::impl::ScheduleBase<SchedulePass> {
  using ScheduleBase::ScheduleBase;

  // Orders a block, of a function or of a loop or branch with destinations for what it hands on; gives the most bytes that
  // it needs at a time, beside what is there outside of it.
  FailureOr<int64_t> schedule(Block &block, ArrayRef<Value> destinations, IndexBounds &bounds) {
    separateDestinations(block);
    OrderFacts facts;
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (!isa<scf::ForOp, scf::IfOp>(op))
        continue;
      FailureOr<SmallVector<Value>> inner = bodyDestinations(&op);
      if (failed(inner))
        return failure();
      for (Block *body : bodiesOf(&op)) {
        FailureOr<int64_t> peak = schedule(*body, *inner, bounds);
        if (failed(peak))
          return failure();
        facts.within[&op] = std::max(facts.within[&op], *peak);
      }
    }
    tieYields(block, destinations, facts);
    keepRings(block, facts);
    KernelGraph graph(block, bounds, inPlace, facts);
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
      LLVM_DEBUG(llvm::dbgs() << block.getParentOp()->getName() << ": order " << candidate.name << " peak " << peak << "\n");
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
    if (auto function = dyn_cast<func::FuncOp>(block.getParentOp()); function && !function.isPrivate()) {
      addDestinationArguments(function);
      assignDestinations(function);
    }
    copyYields(block, destinations);
    apply(best->order, graph, block);
    return least;
  }

  void runOnOperation() override {
    if (!llvm::is_contained({"best", "given", "memory", "depth"}, order.getValue())) {
      mlir::emitError(getOperation().getLoc())
          << "unknown order '" << order.getValue() << "': use best, given, memory or depth";
      return signalPassFailure();
    }
    IndexBounds bounds(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isDeclaration() && failed(schedule(function.front(), {}, bounds)))
        return signalPassFailure();
  }
};
} // namespace
