// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/Contiguous.h"
#include "dialects/nn/IndexRule.h"
#include "lib/analysis/IndexBounds.h"
#include "lib/analysis/Liveness.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "passes/memory/Passes.h"
#include "llvm/ADT/SetVector.h"

#include <algorithm>

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_PLACEPARTS
#include "passes/memory/Passes.h.inc"
} // namespace snug

namespace {
// A part of a larger tensor, and who makes it: a kernel or a loop, in a tensor.empty that is there for it alone; or a
// kernel that writes over something else, of which it needs no more than it reads of it as an operand.
struct Part {
  tensor::InsertSliceOp insert;
  Operation *maker = nullptr;
  OpOperand *destination = nullptr;
  bool isOwn = false;
};

class PartPlacer {
public:
  PartPlacer(func::FuncOp function, const Liveness &liveness)
      : liveness(liveness), live(liveness.bytesLive()) {
    SmallVector<Block *> blocks;
    function.walk([&](Block *block) { blocks.push_back(block); });
    for (Block *block : blocks)
      place(*block);
  }

private:
  void place(Block &block);
  bool fits(Part &part);

  const Liveness &liveness;
  std::vector<int64_t> live;                // by flattened time, as parts are placed so far
  llvm::DenseMap<unsigned, int64_t> begins; // of buffers, where it is not as the liveness says any more
};
} // namespace

// Whether the slice is one piece of the whole: some of its outermost dim that is not 1, and all behind that.
static bool isOnePiece(tensor::InsertSliceOp insert) {
  OpBuilder builder(insert);
  auto slice = tensor::ExtractSliceOp::create(builder, insert.getLoc(), insert.getSourceType(), insert.getDest(),
                                              insert.getMixedOffsets(), insert.getMixedSizes(), insert.getMixedStrides());
  bool isPiece = isContiguous(slice.getResult());
  slice.erase();
  return isPiece;
}

static bool wantsContiguous(Operation *op) {
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  return rules && rules.wantsContiguous();
}

static std::optional<Part> partOf(tensor::InsertSliceOp insert) {
  auto part = dyn_cast<OpResult>(insert.getSource());
  if (!part || !part.hasOneUse() || part.getOwner()->getBlock() != insert->getBlock() ||
      !llvm::all_of(insert.getMixedStrides(), [](OpFoldResult stride) { return isConstantIntValue(stride, 1); }))
    return std::nullopt;
  Part found{insert, part.getOwner()};
  if (auto loop = dyn_cast<scf::ForOp>(found.maker))
    found.destination = loop.getTiedLoopInit(part);
  else if (isa<tensor::InsertSliceOp>(found.maker))
    return std::nullopt;
  else if (auto kernel = dyn_cast<DestinationStyleOpInterface>(found.maker))
    found.destination = kernel.getTiedOpOperand(part);
  if (!found.destination || found.destination->get().getType() != part.getType())
    return std::nullopt;
  auto empty = found.destination->get().getDefiningOp<tensor::EmptyOp>();
  found.isOwn = empty && empty->hasOneUse() && empty->getBlock() == insert->getBlock();
  bool isBlind = isa<DestinationStyleOpInterface>(found.maker) && !readsDestination(*found.destination);
  // The maker itself, or what writes in its bodies.
  bool wants = found.maker->walk([](Operation *op) { return wantsContiguous(op) ? WalkResult::interrupt() : WalkResult::advance(); }).wasInterrupted();
  if (wants && !isOnePiece(insert))
    return std::nullopt;
  return found.isOwn || isBlind ? std::optional(found) : std::nullopt;
}

// What makes the value is there before the op, or can be: what only fills it, parts of it that are there before, sizes.
// Collects what has to move, in order.
static bool canPrecede(Value value, Operation *op, llvm::SetVector<Operation *> &moved) {
  Operation *made = value.getDefiningOp();
  if (!made || made->getBlock() != op->getBlock() || moved.contains(made))
    return true;
  if (made->isBeforeInBlock(op))
    return true;
  bool isIndex = isPure(made) && llvm::all_of(made->getResultTypes(), [](Type type) { return type.isIntOrIndex(); });
  if (!isIndex && !isa<tensor::EmptyOp, linalg::FillOp, tensor::InsertSliceOp>(made) &&
      !made->hasTrait<OpTrait::ConstantLike>())
    return false;
  for (Value operand : made->getOperands())
    if (!canPrecede(operand, op, moved))
      return false;
  moved.insert(made);
  return true;
}

