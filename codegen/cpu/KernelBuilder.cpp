// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

KernelBuilder::KernelBuilder(Operation *op, const CpuTarget &target)
    : ImplicitLocOpBuilder(op->getLoc(), op), target(target) {
  Block &entry = op->getParentOfType<func::FuncOp>().front();
  lo = entry.getArgument(entry.getNumArguments() - 3);
  hi = entry.getArgument(entry.getNumArguments() - 2);
  thread = entry.getArgument(entry.getNumArguments() - 1);
}

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

Value KernelBuilder::stackBuffer(ArrayRef<int64_t> shape, Type elementType) {
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&lo.getParentRegion()->front());
  return memref::AllocaOp::create(*this, MemRefType::get(shape, elementType ? elementType : getF32Type()), ValueRange{},
                                  getI64IntegerAttr(64));
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

void KernelBuilder::overRange(ArrayRef<Value> sizes, function_ref<void(ArrayRef<Value>, Value, Value)> body) {
  SmallVector<Value> indices;
  std::function<void(Value, Value)> nest = [&](Value from, Value to) {
    unsigned dim = indices.size();
    if (dim + 1 >= sizes.size())
      return body(indices, from, to);
    if (known(sizes[dim]) == 1) {
      indices.push_back(constant(0));
      nest(from, to);
      indices.pop_back();
      return;
    }
    Value inside = constant(1);
    for (Value size : sizes.drop_front(dim + 1))
      inside = mul(inside, size);
    loop(div(from, inside), ceilDiv(to, inside), 1, [&](Value i) {
      Value start = mul(i, inside);
      indices.push_back(i);
      nest(max(sub(from, start), constant(0)), min(sub(to, start), inside));
      indices.pop_back();
    });
  };
  nest(lo, hi);
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

std::optional<unsigned> codegen::positionOf(AffineMap map, unsigned dim) {
  for (auto [position, expr] : llvm::enumerate(map.getResults()))
    if (auto d = dyn_cast<AffineDimExpr>(expr); d && d.getPosition() == dim)
      return position;
  return std::nullopt;
}

std::optional<ExtentPlace> codegen::extentPlace(ArrayRef<AffineMap> maps, unsigned dim, ArrayRef<unsigned> operands) {
  for (auto [operand, map] : llvm::enumerate(maps))
    if (operands.empty() || llvm::is_contained(operands, operand))
      if (std::optional<unsigned> position = positionOf(map, dim))
        return ExtentPlace{static_cast<unsigned>(operand), *position};
  return std::nullopt;
}

int64_t codegen::elementBytes(Type elementType) {
  if (elementType.isIndex())
    return 8;
  return llvm::divideCeil(elementType.getIntOrFloatBitWidth(), 8);
}

int64_t codegen::grainOf(double nsPerIteration) {
  return std::max<int64_t>(1, static_cast<int64_t>(20000.0 / std::max(nsPerIteration, 1e-3)));
}

double codegen::guessExtent(int64_t extent) { return ShapedType::isDynamic(extent) ? 64 : static_cast<double>(extent); }

bool codegen::isKernelOp(Operation *op) {
  return isa<linalg::LinalgOp, nn::ContractOp, nn::SoftmaxOp, nn::NormOp, nn::GatherOp, nn::AttentionOp,
             nn::ScalarKernelOp>(op);
}

LogicalResult codegen::checkKernel(Operation *op, const CpuTarget &target) {
  for (Value operand : op->getOperands()) {
    auto type = dyn_cast<MemRefType>(operand.getType());
    int64_t ignored;
    SmallVector<int64_t> strides;
    if (type && failed(type.getStridesAndOffset(strides, ignored)))
      return op->emitOpError() << "has an operand without strides: " << type;
    Type element = type ? type.getElementType() : operand.getType();
    if (!element.isIntOrIndexOrFloat())
      return op->emitOpError() << "uses a value of type " << element << ", which no kernel can take";
  }
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](linalg::GenericOp generic) { return checkGeneric(generic); })
      .Case([&](nn::ContractOp contract) { return checkContract(contract, target); })
      .Case([&](nn::AttentionOp attention) { return checkAttention(attention, target); })
      .Case([&](nn::NormOp norm) { return checkNorm(norm); })
      .Default([](Operation *) { return success(); });
}

KernelRange codegen::planRange(Operation *op, const CpuTarget &target) {
  return llvm::TypeSwitch<Operation *, KernelRange>(op)
      .Case([&](linalg::GenericOp generic) { return planGeneric(generic); })
      .Case([&](nn::ContractOp contract) { return planContract(contract, target); })
      .Case([&](nn::AttentionOp attention) { return planAttention(attention, target); })
      .Case([&](nn::GatherOp gather) { return planGather(gather); })
      .Case([&](nn::ScalarKernelOp scalar) { return planScalarKernel(scalar); })
      .Default([&](Operation *other) { return planRows(other); });
}

LogicalResult codegen::lowerKernel(func::FuncOp kernel, const CpuTarget &target) {
  Operation *op = nullptr;
  kernel.walk([&](Operation *inner) {
    if (isKernelOp(inner))
      op = inner;
  });
  if (failed(checkKernel(op, target)))
    return failure();
  KernelBuilder b(op, target);
  LogicalResult result = llvm::TypeSwitch<Operation *, LogicalResult>(op)
                             .Case([&](linalg::GenericOp generic) { return lowerGeneric(generic, b); })
                             .Case([&](nn::ContractOp contract) { return lowerContract(contract, b); })
                             .Case([&](nn::AttentionOp attention) { return lowerAttention(attention, b); })
                             .Case([&](nn::SoftmaxOp softmax) { return lowerSoftmax(softmax, b); })
                             .Case([&](nn::NormOp norm) { return lowerNorm(norm, b); })
                             .Case([&](nn::GatherOp gather) { return lowerGather(gather, b); })
                             .Case([&](nn::ScalarKernelOp scalar) { return lowerScalarKernel(scalar, b); })
                             .Default([](Operation *other) { return other->emitOpError("has no CPU kernel"); });
  if (failed(result))
    return failure();
  op->erase();
  return success();
}
