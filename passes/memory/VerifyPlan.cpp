// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The check of contract C5. It goes the other way round than PlanArena: from each access back to the views of the arena
// that it may touch, and it shares no code with the planner or the solver.
#include "dialects/nn/KernelOps.h"
#include "dialects/plan/Buckets.h"
#include "dialects/plan/PlanDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "passes/memory/Passes.h"
#include "passes/memory/VerifyInFlight.h"
#include "lib/analysis/IndexBounds.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_VERIFYPLAN
#include "passes/memory/Passes.h.inc"
} // namespace snug

namespace {
struct Access {
  Operation *op;
  bool defines; // writes all of the buffer and reads none of it
};

struct Planned {
  memref::ViewOp view;
  int64_t begin = 0, end = 0;    // bytes in the arena, half open
  int64_t first = -1, last = -1; // time, both included; -1: never accessed
  SmallVector<Access> accesses;  // in program order
};

bool isAliasOnly(Operation *op) {
  return isa<memref::ViewOp, memref::SubViewOp, memref::CastOp, memref::ExpandShapeOp, memref::CollapseShapeOp,
             memref::ReinterpretCastOp, memref::TransposeOp, memref::DimOp, memref::ExtractStridedMetadataOp,
             arith::SelectOp, scf::ForOp, scf::IfOp>(op) ||
         op->hasTrait<OpTrait::IsTerminator>();
}

class Verifier {
public:
  // Of the plan for the largest dims, or of a bucket whose arena has `bucketBytes`.
  Verifier(func::FuncOp function, IndexBounds &bounds, std::optional<size_t> bucket = std::nullopt,
           int64_t bucketBytes = 0)
      : function(function), bounds(bounds), bucket(bucket), bucketBytes(bucketBytes) {}

  bool run(std::optional<int64_t> statedBytes) {
    number(function.getBody());
    checkNothingLeft();
    collectViews(statedBytes);
    function.walk<WalkOrder::PreOrder>([&](Operation *op) { collectAccesses(op); });
    for (auto &[view, planned] : views)
      computeLife(planned);
    checkOverlaps();
    return sound;
  }

private:
  InFlightDiagnostic fault(Operation *op) {
    sound = false;
    return op->emitError("internal fault: the memory plan is wrong: ");
  }

  void number(Region &region) {
    region.walk<WalkOrder::PreOrder>([&](Operation *op) { enter[op] = clock++; });
    region.walk<WalkOrder::PostOrder>([&](Operation *op) {
      int64_t last = enter[op];
      for (Region &inner : op->getRegions())
        for (Block &block : inner)
          for (Operation &child : block)
            last = std::max(last, leave[&child]);
      leave[op] = last;
    });
  }

  void checkNothingLeft() {
    function.walk([&](Operation *op) {
      if (isa<memref::AllocOp, memref::AllocaOp, memref::ReallocOp, memref::DeallocOp, memref::CopyOp>(op) ||
          isa_and_nonnull<bufferization::BufferizationDialect>(op->getDialect()))
        fault(op) << "'" << op->getName() << "' is left";
      else if (llvm::any_of(op->getResultTypes(), llvm::IsaPred<TensorType>))
        fault(op) << "a tensor is left";
    });
  }

  void collectViews(std::optional<int64_t> statedBytes) {
    plan::ArenaOp arena;
    function.walk([&](plan::ArenaOp op) {
      if (arena)
        fault(op) << "a second arena";
      arena = op;
    });
    int64_t capacity = 0, alignment = 1;
    if (arena) {
      capacity = cast<MemRefType>(arena.getType()).getDimSize(0);
      alignment = arena.getAlignment();
      if (ShapedType::isDynamic(capacity) || alignment < 1) {
        fault(arena) << "the arena has no fixed size or alignment";
        return;
      }
    }
    if (statedBytes.value_or(0) != capacity)
      fault(arena ? arena.getOperation() : function.getOperation())
          << "the arena has " << capacity << " bytes, snug.arena_bytes says " << statedBytes.value_or(0);
    if (!arena)
      return;
    if (bucket)
      capacity = bucketBytes;
    int64_t workspace = workspaceBytes(function->getParentOfType<ModuleOp>());
    if (workspace < 0 || workspace > capacity || (capacity - workspace) % (workspace ? kWorkspaceAlignment : 1) != 0)
      fault(arena) << "the last " << workspace << " bytes of an arena of " << capacity << " cannot be a workspace";
    capacity -= workspace; // which buffers keep out of
    for (Operation *user : arena->getUsers()) {
      auto view = dyn_cast<memref::ViewOp>(user);
      std::optional<int64_t> offset = view ? plannedOffset(view.getByteShift(), bucket) : std::nullopt;
      if (!offset) {
        fault(user) << "the arena is used by something else than a view at a fixed offset";
        continue;
      }
      std::optional<int64_t> bytes = bounds.bytes(view.getType(), view.getSizes());
      int64_t begin = *offset;
      if (!bytes)
        fault(view) << "the view has no upper bound";
      else if (begin < 0 || *bytes > capacity || begin > capacity - *bytes)
        fault(view) << "bytes " << begin << " to " << begin + *bytes << " are not in the arena of " << capacity;
      else if (begin % alignment != 0)
        fault(view) << "offset " << begin << " is no multiple of " << alignment;
      else
        views[view] = Planned{view, begin, begin + *bytes, -1, -1, {}};
    }
  }

