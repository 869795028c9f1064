// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A view may leave elements out (a slice), or make one dim of several; both in a row are no view where what was left out lay
// between what becomes one dim. There a copy puts the elements side by side.
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/fuse/Patterns.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug;

// How the elements of a tensor lie in memory, by the rules that bufferization goes by: what is no view has a buffer of its own.
static MemRefType layoutOf(Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  MemRefType own = MemRefType::get(type.getShape(), type.getElementType());
  Operation *maker = tensor.getDefiningOp();
  if (!maker)
    return own;
  return TypeSwitch<Operation *, MemRefType>(maker)
      .Case<tensor::ExtractSliceOp>([&](auto slice) {
        return memref::SubViewOp::inferRankReducedResultType(type.getShape(), layoutOf(slice.getSource()), slice.getMixedOffsets(),
                                                             slice.getMixedSizes(), slice.getMixedStrides());
      })
      .Case<tensor::ExpandShapeOp>([&](auto expand) {
        auto seen = memref::ExpandShapeOp::computeExpandedType(layoutOf(expand.getSrc()), type.getShape(),
                                                               expand.getReassociationIndices());
        return succeeded(seen) ? *seen : own;
      })
      .Case<tensor::CollapseShapeOp>([&](auto collapse) {
        MemRefType source = layoutOf(collapse.getSrc());
        auto groups = collapse.getReassociationIndices();
        // Where that is not so, there will be a copy.
        return memref::CollapseShapeOp::isGuaranteedCollapsible(source, groups)
                   ? memref::CollapseShapeOp::computeCollapsedType(source, groups)
                   : own;
      })
      .Case<tensor::CastOp>([&](auto cast) {
        return MemRefType::get(type.getShape(), type.getElementType(), layoutOf(cast.getSource()).getLayout());
      })
      .Default(own);
}

void snug::copyScatteredViews(func::FuncOp function) {
  SmallVector<tensor::CollapseShapeOp> scattered;
  function.walk([&](tensor::CollapseShapeOp collapse) {
    if (!memref::CollapseShapeOp::isGuaranteedCollapsible(layoutOf(collapse.getSrc()), collapse.getReassociationIndices()))
      scattered.push_back(collapse);
  });
  llvm::SmallDenseMap<std::pair<Value, Block *>, Value> copies;
  for (tensor::CollapseShapeOp collapse : scattered) {
    Value source = collapse.getSrc();
    Value &copy = copies[{source, collapse->getBlock()}];
    if (!copy) {
      OpBuilder builder(collapse);
      Location loc = collapse.getLoc();
      auto type = collapse.getSrcType();
      Value empty = tensor::EmptyOp::create(builder, loc, tensor::getMixedSizes(builder, loc, source), type.getElementType());
      if (empty.getType() != type)
        empty = tensor::CastOp::create(builder, loc, type, empty);
      copy = linalg::CopyOp::create(builder, loc, source, empty).getResult(0);
    }
    collapse.getSrcMutable().assign(copy);
  }
}
