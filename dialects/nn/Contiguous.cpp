// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/Contiguous.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug;

MemRefType snug::layoutOf(Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  MemRefType own = MemRefType::get(type.getShape(), type.getElementType());
  Operation *maker = tensor.getDefiningOp();
  if (!maker) {
    auto argument = cast<BlockArgument>(tensor);
    auto loop = dyn_cast_or_null<scf::ForOp>(argument.getOwner()->getParentOp());
    return loop ? layoutOf(loop.getTiedLoopInit(argument)->get()) : own;
  }
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
      .Case<scf::ForOp>([&](auto loop) { return layoutOf(loop.getTiedLoopInit(cast<OpResult>(tensor))->get()); })
      .Case<DestinationStyleOpInterface>(
          [&](auto kernel) { return layoutOf(kernel.getTiedOpOperand(cast<OpResult>(tensor))->get()); })
      .Default(own);
}

// Walks from the last dim: `expected` is the stride that elements side by side have, dynamic where it is not known.
static void compareStrides(MemRefType type, bool &contiguous, bool &scattered) {
  SmallVector<int64_t> strides;
  int64_t offset;
  contiguous = true;
  scattered = false;
  if (type.getLayout().isIdentity())
    return;
  if (failed(type.getStridesAndOffset(strides, offset))) {
    contiguous = false;
    scattered = true;
    return;
  }
  int64_t expected = 1;
  for (int64_t dim = type.getRank(); dim-- > 0;) {
    if (type.getDimSize(dim) == 1)
      continue;
    bool isKnown = !ShapedType::isDynamic(expected) && !ShapedType::isDynamic(strides[dim]);
    contiguous = contiguous && isKnown && strides[dim] == expected;
    // Of a single row the stride between rows is any.
    scattered = scattered || (isKnown && strides[dim] != expected && !type.isDynamicDim(dim));
    expected = ShapedType::isDynamic(expected) || type.isDynamicDim(dim) ? ShapedType::kDynamic
                                                                         : expected * type.getDimSize(dim);
  }
}

bool snug::isContiguous(MemRefType type) {
  bool contiguous, scattered;
  compareStrides(type, contiguous, scattered);
  return contiguous;
}

bool snug::isScattered(MemRefType type) {
  bool contiguous, scattered;
  compareStrides(type, contiguous, scattered);
  return scattered;
}

// Whether the slice has all of its source's dim.
static bool hasAll(tensor::ExtractSliceOp slice, int64_t dim) {
  std::optional<int64_t> size = getConstantIntValue(slice.getMixedSizes()[dim]);
  int64_t extent = slice.getSourceType().getDimSize(dim);
  if (size && !ShapedType::isDynamic(extent))
    return *size == extent;
  FailureOr<bool> equal =
      ValueBoundsConstraintSet::areEqual(ValueBoundsConstraintSet::Variable(slice.getMixedSizes()[dim]),
                                         ValueBoundsConstraintSet::Variable(slice.getSource(), dim));
  return succeeded(equal) && *equal;
}

bool snug::isContiguous(Value tensor) {
  if (isContiguous(layoutOf(tensor)))
    return true;
  // What the type does not say, as sizes are dynamic.
  Operation *maker = tensor.getDefiningOp();
  if (!maker) {
    auto argument = cast<BlockArgument>(tensor);
    auto loop = dyn_cast_or_null<scf::ForOp>(argument.getOwner()->getParentOp());
    return !loop || isContiguous(loop.getTiedLoopInit(argument)->get());
  }
  return TypeSwitch<Operation *, bool>(maker)
      .Case<tensor::ExtractSliceOp>([&](auto slice) {
        // Of what is behind the outermost dim that is not 1, all.
        int64_t rank = slice.getSourceType().getRank(), outermost = 0;
        while (outermost < rank && getConstantIntValue(slice.getMixedSizes()[outermost]) == 1)
          ++outermost;
        for (int64_t dim = outermost; dim < rank; ++dim)
          if (getConstantIntValue(slice.getMixedStrides()[dim]) != 1 || (dim > outermost && !hasAll(slice, dim)))
            return false;
        return isContiguous(slice.getSource());
      })
      .Case<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::CastOp>(
          [&](auto view) { return isContiguous(view->getOperand(0)); })
      .Case<scf::ForOp>([&](auto loop) { return isContiguous(loop.getTiedLoopInit(cast<OpResult>(tensor))->get()); })
      .Case<DestinationStyleOpInterface>(
          [&](auto kernel) { return isContiguous(kernel.getTiedOpOperand(cast<OpResult>(tensor))->get()); })
      .Default(true);
}

Value snug::emptyLike(OpBuilder &builder, Location loc, Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  Value empty = tensor::EmptyOp::create(builder, loc, tensor::getMixedSizes(builder, loc, tensor), type.getElementType());
  return empty.getType() == type ? empty : tensor::CastOp::create(builder, loc, type, empty).getResult();
}

Value snug::contiguousCopy(OpBuilder &builder, Location loc, Value tensor) {
  return linalg::CopyOp::create(builder, loc, tensor, emptyLike(builder, loc, tensor)).getResult(0);
}
