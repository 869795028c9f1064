// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/OpenExtents.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug;

// Of an argument that several ops ask for, the first one's.
static OpFoldResult ofArgument(Value argument, int64_t dim) {
  tensor::DimOp first;
  for (Operation *user : argument.getUsers())
    if (auto op = dyn_cast<tensor::DimOp>(user); op && op.getConstantIndex() == dim && op->getBlock() == argument.getParentBlock())
      if (!first || op->isBeforeInBlock(first))
        first = op;
  return first ? OpFoldResult(first.getResult()) : OpFoldResult();
}

// The same value for sizes that are asked of a tensor as for those that it was made with.
static OpFoldResult canonical(OpFoldResult size) {
  auto value = dyn_cast_if_present<Value>(size);
  auto op = value ? value.getDefiningOp<tensor::DimOp>() : nullptr;
  if (!op || !op.getConstantIndex())
    return size;
  OpFoldResult found = extentOf(op.getSource(), *op.getConstantIndex());
  return found ? found : size;
}

OpFoldResult snug::extentOf(Value tensor, int64_t dim) {
  auto type = cast<RankedTensorType>(tensor.getType());
  if (!type.isDynamicDim(dim))
    return IntegerAttr::get(IndexType::get(tensor.getContext()), type.getDimSize(dim));
  Operation *op = tensor.getDefiningOp();
  if (!op)
    return ofArgument(tensor, dim);
  if (auto dps = dyn_cast<DestinationStyleOpInterface>(op))
    return extentOf(dps.getTiedOpOperand(cast<OpResult>(tensor))->get(), dim);
  return TypeSwitch<Operation *, OpFoldResult>(op)
      .Case<tensor::EmptyOp>([&](auto empty) { return canonical(empty.getMixedSizes()[dim]); })
      .Case<tensor::ExpandShapeOp>([&](auto expand) { return canonical(expand.getMixedOutputShape()[dim]); })
      .Case<tensor::InsertSliceOp>([&](auto insert) { return extentOf(insert.getDest(), dim); })
      .Case<tensor::CastOp>([&](auto cast) { return extentOf(cast.getSource(), dim); })
      .Case<tensor::ExtractSliceOp>([&](auto extract) {
        llvm::SmallBitVector dropped = extract.getDroppedDims();
        int64_t kept = 0;
        for (auto [place, size] : llvm::enumerate(extract.getMixedSizes()))
          if (!dropped.test(place) && kept++ == dim)
            return canonical(size);
        return OpFoldResult();
      })
      .Case<tensor::CollapseShapeOp>([&](auto collapse) {
        // Of a dim beside ones only.
        std::optional<int64_t> only;
        for (int64_t merged : collapse.getReassociationIndices()[dim])
          if (collapse.getSrcType().getDimSize(merged) != 1) {
            if (only)
              return OpFoldResult();
            only = merged;
          }
        return only ? extentOf(collapse.getSrc(), *only) : OpFoldResult();
      })
      .Default([](Operation *) { return OpFoldResult(); });
}

bool snug::isExtent(OpFoldResult size, Value tensor, int64_t dim) {
  OpFoldResult extent = extentOf(tensor, dim);
  return extent && canonical(size) == extent;
}
