// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/Layouts.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

Layouts::Layouts(nn::ContractOp op) : op(op), maps(op.getMaps()) {
  for (unsigned operand = 0; operand < maps.size(); ++operand) {
    int64_t offset;
    strides.emplace_back();
    sound &= succeeded(typeOf(operand).getStridesAndOffset(strides.back(), offset));
  }
}

int64_t Layouts::extent(unsigned dim) const {
  ExtentPlace at = *extentPlace(maps, dim);
  return typeOf(at.operand).getDimSize(at.dim);
}

bool Layouts::hasAll(unsigned operand, Dims dims) const {
  return llvm::all_of(dims, [&](unsigned dim) { return place(operand, dim).has_value(); });
}

bool Layouts::hasAny(unsigned operand, Dims dims) const {
  return llvm::any_of(dims, [&](unsigned dim) { return place(operand, dim).has_value(); });
}

std::optional<int64_t> Layouts::strideAt(unsigned operand, unsigned place) const {
  int64_t stride = strides[operand][place];
  return ShapedType::isDynamic(stride) ? std::nullopt : std::optional(stride);
}

std::optional<int64_t> Layouts::strideOf(unsigned operand, Dims dims) const {
  return dims.empty() ? 1 : strideAt(operand, *place(operand, dims.back()));
}

bool Layouts::areOne(unsigned operand, unsigned outer, unsigned inner) const {
  unsigned from = *place(operand, outer), to = *place(operand, inner);
  MemRefType type = typeOf(operand);
  if (type.getLayout().isIdentity()) {
    bool isNext = from < to;
    for (unsigned between = from + 1; between < to; ++between)
      isNext &= type.getDimSize(between) == 1;
    return isNext;
  }
  ArrayRef<int64_t> of = strides[operand];
  return !ShapedType::isDynamic(of[from]) && !ShapedType::isDynamic(of[to]) && !type.isDynamicDim(to) &&
         of[from] == of[to] * type.getDimSize(to);
}

bool Layouts::areOne(Dims operands, Dims dims) const {
  for (unsigned operand : operands)
    for (size_t i = 1; i < dims.size(); ++i)
      if (!areOne(operand, dims[i - 1], dims[i]))
        return false;
  return true;
}

void Layouts::sort(SmallVectorImpl<unsigned> &dims, unsigned by) const {
  llvm::sort(dims, [&](unsigned x, unsigned y) { return *place(by, x) < *place(by, y); });
}

Value Layouts::extent(OpBuilder &host, Dims dims) const {
  Location loc = op->getLoc();
  Value product = arith::ConstantIndexOp::create(host, loc, 1);
  for (unsigned dim : dims) {
    ExtentPlace place = *extentPlace(maps, dim);
    product = host.createOrFold<arith::MulIOp>(loc, product, host.createOrFold<memref::DimOp>(loc, op->getOperand(place.operand), place.dim));
  }
  return product;
}

Value Layouts::strideAt(OpBuilder &host, unsigned operand, unsigned place) const {
  if (std::optional<int64_t> stride = strideAt(operand, place))
    return arith::ConstantIndexOp::create(host, op->getLoc(), *stride);
  return memref::ExtractStridedMetadataOp::create(host, op->getLoc(), op->getOperand(operand)).getStrides()[place];
}

Value Layouts::strideOf(OpBuilder &host, unsigned operand, Dims dims) const {
  return dims.empty() ? arith::ConstantIndexOp::create(host, op->getLoc(), 1) : strideAt(host, operand, *place(operand, dims.back()));
}

Value codegen::bufferOf(Value value) {
  while (auto view = value.getDefiningOp<ViewLikeOpInterface>()) {
    if (isa<memref::ViewOp>(view))
      break;
    value = view.getViewSource();
  }
  return value;
}

bool codegen::areSame(Value a, Value b) {
  Operation *from = a.getDefiningOp(), *other = b.getDefiningOp();
  return a == b || (isa_and_nonnull<ViewLikeOpInterface>(from) && other &&
                    OperationEquivalence::isEquivalentTo(from, other, OperationEquivalence::IgnoreLocations));
}

bool codegen::haveLibraryTypes(nn::ContractOp op) {
  auto elementOf = [](Value value) { return cast<ShapedType>(value.getType()).getElementType(); };
  Type element = elementOf(op.getA()), made = elementOf(op.getInit()), sum = op.getEpilogue().front().getArgument(0).getType();
  if (elementOf(op.getB()) != element)
    return false;
  if (element.isF16() || element.isBF16())
    return sum.isF32() && (made == element || made == sum);
  return (sum.isF32() || sum.isF64()) && element == sum && made == sum;
}
