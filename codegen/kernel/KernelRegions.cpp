// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What stands inside of the loops of a kernel, whoever runs these loops.
#include "codegen/kernel/KernelBuilder.h"
#include "dialects/nn/ScatterOp.h"
#include "dialects/nn/TextOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

std::optional<ExtentPlace> snug::codegen::loopExtent(linalg::LinalgOp op, unsigned dim) {
  return extentPlace(op.getIndexingMapsArray(), dim);
}

int64_t snug::codegen::staticLoopExtent(linalg::LinalgOp op, unsigned dim) {
  std::optional<ExtentPlace> source = loopExtent(op, dim);
  return cast<ShapedType>(op->getOperand(source->operand).getType()).getDimSize(source->dim);
}

LogicalResult codegen::checkGeneric(linalg::LinalgOp op) {
  for (unsigned dim = 0; dim < op.getNumLoops(); ++dim)
    if (!loopExtent(op, dim))
      return op->emitOpError("has a loop whose extent no operand tells");
  return success();
}

void codegen::emitRegion(nn::ScalarKernelOp op, KernelBuilder &b, ArrayRef<Value> place,
                         function_ref<SmallVector<Value>(Operation *)> other) {
  IRMapping mapping;
  Block &body = op.getBody().front();
  for (auto [argument, index] : llvm::zip(body.getArguments(), place))
    mapping.map(argument, index);
  SmallVector<Operation *> accesses;
  for (Operation &inner : body.without_terminator())
    b.clone(inner, mapping)->walk([&](Operation *copy) {
      if (isa<nn::LoadOp, nn::StoreOp, nn::ExtentOp, nn::IndexOp, nn::TextOp, nn::TextBytesOp>(copy))
        accesses.push_back(copy);
    });
  OpBuilder::InsertionGuard guard(b);
  for (Operation *access : accesses) {
    b.setInsertionPoint(access);
    if (auto load = dyn_cast<nn::LoadOp>(access))
      load.getResult().replaceAllUsesWith(b.loadWide(op->getOperand(load.getNumber()), load.getIndices()));
    else if (auto store = dyn_cast<nn::StoreOp>(access))
      b.store(store.getValue(), op->getOperand(store.getNumber()), store.getIndices());
    else if (auto extent = dyn_cast<nn::ExtentOp>(access))
      extent.getResult().replaceAllUsesWith(b.size(op->getOperand(extent.getNumber()), extent.getDim()));
    else if (auto index = dyn_cast<nn::IndexOp>(access))
      index.getResult().replaceAllUsesWith(place[index.getDim()]);
    else
      access->replaceAllUsesWith(other(access));
    access->erase();
  }
}

// An index that is data, where one below 0 counts from the end. In 64 bits, as an index may have fewer and what is data may be any
// number.
static Value loadIndex(KernelBuilder &b, Value indices, ValueRange place, Value extent) {
  Type i64 = b.getI64Type();
  Value index = b.load(indices, place);
  if (index.getType().isIndex())
    index = arith::IndexCastOp::create(b, i64, index);
  else if (!index.getType().isInteger(64))
    index = arith::ExtSIOp::create(b, i64, index);
  Value negative = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, index, arith::ConstantOp::create(b, b.getI64IntegerAttr(0)));
  return arith::SelectOp::create(b, negative, arith::AddIOp::create(b, index, extent), index);
}

Value codegen::emitGatherIndex(nn::GatherOp op, KernelBuilder &b, ValueRange place) {
  Value zero = arith::ConstantOp::create(b, b.getI64IntegerAttr(0)), one = arith::ConstantOp::create(b, b.getI64IntegerAttr(1));
  Value extent = arith::IndexCastOp::create(b, b.getI64Type(), b.size(op.getData(), op.getAxis()));
  Value index = loadIndex(b, op.getIndices(), place, extent);
  Value last = arith::SubIOp::create(b, extent, one);
  index = arith::MaxSIOp::create(b, zero, arith::MinSIOp::create(b, index, last));
  return arith::IndexCastOp::create(b, b.getIndexType(), index);
}