// Whether two slices have nothing in common along some position, whatever the dims are.
static bool areApart(tensor::InsertSliceOp a, tensor::InsertSliceOp b) {
  for (int64_t i = 0; i < a.getDestType().getRank(); ++i) {
    auto isBehind = [&](tensor::InsertSliceOp first, tensor::InsertSliceOp second) {
      std::optional<int64_t> begin = getConstantIntValue(first.getMixedOffsets()[i]),
                             size = getConstantIntValue(first.getMixedSizes()[i]),
                             next = getConstantIntValue(second.getMixedOffsets()[i]);
      return begin && size && next && *begin + *size <= *next;
    };
    if (isBehind(a, b) || isBehind(b, a))
      return true;
  }
  return false;
}

// Where one insertion follows another, the one whose part is made first goes first.
static void sortInsertions(Block &block) {
  auto isBefore = [&](Value value, Operation *op) {
    Operation *made = value.getDefiningOp();
    return !made || made->getBlock() != &block || made->isBeforeInBlock(op);
  };
  for (auto later : llvm::to_vector(block.getOps<tensor::InsertSliceOp>()))
    while (auto earlier = later.getDest().getDefiningOp<tensor::InsertSliceOp>()) {
      Operation *maker = earlier.getSource().getDefiningOp();
      if (!maker || maker->getBlock() != &block || earlier->getBlock() != &block || !earlier->hasOneUse() ||
          earlier.getSource() == later.getSource() || !isBefore(later.getSource(), maker) ||
          !areApart(earlier, later) ||
          !llvm::all_of(later->getOperands().drop_front(2), [&](Value operand) { return isBefore(operand, earlier); }))
        break;
      later.getResult().replaceAllUsesWith(earlier.getResult());
      later.getDestMutable().assign(earlier.getDest());
      earlier.getDestMutable().assign(later.getResult());
      later->moveBefore(earlier);
    }
}

// Whether the whole may be there from where the part is made on: at no time more bytes are live than at most now.
bool PartPlacer::fits(Part &part) {
  std::optional<unsigned> own = liveness.bufferOf(part.insert.getSource()),
                          whole = liveness.bufferOf(part.insert.getDest());
  if (!own || !whole || *own == *whole)
    return false;
  const TensorBuffer &from = liveness.buffers[*own], &into = liveness.buffers[*whole];
  // What the part was made in is not needed for it: it has no buffer of its own, or one for others only.
  const int64_t made = part.isOwn ? from.lower : liveness.timeOf(part.maker), last = part.isOwn ? from.upper : made;
  int64_t begin = into.inArena ? begins.try_emplace(*whole, into.lower).first->second : made;
  std::vector<int64_t> placed(live.begin() + made, live.begin() + std::max({made, last, begin}));
  for (int64_t i = 0; i < static_cast<int64_t>(placed.size()); ++i)
    placed[i] += (made + i < begin ? into.bytes : 0) - (made + i < last ? from.bytes : 0);
  if (!placed.empty() && *std::max_element(placed.begin(), placed.end()) > liveness.peak)
    return false;
  std::copy(placed.begin(), placed.end(), live.begin() + made);
  if (into.inArena)
    begins[*whole] = std::min(begin, made);
  return true;
}

void PartPlacer::place(Block &block) {
  sortInsertions(block);
  for (auto insert : llvm::to_vector(block.getOps<tensor::InsertSliceOp>())) {
    std::optional<Part> part = partOf(insert);
    if (!part || !insert.getDest().hasOneUse())
      continue;
    llvm::SetVector<Operation *> moved;
    Operation *first = part->maker;
    if (!llvm::all_of(insert->getOperands().drop_front(1),
                      [&](Value operand) { return canPrecede(operand, first, moved); }) ||
        !fits(*part))
      continue;
    for (Operation *op : moved)
      op->moveBefore(first);
    OpBuilder builder(first);
    Operation *own = part->isOwn ? part->destination->get().getDefiningOp() : nullptr;
    part->destination->set(tensor::ExtractSliceOp::create(builder, insert.getLoc(), insert.getSourceType(),
                                                          insert.getDest(), insert.getMixedOffsets(),
                                                          insert.getMixedSizes(), insert.getMixedStrides()));
    if (own)
      own->erase();
    insert->moveAfter(first);
  }
}

namespace {
struct PlacePartsPass : snug::impl::PlacePartsBase<PlacePartsPass> {
  using PlacePartsBase::PlacePartsBase;

  void runOnOperation() override {
    // With chunk loops in it a program is one of many plans, of which those for smaller budgets need no more by what the
    // search knows; that one of them then needs less than it says would break this order.
    if (auto loops = getOperation()->getAttrOfType<ArrayAttr>("snug.chunk_report"); loops && !loops.empty())
      return;
    IndexBounds bounds(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isDeclaration())
        continue;
      auto liveness = Liveness::compute(function, [&](Value value) { return tensorBytes(value, bounds); });
      if (failed(liveness))
        return signalPassFailure();
      PartPlacer(function, *liveness);
    }
  }
};
} // namespace
