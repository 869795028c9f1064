// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/kernel/KernelBuilder.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

Value KernelBuilder::constant(int64_t value) { return arith::ConstantIndexOp::create(*this, value); }
Value KernelBuilder::constantF32(float value) { return arith::ConstantOp::create(*this, getF32FloatAttr(value)); }
Value KernelBuilder::constantFloat(Type type, double value) {
  return arith::ConstantOp::create(*this, getFloatAttr(type, value));
}

Value KernelBuilder::size(Value memref, unsigned dim) {
  auto type = cast<MemRefType>(memref.getType());
  if (!type.isDynamicDim(dim))
    return constant(type.getDimSize(dim));
  auto cast = memref.getDefiningOp<memref::ReinterpretCastOp>();
  return getValueOrCreateConstantIndexOp(*this, getLoc(), cast.getMixedSizes()[dim]);
}

Value KernelBuilder::size(Operation *op, std::optional<ExtentPlace> place) {
  return place ? size(op->getOperand(place->operand), place->dim) : constant(1);
}

namespace {
std::optional<int64_t> known(Value value) { return getConstantIntValue(value); }
} // namespace

// Constants fold here already, so that loops over static shapes read well in dumps.
Value KernelBuilder::add(Value a, Value b) {
  if (known(a) == 0)
    return b;
  if (known(b) == 0)
    return a;
  if (known(a) && known(b))
    return constant(*known(a) + *known(b));
  return arith::AddIOp::create(*this, a, b);
}
Value KernelBuilder::sub(Value a, Value b) {
  if (known(a) && known(b))
    return constant(*known(a) - *known(b));
  return known(b) == 0 ? a : arith::SubIOp::create(*this, a, b).getResult();
}
Value KernelBuilder::mul(Value a, Value b) {
  if (known(a) == 1)
    return b;
  if (known(b) == 1)
    return a;
  if (known(a) && known(b))
    return constant(*known(a) * *known(b));
  return arith::MulIOp::create(*this, a, b);
}
// Unsigned, as all sizes and indices are; a division by a constant is then a shift or a multiplication.
Value KernelBuilder::div(Value a, Value b) {
  return known(b) == 1 ? a : arith::DivUIOp::create(*this, a, b).getResult();
}
Value KernelBuilder::rem(Value a, Value b) {
  return known(b) == 1 ? constant(0) : arith::RemUIOp::create(*this, a, b).getResult();
}
Value KernelBuilder::min(Value a, Value b) {
  if (known(a) && known(b))
    return constant(std::min(*known(a), *known(b)));
  return arith::MinSIOp::create(*this, a, b);
}
Value KernelBuilder::max(Value a, Value b) {
  if (known(a) && known(b))
    return constant(std::max(*known(a), *known(b)));
  return arith::MaxSIOp::create(*this, a, b);
}
Value KernelBuilder::ceilDiv(Value a, Value b) {
  if (known(a) && known(b))
    return constant(llvm::divideCeil(*known(a), *known(b)));
  return known(b) == 1 ? a : div(add(a, sub(b, constant(1))), b);
}

namespace {
// Between float types of different width; what is of another type stays.
Value convertFloat(ImplicitLocOpBuilder &b, Value value, Type elementType) {
  auto from = dyn_cast<FloatType>(getElementTypeOrSelf(value)), to = dyn_cast<FloatType>(elementType);
  if (!from || !to || from == to)
    return value;
  auto vector = dyn_cast<VectorType>(value.getType());
  Type type = vector ? Type(vector.clone(to)) : to;
  if (from.getWidth() < to.getWidth())
    return arith::ExtFOp::create(b, type, value);
  return arith::TruncFOp::create(b, type, value);
}

Type wideType(Type elementType) {
  auto floatType = dyn_cast<FloatType>(elementType);
  return floatType ? computeType(floatType) : elementType;
}

Type elementOf(Value memref) { return cast<MemRefType>(memref.getType()).getElementType(); }
} // namespace

Value KernelBuilder::load(Value memref, ValueRange indices) { return memref::LoadOp::create(*this, memref, indices); }

Value KernelBuilder::loadWide(Value memref, ValueRange indices) {
  return convertFloat(*this, load(memref, indices), wideType(elementOf(memref)));
}

Value KernelBuilder::loadVector(int64_t lanes, Value memref, ValueRange indices, Value mask) {
  auto type = VectorType::get({lanes}, elementOf(memref));
  Value loaded;
  if (mask)
    loaded = vector::MaskedLoadOp::create(*this, type, memref, indices, mask,
                                          arith::ConstantOp::create(*this, getZeroAttr(type)));
  else
    loaded = vector::LoadOp::create(*this, type, memref, indices);
  return convertFloat(*this, loaded, wideType(elementOf(memref)));
}

void KernelBuilder::store(Value value, Value memref, ValueRange indices) {
  value = convertFloat(*this, value, elementOf(memref));
  if (isa<VectorType>(value.getType()))
    vector::StoreOp::create(*this, value, memref, indices);
  else
    memref::StoreOp::create(*this, value, memref, indices);
}

void KernelBuilder::loop(Value from, Value to, int64_t step, LoopBody body) {
  auto loop = scf::ForOp::create(*this, from, to, constant(step));
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

Value KernelBuilder::reduceLoop(Value from, Value to, Value init, function_ref<Value(Value, Value)> body) {
  auto loop = scf::ForOp::create(*this, from, to, constant(1), ValueRange{init});
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  scf::YieldOp::create(*this, body(loop.getInductionVar(), loop.getRegionIterArg(0)));
  return loop.getResult(0);
}

SmallVector<Value> KernelBuilder::carry(Value from, Value to, int64_t step, ArrayRef<Value> values,
                                        llvm::function_ref<void(Value, SmallVector<Value> &)> body) {
  auto loop = scf::ForOp::create(*this, from, to, constant(step), values);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  SmallVector<Value> carried(loop.getRegionIterArgs().begin(), loop.getRegionIterArgs().end());
  body(loop.getInductionVar(), carried);
  scf::YieldOp::create(*this, carried);
  return loop.getResults();
}

SmallVector<Value> KernelBuilder::delinearize(Value linear, ArrayRef<Value> sizes) {
  SmallVector<Value> indices(sizes.size());
  for (unsigned i = sizes.size(); i-- > 0;) {
    if (i == 0) {
      indices[0] = linear;
      break;
    }
    indices[i] = rem(linear, sizes[i]);
    linear = div(linear, sizes[i]);
  }
  return indices;
}

SmallVector<Value> KernelBuilder::apply(AffineMap map, ValueRange dims) {
  SmallVector<Value> result;
  for (AffineExpr expr : map.getResults()) {
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      result.push_back(dims[dim.getPosition()]);
    else if (auto value = dyn_cast<AffineConstantExpr>(expr))
      result.push_back(constant(value.getValue()));
    else
      result.push_back(affine::AffineApplyOp::create(*this, AffineMap::get(map.getNumDims(), 0, expr), dims));
  }
  return result;
}