ScatterTarget codegen::emitScatterTarget(nn::ScatterOp op, KernelBuilder &b, ArrayRef<Value> point) {
  AffineMap map = op.getPlace();
  ScatterTarget target;
  target.chosen.resize(map.getNumSymbols());
  auto require = [&](Value condition) {
    target.isInside = target.isInside ? arith::AndIOp::create(b, target.isInside, condition).getResult() : condition;
  };
  SmallVector<Value> at;
  for (AffineExpr expr : op.getIndexMap().getResults())
    at.push_back(point[cast<AffineDimExpr>(expr).getPosition()]);
  at.push_back({});
  for (auto [position, expr] : llvm::enumerate(map.getResults())) {
    Value extent = b.size(op.getInit(), position);
    if (auto dim = dyn_cast<AffineDimExpr>(expr)) {
      if (!op.isInPlace(dim.getPosition()))
        require(arith::CmpIOp::create(b, arith::CmpIPredicate::ult, point[dim.getPosition()], extent));
      continue;
    }
    unsigned symbol = cast<AffineSymbolExpr>(expr).getPosition();
    at.back() = b.constant(symbol);
    extent = arith::IndexCastOp::create(b, b.getI64Type(), extent);
    Value index = loadIndex(b, op.getIndices(), at, extent);
    require(arith::CmpIOp::create(b, arith::CmpIPredicate::ult, index, extent)); // below 0 is above all
    target.chosen[symbol] = arith::IndexCastOp::create(b, b.getIndexType(), index);
  }
  return target;
}

SmallVector<Value> codegen::placeOf(nn::ScatterOp op, const ScatterTarget &target, ArrayRef<Value> point) {
  return llvm::map_to_vector(op.getPlace().getResults(), [&](AffineExpr expr) {
    auto dim = dyn_cast<AffineDimExpr>(expr);
    return dim ? point[dim.getPosition()] : target.chosen[cast<AffineSymbolExpr>(expr).getPosition()];
  });
}

Value codegen::emitCombiner(nn::ScatterOp op, KernelBuilder &b, Value old, Value update) {
  IRMapping mapping;
  Block &block = op.getCombiner().front();
  if (old)
    mapping.map(block.getArgument(0), old);
  mapping.map(block.getArgument(1), update);
  for (Operation &inner : block.without_terminator())
    b.clone(inner, mapping);
  return mapping.lookupOrDefault(block.getTerminator()->getOperand(0));
}

void codegen::bytesForBools(FunctionOpInterface kernel) {
  auto byteType = [](Type type) -> Type {
    auto memref = dyn_cast<MemRefType>(type);
    if (!memref || !memref.getElementType().isInteger(1))
      return {};
    return MemRefType::Builder(memref).setElementType(IntegerType::get(type.getContext(), 8));
  };
  // Of a value's type, scalar or vector.
  auto bytesLike = [](Type type) -> Type {
    Type byte = IntegerType::get(type.getContext(), 8);
    auto vector = dyn_cast<VectorType>(type);
    return vector ? Type(vector.clone(byte)) : byte;
  };
  SmallVector<Operation *> loads, stores;
  kernel->walk([&](Operation *op) {
    if (isa<memref::LoadOp, vector::LoadOp>(op) && byteType(op->getOperand(0).getType()))
      loads.push_back(op);
    if (isa<memref::StoreOp, vector::StoreOp>(op) && byteType(op->getOperand(1).getType()))
      stores.push_back(op);
  });
  for (BlockArgument argument : kernel.getArguments())
    if (Type type = byteType(argument.getType()))
      argument.setType(type);
  auto arguments = kernel.getArguments().take_front(kernel.getNumArguments()); // others are no part of its type
  kernel.setType(FunctionType::get(kernel->getContext(), ValueRange(arguments).getTypes(), {}));
  kernel->walk([&](Operation *op) {
    for (Value result : op->getResults())
      if (Type type = byteType(result.getType()))
        result.setType(type);
  });
  for (Operation *op : loads) {
    OpBuilder b(op->getContext());
    b.setInsertionPointAfter(op);
    Value byte = op->getResult(0);
    Type type = bytesLike(byte.getType());
    byte.setType(type);
    Value zero = arith::ConstantOp::create(b, op->getLoc(), type, b.getZeroAttr(type));
    Value bit = arith::CmpIOp::create(b, op->getLoc(), arith::CmpIPredicate::ne, byte, zero);
    byte.replaceAllUsesExcept(bit, bit.getDefiningOp());
  }
  for (Operation *op : stores) {
    OpBuilder b(op);
    Value bit = op->getOperand(0);
    op->setOperand(0, arith::ExtUIOp::create(b, op->getLoc(), bytesLike(bit.getType()), bit));
  }
}