  // The views that a memref may be, and whether it is all of each. Collects in `arguments` what else it may be.
  void trace(Value value, bool whole, SmallVectorImpl<std::pair<Operation *, bool>> &roots,
             llvm::SmallDenseSet<Value> &seen) {
    if (!isa<BaseMemRefType>(value.getType()) || !seen.insert(value).second)
      return;
    if (auto argument = dyn_cast<BlockArgument>(value)) {
      if (argument.getOwner() == &function.front())
        arguments.push_back(argument);
      if (auto loop = dyn_cast<scf::ForOp>(argument.getOwner()->getParentOp())) {
        trace(loop.getTiedLoopInit(argument)->get(), whole, roots, seen);
        trace(loop.getTiedLoopYieldedValue(argument)->get(), whole, roots, seen);
      }
      return;
    }
    Operation *op = value.getDefiningOp();
    if (views.count(op)) {
      roots.push_back({op, whole});
    } else if (isa<scf::ForOp, scf::IfOp>(op)) {
      unsigned index = cast<OpResult>(value).getResultNumber();
      if (auto loop = dyn_cast<scf::ForOp>(op))
        trace(loop.getInitArgs()[index], whole, roots, seen);
      for (Region &region : op->getRegions())
        if (!region.empty())
          trace(region.front().getTerminator()->getOperand(index), whole, roots, seen);
    } else {
      bool keepsAll = isa<memref::CastOp, memref::ExpandShapeOp, memref::CollapseShapeOp>(op);
      for (Value operand : op->getOperands())
        trace(operand, whole && keepsAll, roots, seen);
    }
  }

  void collectAccesses(Operation *op) {
    if (isAliasOnly(op))
      return;
    auto kernel = dyn_cast<DestinationStyleOpInterface>(op);
    auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
    // Reads first: a kernel that reads what it writes does not define it.
    for (bool destinations : {false, true})
      for (OpOperand &operand : op->getOpOperands()) {
        bool written = kernel && kernel.isDpsInit(&operand);
        if (written != destinations || !isa<BaseMemRefType>(operand.get().getType()))
          continue;
        SmallVector<std::pair<Operation *, bool>> roots;
        llvm::SmallDenseSet<Value> seen;
        arguments.clear();
        trace(operand.get(), true, roots, seen);
        for (BlockArgument argument : arguments)
          if (written && !function.getArgAttr(argument.getArgNumber(), "snug.output") &&
              !function.getArgAttr(argument.getArgNumber(), "snug.donated"))
            fault(op) << "writes to argument " << argument.getArgNumber() << ", an input that is not donated";
        bool blind = written && !(linalgOp ? readsDestination(operand) : keepsDestinations(op));
        for (auto [root, whole] : roots)
          views[root].accesses.push_back({op, blind && whole && roots.size() == 1});
      }
  }

