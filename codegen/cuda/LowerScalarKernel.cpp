// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug_nn.scalar_kernel: a thread does a point or, where the point has parallel loops, a block. Its threads then share the steps of
// these loops and do all else alike, as all of them load the same; what is stored there, one of them stores.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "dialects/nn/TextOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/SmallBitVector.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

KernelRange codegen::planScalarPoints(nn::ScalarKernelOp op) {
  KernelRange range;
  for (unsigned dim = 0; dim < op.getNumParallelDims(); ++dim)
    range.factors.push_back({{*extentPlace(op.getMaps(), dim)}});
  range.grain = op.hasParallelLoop() ? 1 : kBlock;
  return range;
}

LogicalResult codegen::checkScalarKernel(nn::ScalarKernelOp op) {
  WalkResult walk = op.walk([](Operation *inner) {
    return isa<nn::TextOp, nn::TextBytesOp>(inner) ? WalkResult::interrupt() : WalkResult::advance();
  });
  if (walk.wasInterrupted())
    return op.emitOpError("works on strings, which a GPU has none of; compile with --target cpu");
  return success();
}

namespace {
// Deals the work in a region to a block's threads.
struct BlockWork {
  nn::ScalarKernelOp op;
  CudaKernelBuilder &b;
  llvm::SmallBitVector loadedAlike, loadedInLoops, storedInLoops; // of which operands there is such an access

  BlockWork(nn::ScalarKernelOp op, CudaKernelBuilder &b)
      : op(op), b(b), loadedAlike(op->getNumOperands()), loadedInLoops(op->getNumOperands()), storedInLoops(op->getNumOperands()) {
    op.getBody().walk([&](Operation *access) {
      bool isInLoop = access->getParentOfType<scf::ParallelOp>() != nullptr;
      if (auto load = dyn_cast<nn::LoadOp>(access))
        (isInLoop ? loadedInLoops : loadedAlike).set(load.getNumber());
      else if (auto store = dyn_cast<nn::StoreOp>(access); store && isInLoop)
        storedInLoops.set(store.getNumber());
    });
  }

  // No thread stores while another one may still read what was there, or reads before all is there.
  void byOneThread(nn::StoreOp store) {
    unsigned number = store.getNumber();
    bool isShared = loadedAlike[number] || loadedInLoops[number] || storedInLoops[number];
    b.setInsertionPointAfter(store); // which is about to move
    if (isShared)
      b.barrier();
    b.ifTrue(b.isBelow(b.thread(), b.constant(1)), [&] { store->moveBefore(b.getInsertionBlock(), b.getInsertionPoint()); });
    if (isShared)
      b.barrier();
  }

  void byAllThreads(scf::ParallelOp loop) {
    b.setInsertionPoint(loop);
    auto reductions = cast<scf::ReduceOp>(loop.getBody()->getTerminator());
    auto combination = [](Region &region) { return &region.front().front(); };
    // What other threads may still be reading, outside of such loops; each of these ends with a barrier.
    bool waits = loop.getBody()->walk([&](nn::StoreOp store) {
      return loadedAlike[store.getNumber()] ? WalkResult::interrupt() : WalkResult::advance();
    }).wasInterrupted();
    if (waits)
      b.barrier();
    SmallVector<Value> neutral, combined;
    for (Region &region : reductions.getReductions())
      neutral.push_back(arith::ConstantOp::create(b, *arith::getNeutralElement(combination(region))));
    Value step = loop.getStep()[0], first = b.add(loop.getLowerBound()[0], b.mul(b.thread(), step));
    auto dealt = scf::ForOp::create(b, first, loop.getUpperBound()[0], b.mul(step, b.constant(kBlock)), neutral);
    auto combine = [&](Region &region, Value x, Value y) {
      IRMapping mapping;
      mapping.map(region.front().getArguments(), ValueRange{x, y});
      return b.clone(*combination(region), mapping)->getResult(0);
    };
    {
      OpBuilder::InsertionGuard guard(b);
      Block &body = *dealt.getBody();
      if (neutral.empty())
        body.getTerminator()->erase(); // a loop without results comes with one
      loop.getInductionVars()[0].replaceAllUsesWith(dealt.getInductionVar());
      body.getOperations().splice(body.end(), loop.getBody()->getOperations(), loop.getBody()->begin(),
                                  std::prev(loop.getBody()->end()));
      b.setInsertionPointToEnd(&body);
      for (auto [region, element, soFar] : llvm::zip(reductions.getReductions(), reductions.getOperands(), dealt.getRegionIterArgs()))
        combined.push_back(combine(region, soFar, element));
      scf::YieldOp::create(b, combined);
    }
    for (auto [number, region] : llvm::enumerate(reductions.getReductions())) {
      auto both = [&, &region = region](Value x, Value y) { return combine(region, x, y); };
      Value ofAll = b.reduceBlock(dealt.getResult(number), neutral[number], both);
      loop.getResult(number).replaceAllUsesWith(both(loop.getInitVals()[number], ofAll));
    }
    b.barrier();
    loop.erase();
  }

  void deal() {
    OpBuilder::InsertionGuard guard(b);
    SmallVector<nn::StoreOp> stores;
    SmallVector<scf::ParallelOp> loops;
    op.getBody().walk([&](Operation *inner) {
      if (auto loop = dyn_cast<scf::ParallelOp>(inner))
        loops.push_back(loop);
      else if (auto store = dyn_cast<nn::StoreOp>(inner); store && !store->getParentOfType<scf::ParallelOp>())
        stores.push_back(store);
    });
    llvm::for_each(stores, [&](nn::StoreOp store) { byOneThread(store); });
    llvm::for_each(loops, [&](scf::ParallelOp loop) { byAllThreads(loop); });
    for (Value init : op.getInits()) // threads read what others have stored
      b.loadAgain(init);
  }
};
} // namespace

void codegen::emitKernel(nn::ScalarKernelOp op, CudaKernelBuilder &b) {
  SmallVector<Value> sizes;
  for (const RangeFactor &factor : planScalarPoints(op).factors)
    sizes.push_back(b.size(op, factor.extents.front()));
  auto point = [&](ArrayRef<Value> place) {
    emitRegion(op, b, place, [](Operation *) -> SmallVector<Value> { llvm_unreachable("checkScalarKernel"); });
  };
  if (!op.hasParallelLoop())
    return b.points(sizes, point);
  BlockWork(op, b).deal();
  b.blockRows(sizes, point);
}
