// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Before each access to a memref: is each index within its dim? This finds what stays within an allocation, such as an access
// that runs over the end of a row or into the next buffer of an arena.
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "test/gpu/lower/HookCalls.h"
#include "test/gpu/lower/Passes.h"

using namespace mlir;
using namespace snug::sim;

namespace {
struct Indexed {
  Value memref;
  SmallVector<Value> indices;
  SmallVector<int64_t> counts; // elements along the last dims; 1 along the others
  Value isMade;                // i1: whether the access is made at all; none: it is
};

SmallVector<Indexed> indexedBy(Operation *op) {
  auto one = [](Value memref, ValueRange indices, ArrayRef<int64_t> counts = {}, Value isMade = {}) {
    return SmallVector<Indexed>{{memref, llvm::to_vector(indices), llvm::to_vector(counts), isMade}};
  };
  if (auto load = dyn_cast<memref::LoadOp>(op))
    return one(load.getMemRef(), load.getIndices());
  if (auto store = dyn_cast<memref::StoreOp>(op))
    return one(store.getMemRef(), store.getIndices());
  if (auto load = dyn_cast<vector::LoadOp>(op))
    return one(load.getBase(), load.getIndices(), load.getVectorType().getShape());
  if (auto store = dyn_cast<vector::StoreOp>(op))
    return one(store.getBase(), store.getIndices(), store.getVectorType().getShape());
  if (auto atomic = dyn_cast<memref::AtomicRMWOp>(op))
    return one(atomic.getMemref(), atomic.getIndices());
  if (auto atomic = dyn_cast<memref::GenericAtomicRMWOp>(op))
    return one(atomic.getMemref(), atomic.getIndices());
  ImplicitLocOpBuilder b(op->getLoc(), op);
  if (auto load = dyn_cast<nvgpu::LdMatrixOp>(op)) {
    Value used = arith::ConstantIndexOp::create(b, 8 * load.getNumTiles()); // lanes whose addresses are
    Value isMade = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, gpu::LaneIdOp::create(b, nullptr), used);
    auto type = cast<MemRefType>(load.getSrcMemref().getType());
    return one(load.getSrcMemref(), load.getIndices(), {128 / type.getElementTypeBitWidth()}, isMade);
  }
  if (auto copy = dyn_cast<nvgpu::DeviceAsyncCopyOp>(op)) {
    int64_t count = copy.getDstElements().getSExtValue();
    SmallVector<Indexed> both = one(copy.getDst(), copy.getDstIndices(), {count});
    if (!copy.getSrcElements()) // else what is read is checked when it is copied
      both.append(one(copy.getSrc(), copy.getSrcIndices(), {count}));
    return both;
  }
  return {};
}

void check(Operation *op, const Indexed &access) {
  auto type = cast<MemRefType>(access.memref.getType());
  for (int64_t dim = 0; dim < type.getRank(); ++dim) {
    ImplicitLocOpBuilder b(op->getLoc(), op);
    int64_t fromEnd = type.getRank() - 1 - dim, numCounts = access.counts.size();
    int64_t count = fromEnd < numCounts ? access.counts[numCounts - 1 - fromEnd] : 1;
    Value index = access.indices[dim], extent;
    if (type.isDynamicDim(dim))
      extent = memref::DimOp::create(b, access.memref, dim);
    else
      extent = arith::ConstantIndexOp::create(b, type.getDimSize(dim));
    Value isInside = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, index, extent);
    if (count > 1) {
      Value end = arith::AddIOp::create(b, index, arith::ConstantIndexOp::create(b, count));
      Value endsInside = arith::CmpIOp::create(b, arith::CmpIPredicate::ule, end, extent);
      isInside = arith::AndIOp::create(b, isInside, endsInside);
    }
    if (access.isMade) {
      Value no = arith::XOrIOp::create(b, access.isMade, arith::ConstantIntOp::create(b, b.getI1Type(), 1));
      isInside = arith::OrIOp::create(b, isInside, no);
    }
    Block *before = op->getBlock(), *rest = before->splitBlock(op), *outside = b.createBlock(rest);
    Value wideIndex = arith::IndexCastOp::create(b, b.getI64Type(), index);
    Value wideExtent = arith::IndexCastOp::create(b, b.getI64Type(), extent);
    callHook(b, op, kIndex, {static_cast<int32_t>(dim), static_cast<int32_t>(count)}, {wideIndex, wideExtent});
    cf::BranchOp::create(b, rest);
    b.setInsertionPointToEnd(before);
    cf::CondBranchOp::create(b, isInside, rest, outside);
  }
}
} // namespace

void snug::sim::addIndexChecks(Operation *kernel) {
  SmallVector<Operation *> ops;
  kernel->walk([&](Operation *op) {
    if (isa<memref::LoadOp, memref::StoreOp, vector::LoadOp, vector::StoreOp, memref::AtomicRMWOp, memref::GenericAtomicRMWOp,
            nvgpu::LdMatrixOp, nvgpu::DeviceAsyncCopyOp>(op))
      ops.push_back(op);
  });
  for (Operation *op : ops)
    for (const Indexed &access : indexedBy(op))
      check(op, access);
}