  // A value lives from its first write to its last read. In a loop it lives through all of it where it comes from
  // before the loop, goes beyond it, or may be read in the next iteration: neither made in the loop's body nor written
  // in full before anything reads it.
  void computeLife(Planned &planned) {
    if (planned.accesses.empty())
      return;
    planned.first = enter[planned.accesses.front().op];
    planned.last = planned.first;
    for (const Access &access : planned.accesses) {
      planned.first = std::min(planned.first, enter[access.op]);
      planned.last = std::max(planned.last, leave[access.op]);
    }
    for (const Access &access : planned.accesses)
      for (Operation *loop = access.op->getParentOp(); loop && loop != function; loop = loop->getParentOp()) {
        if (!isa<LoopLikeOpInterface>(loop))
          continue;
        bool within = llvm::all_of(planned.accesses, [&](const Access &a) { return loop->isProperAncestor(a.op); });
        bool fresh = loop->isProperAncestor(planned.view) || planned.accesses.front().defines;
        if (within && fresh)
          continue;
        planned.first = std::min(planned.first, enter[loop]);
        planned.last = std::max(planned.last, leave[loop]);
      }
  }

  void checkOverlaps() {
    SmallVector<Planned *> byOffset;
    for (auto &[view, planned] : views)
      if (planned.first >= 0 && planned.begin < planned.end)
        byOffset.push_back(&planned);
    llvm::sort(byOffset, [](Planned *a, Planned *b) {
      return std::make_tuple(a->begin, a->first) < std::make_tuple(b->begin, b->first);
    });
    for (size_t i = 0; i < byOffset.size(); ++i)
      for (size_t j = i + 1; j < byOffset.size() && byOffset[j]->begin < byOffset[i]->end; ++j) {
        Planned &a = *byOffset[i], &b = *byOffset[j];
        if (a.last < b.first || b.last < a.first)
          continue;
        InFlightDiagnostic diagnostic = fault(b.view) << "bytes " << b.begin << " to " << b.end
                                                      << " hold another value at the same time";
        diagnostic.attachNote(a.view.getLoc()) << "the other value, bytes " << a.begin << " to " << a.end;
      }
  }

  func::FuncOp function;
  IndexBounds &bounds;
  std::optional<size_t> bucket;
  int64_t bucketBytes;
  llvm::MapVector<Operation *, Planned> views;
  SmallVector<BlockArgument> arguments;
  DenseMap<Operation *, int64_t> enter, leave;
  int64_t clock = 0;
  bool sound = true;
};

struct VerifyPlanPass : snug::impl::VerifyPlanBase<VerifyPlanPass> {
  using VerifyPlanBase::VerifyPlanBase;

  // The plan of each bucket holds for its dims, and a larger one needs no less.
  bool checkBuckets(func::FuncOp function, std::optional<int64_t> stated) {
    ModuleOp module = getOperation();
    std::optional<Buckets> buckets = Buckets::read(module);
    size_t count = buckets ? buckets->size() : 0;
    bool sound = true;
    auto fault = [&](Operation *op) {
      sound = false;
      return op->emitError("internal fault: the memory plan is wrong: ");
    };
    function.walk([&](plan::OffsetOp op) {
      if (op.getOffsets().size() != count)
        fault(op) << op.getOffsets().size() << " offsets for " << count << " buckets";
    });
    if (module->hasAttr("snug.buckets") && !buckets)
      fault(function) << "snug.buckets is malformed";
    if (!sound || !buckets)
      return sound;
    if (buckets->arenas.back() != stated.value_or(0))
      fault(function) << "the last bucket has " << buckets->arenas.back() << " bytes, snug.arena_bytes says "
                      << stated.value_or(0);
    for (size_t bucket = 0; bucket < count; ++bucket) {
      for (size_t dim = 0; dim < buckets->bounds.size(); ++dim)
        if (auto next = buckets->next(bucket, dim); next && buckets->arenas[*next] < buckets->arenas[bucket])
          fault(function) << "bucket " << bucket << " needs more than bucket " << *next << ", which has larger dims";
      IndexBounds bounds(module, buckets->boundsOf(bucket));
      sound &= Verifier(function, bounds, bucket, buckets->arenas[bucket]).run(stated);
    }
    return sound;
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    IndexBounds bounds(module);
    std::optional<int64_t> stated;
    if (auto attr = module->getAttrOfType<IntegerAttr>("snug.arena_bytes"))
      stated = attr.getInt();
    for (auto function : module.getOps<func::FuncOp>())
      if (!function.isDeclaration() && function->hasAttr("snug.num_inputs")) {
        if (!Verifier(function, bounds).run(stated) || !checkBuckets(function, stated) || !verifyInFlight(function))
          signalPassFailure();
      }
  }
};
} // namespace
