// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/OpenExtents.h"
#include "dialects/mesh/MeshDialect.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug;

// What the dim of an argument is called; empty where it has no name.
static StringRef nameOf(BlockArgument argument, int64_t dim) {
  auto function = dyn_cast<FunctionOpInterface>(argument.getOwner()->getParentOp());
  auto names = function ? function.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims") : nullptr;
  auto name = names && dim < static_cast<int64_t>(names.size()) ? dyn_cast<StringAttr>(names[dim]) : nullptr;
  return name ? name.getValue() : StringRef();
}

// The first argument that has a dim of this one's name.
static std::pair<BlockArgument, int64_t> namesake(BlockArgument argument, int64_t dim) {
  StringRef name = nameOf(argument, dim);
  if (name.empty())
    return {argument, dim};
  for (BlockArgument other : argument.getOwner()->getArguments())
    if (auto type = dyn_cast<RankedTensorType>(other.getType()))
      for (int64_t i = 0; i < type.getRank(); ++i)
        if (type.isDynamicDim(i) && nameOf(other, i) == name)
          return {other, i};
  return {argument, dim};
}

// Where several ops ask for it, the first one's.
static OpFoldResult ofArgument(BlockArgument which, int64_t whichDim) {
  auto [argument, dim] = namesake(which, whichDim);
  tensor::DimOp first;
  for (Operation *user : argument.getUsers())
    if (auto op = dyn_cast<tensor::DimOp>(user); op && op.getConstantIndex() == dim && op->getBlock() == argument.getParentBlock())
      if (!first || op->isBeforeInBlock(first))
        first = op;
  return first ? OpFoldResult(first.getResult()) : OpFoldResult();
}

void snug::sayExtents(Block &block) {
  OpBuilder b = OpBuilder::atBlockBegin(&block);
  for (BlockArgument argument : block.getArguments())
    if (auto type = dyn_cast<RankedTensorType>(argument.getType()))
      for (int64_t dim = 0; dim < type.getRank(); ++dim)
        if (type.isDynamicDim(dim) && namesake(argument, dim) == std::pair(argument, dim))
          tensor::DimOp::create(b, argument.getLoc(), argument, dim);
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
    return ofArgument(cast<BlockArgument>(tensor), dim);
  if (auto dps = dyn_cast<DestinationStyleOpInterface>(op))
    return extentOf(dps.getTiedOpOperand(cast<OpResult>(tensor))->get(), dim);
  return TypeSwitch<Operation *, OpFoldResult>(op)
      .Case<tensor::EmptyOp>([&](auto empty) { return canonical(empty.getMixedSizes()[dim]); })
      .Case<tensor::ExpandShapeOp>([&](auto expand) { return canonical(expand.getMixedOutputShape()[dim]); })
      .Case<tensor::InsertSliceOp>([&](auto insert) { return extentOf(insert.getDest(), dim); })
      .Case<mesh::PinOp>([&](auto pin) { return extentOf(pin.getInput(), dim); })
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
  if (std::optional<int64_t> number = extent ? getConstantIntValue(extent) : std::nullopt)
    return getConstantIntValue(size) == number;
  return extent && canonical(size) == extent;
}
