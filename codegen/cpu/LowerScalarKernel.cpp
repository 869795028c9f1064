// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels given by their scalar code: loops over the parallel dims around it.
#include "codegen/cpu/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Interfaces/LoopLikeInterface.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

KernelRange codegen::planScalarKernel(nn::ScalarKernelOp op) {
  SmallVector<AffineMap> maps = op.getMaps();
  KernelRange range;
  for (unsigned dim = 0; dim < op.getNumParallelDims(); ++dim)
    range.factors.push_back({{*extentPlace(maps, dim)}});
  double operations = 0, turns = 1;
  op.getBody().walk([&](Operation *inner) {
    ++operations;
    if (isa<LoopLikeOpInterface>(inner))
      turns = 64; // that many are data
  });
  range.grain = grainOf(0.5 * operations * turns);
  return range;
}

LogicalResult codegen::lowerScalarKernel(nn::ScalarKernelOp op, KernelBuilder &b) {
  SmallVector<AffineMap> maps = op.getMaps();
  unsigned parallel = op.getNumParallelDims();
  SmallVector<Value> sizes;
  for (unsigned dim = 0; dim < parallel; ++dim)
    sizes.push_back(b.size(op, extentPlace(maps, dim)));
  Block &body = op.getBody().front();
  auto point = [&](ArrayRef<Value> place) {
    IRMapping mapping;
    for (auto [argument, index] : llvm::zip(body.getArguments(), place))
      mapping.map(argument, index);
    SmallVector<Operation *> accesses;
    for (Operation &inner : body.without_terminator())
      b.clone(inner, mapping)->walk([&](Operation *copy) {
        if (isa<nn::LoadOp, nn::StoreOp, nn::ExtentOp, nn::IndexOp>(copy))
          accesses.push_back(copy);
      });
    OpBuilder::InsertionGuard guard(b);
    for (Operation *access : accesses) {
      b.setInsertionPoint(access);
      if (auto load = dyn_cast<nn::LoadOp>(access)) {
        load.getResult().replaceAllUsesWith(b.loadWide(op->getOperand(load.getNumber()), load.getIndices()));
      } else if (auto store = dyn_cast<nn::StoreOp>(access)) {
        b.store(store.getValue(), op->getOperand(store.getNumber()), store.getIndices());
      } else if (auto extent = dyn_cast<nn::ExtentOp>(access)) {
        extent.getResult().replaceAllUsesWith(b.size(op->getOperand(extent.getNumber()), extent.getDim()));
      } else {
        access->getResult(0).replaceAllUsesWith(place[cast<nn::IndexOp>(access).getDim()]);
      }
      access->erase();
    }
  };
  b.overRange(sizes, [&](ArrayRef<Value> outer, Value first, Value end) {
    b.loop(first, end, 1, [&](Value i) {
      SmallVector<Value> place(outer);
      if (parallel)
        place.push_back(i);
      point(place);
    });
  });
  return success();
}
