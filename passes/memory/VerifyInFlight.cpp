// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The part of contract C5 that is about collectives in flight. It shares nothing with what started them but how dims of
// views are followed.
#include "passes/memory/VerifyInFlight.h"
#include "dialects/mesh/MeshDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "passes/memory/RowChain.h"

using namespace mlir;
using namespace snug;

static constexpr size_t kMostInFlight = 8;

static bool isSame(OpFoldResult a, OpFoldResult b) { return isEqualConstantIntOrValue(a, b); }

namespace {
// min(factor * each, all): where the pieces of a tensor begin and end.
struct Boundary {
  int64_t factor;
  Value each, all;
};
} // namespace

static std::optional<Boundary> boundaryOf(OpFoldResult value) {
  auto minimum =
      dyn_cast_if_present<Value>(value) ? cast<Value>(value).getDefiningOp<arith::MinSIOp>() : arith::MinSIOp();
  if (!minimum)
    return std::nullopt;
  Value most = minimum.getLhs();
  int64_t factor = 1;
  if (auto times = most.getDefiningOp<arith::MulIOp>(); times)
    if (std::optional<int64_t> number = getConstantIntValue(times.getRhs())) {
      most = times.getLhs();
      factor = *number;
    }
  return Boundary{factor, most, minimum.getRhs()};
}

// Whether a <= b, as far as can be told.
static bool isAtMost(OpFoldResult a, OpFoldResult b) {
  std::optional<int64_t> x = getConstantIntValue(a), y = getConstantIntValue(b);
  if (isSame(a, b) || (x && y && *x <= *y))
    return true;
  std::optional<Boundary> first = boundaryOf(a), second = boundaryOf(b);
  return first && second && first->all == second->all && first->each == second->each && first->factor <= second->factor;
}

// Where a slice ends.
static OpFoldResult endOf(OpFoldResult offset, OpFoldResult size) {
  std::optional<int64_t> from = getConstantIntValue(offset), count = getConstantIntValue(size);
  if (from == 0)
    return size;
  if (from && count)
    return Builder(offset.getContext()).getIndexAttr(*from + *count);
  if (auto value = dyn_cast<Value>(size))
    if (auto difference = value.getDefiningOp<arith::SubIOp>(); difference && isSame(difference.getRhs(), offset))
      return difference.getLhs();
  return {};
}

static bool areApart(memref::SubViewOp a, memref::SubViewOp b) {
  auto endsBefore = [](memref::SubViewOp first, unsigned dim, memref::SubViewOp second, unsigned other) {
    OpFoldResult end = endOf(first.getMixedOffsets()[dim], first.getMixedSizes()[dim]);
    return getConstantIntValue(first.getMixedStrides()[dim]) == 1 && end &&
           isAtMost(end, second.getMixedOffsets()[other]);
  };
  for (unsigned dim = 0; dim < a.getSourceType().getRank(); ++dim)
    for (unsigned other = 0; other < b.getSourceType().getRank(); ++other) {
      std::optional<Place> place = placeOf(a.getSource(), dim);
      bool isOne =
          (a.getSource() == b.getSource() && dim == other) || (place && place == placeOf(b.getSource(), other));
      if (isOne && (endsBefore(a, dim, b, other) || endsBefore(b, other, a, dim)))
        return true;
    }
  return false;
}

// What a memref looks at, from the slice to the buffer.
static SmallVector<Value> viewsOf(Value value) {
  SmallVector<Value> views{value};
  while (auto view = views.back().getDefiningOp<ViewLikeOpInterface>()) {
    if (isa<memref::ViewOp>(view))
      break; // of the arena, whose views VerifyPlan keeps apart
    views.push_back(view.getViewSource());
  }
  return views;
}

static bool isBuffer(Value root) {
  if (auto argument = dyn_cast<BlockArgument>(root))
    return isa<FunctionOpInterface>(argument.getOwner()->getParentOp());
  return !root.getDefiningOp()->getNumRegions() && !isa<arith::SelectOp>(root.getDefiningOp());
}

// Whether two memrefs may have an element in common.
static bool mayTouch(Value a, Value b) {
  SmallVector<Value> of = viewsOf(a), other = viewsOf(b);
  if (of.back() != other.back())
    return !isBuffer(of.back()) || !isBuffer(other.back());
  for (Value view : of)
    for (Value second : other) {
      auto x = view.getDefiningOp<memref::SubViewOp>(), y = second.getDefiningOp<memref::SubViewOp>();
      if (x && y && areApart(x, y))
        return false;
    }
  return true;
}

// Whether the op, or one in it, minds what the collective does meanwhile.
static bool disturbs(Operation *op, mesh::CollectiveOpInterface flight) {
  return op
      ->walk([&](Operation *inner) {
        if (isa<ViewLikeOpInterface, memref::DimOp, memref::ExtractStridedMetadataOp, memref::AllocOp,
                memref::DeallocOp, mesh::WaitOp>(inner))
          return WalkResult::advance();
        auto kernel = dyn_cast<DestinationStyleOpInterface>(inner);
        for (OpOperand &operand : inner->getOpOperands()) {
          if (!isa<BaseMemRefType>(operand.get().getType()) || inner->getNumRegions() > (kernel ? 1u : 0u))
            continue;
          bool isWritten = !kernel || kernel.isDpsInit(&operand);
          if (mayTouch(operand.get(), flight.getInit()) || (isWritten && mayTouch(operand.get(), flight.getInput())))
            return WalkResult::interrupt();
        }
        return WalkResult::advance();
      })
      .wasInterrupted();
}

bool snug::verifyInFlight(func::FuncOp function) {
  bool sound = true;
  auto fault = [&](Operation *op) {
    sound = false;
    return op->emitError("internal fault: the memory plan is wrong: ");
  };
  function.walk([&](Block *block) {
    SmallVector<mesh::CollectiveOpInterface> inFlight;
    for (Operation &op : *block) {
      if (auto wait = dyn_cast<mesh::WaitOp>(op)) {
        auto ended = llvm::find_if(inFlight, [&](mesh::CollectiveOpInterface flight) {
          return flight.getInput() == wait.getInput() && flight.getInit() == wait.getInit();
        });
        if (ended != inFlight.end())
          inFlight.erase(ended);
        continue;
      }
      for (mesh::CollectiveOpInterface flight : inFlight)
        if (disturbs(&op, flight)) {
          InFlightDiagnostic diagnostic = fault(&op) << "it touches what is in flight";
          diagnostic.attachNote(flight->getLoc()) << "started here";
        }
      if (auto start = dyn_cast<mesh::CollectiveOpInterface>(op); start && start.getStarts()) {
        inFlight.push_back(start);
        if (inFlight.size() > kMostInFlight)
          fault(&op) << "more than " << kMostInFlight << " collectives are in flight at once";
      }
    }
    for (mesh::CollectiveOpInterface flight : inFlight)
      fault(flight) << "nobody waits for what is started here";
  });
  return sound;
}
