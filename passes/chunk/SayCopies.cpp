// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The copies that bufferization is going to make, as ops. It places its own from the end of the program back, one use at
// a time, and may so copy a tensor and a slice of it where one copy is enough; and what it copies for the caller stands
// at the end, where all results are live.
#include "dialects/nn/IndexRule.h"
#include "lib/analysis/Liveness.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/chunk/ChunkProgram.h"

using namespace mlir;
using namespace snug;

// Bufferization writes over arguments unless they say that it may not.
static bool mayBeOverwritten(Value root) {
  auto argument = dyn_cast<BlockArgument>(root);
  auto function = argument ? dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp()) : nullptr;
  auto writable = function ? function.getArgAttrOfType<BoolAttr>(argument.getArgNumber(), "bufferization.writable")
                           : nullptr;
  return function && (!writable || writable.getValue());
}

static Value emptyLike(OpBuilder &builder, Value value) {
  Location loc = value.getLoc();
  auto type = cast<RankedTensorType>(value.getType());
  Value empty = tensor::EmptyOp::create(builder, loc, tensor::getMixedSizes(builder, loc, value), type.getElementType());
  return empty.getType() == type ? empty : tensor::CastOp::create(builder, loc, type, empty);
}

static Value copyOf(OpBuilder &builder, Value value) {
  Value empty = emptyLike(builder, value);
  return linalg::CopyOp::create(builder, value.getLoc(), value, empty).getResult(0);
}

// Destinations that are needed after they are written over.
static void copyDestinations(func::FuncOp function, const Liveness &liveness) {
  SmallVector<OpOperand *> overwritten;
  auto see = [&](OpOperand &init, Value written) {
    std::optional<unsigned> buffer = liveness.bufferOf(init.get());
    if (buffer && buffer != liveness.bufferOf(written) && !init.get().getDefiningOp<tensor::EmptyOp>() &&
        !mayBeOverwritten(liveness.buffers[*buffer].root))
      overwritten.push_back(&init);
  };
  function.walk([&](Operation *op) {
    if (auto loop = dyn_cast<scf::ForOp>(op)) {
      for (auto [init, argument] : llvm::zip_equal(loop.getInitArgsMutable(), loop.getRegionIterArgs()))
        see(init, argument);
    } else if (auto loop = dyn_cast<scf::WhileOp>(op)) {
      for (auto [init, argument] : llvm::zip_equal(loop.getInitsMutable(), loop.getBeforeArguments()))
        see(init, argument);
    } else if (auto dps = dyn_cast<DestinationStyleOpInterface>(op)) {
      for (OpOperand &init : dps.getDpsInitsMutable())
        if (isa<RankedTensorType>(init.get().getType()))
          see(init, dps.getTiedOpResult(&init));
    }
  });
  for (OpOperand *init : overwritten) {
    OpBuilder builder(init->getOwner());
    bool isKernel = isa<DestinationStyleOpInterface>(init->getOwner());
    init->set(!isKernel || readsDestination(*init) ? copyOf(builder, init->get()) : emptyLike(builder, init->get()));
  }
}

static bool isSlice(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (isa<tensor::ExtractSliceOp>(op))
      return true;
    if (!isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::CastOp>(op))
      return false;
    value = op->getOperand(0);
  }
  return false;
}

// Results that are parts of tensors made here are copied as soon as nobody else needs the whole.
static void copyResults(func::FuncOp function, const Liveness &liveness) {
  Block &body = function.front();
  Operation *terminator = body.getTerminator();
  for (OpOperand &result : terminator->getOpOperands()) {
    std::optional<unsigned> buffer = liveness.bufferOf(result.get());
    if (!buffer || !liveness.buffers[*buffer].inArena || !isSlice(result.get()))
      continue;
    Operation *last = result.get().getDefiningOp();
    for (Operation &op : body.without_terminator())
      if (llvm::is_contained(liveness.touchedBy(&op), *buffer) && last->isBeforeInBlock(&op))
        last = &op;
    OpBuilder builder(function.getContext());
    builder.setInsertionPointAfter(last);
    result.set(copyOf(builder, result.get()));
  }
}

void snug::sayCopies(func::FuncOp function) {
  if (!llvm::hasSingleElement(function.getBody()))
    return;
  // Whose buffer is whose does not depend on sizes.
  auto liveness = Liveness::compute(function, [](Value) { return 0; });
  if (failed(liveness))
    return;
  copyDestinations(function, *liveness);
  copyResults(function, *liveness);
}
