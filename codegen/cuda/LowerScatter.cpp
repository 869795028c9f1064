// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Scatters: a thread does an element of the updates, or a vector of neighbours where they stay neighbours. Where updates are combined
// with what is there, each is an atomic operation, as several may go to one element.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/ScatterOp.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/TypeSwitch.h"
#include <numeric>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr unsigned kUpdates = 1; // the operand whose elements threads are dealt

Type elementOf(nn::ScatterOp op) { return cast<MemRefType>(op.getInit().getType()).getElementType(); }

// Neighbouring updates that a thread does: where they only move, in slices that lie side by side, as many as a vector has.
int64_t unitOf(nn::ScatterOp op) {
  AffineMap place = op.getPlace();
  auto last = place.getNumResults() ? dyn_cast<AffineDimExpr>(place.getResults().back()) : AffineDimExpr(nullptr);
  bool areSlices = last && last.getPosition() + 1 == place.getNumDims() && op.isInPlace(last.getPosition()) &&
                   !op.getIndexMap().isFunctionOfDim(last.getPosition());
  Value yielded = op.getCombiner().front().getTerminator()->getOperand(0);
  bool move = yielded == op.getCombiner().front().getArgument(1);
  return areSlices && move ? std::max<int64_t>(1, kVectorBytes / elementBytes(elementOf(op))) : 1;
}

// The one instruction of a GPU that the region is, if there is one. Others of these kinds LLVM makes a loop of, as below.
std::optional<arith::AtomicRMWKind> instructionOf(nn::ScatterOp op) {
  Block &block = op.getCombiner().front();
  Operation *only = block.getTerminator()->getOperand(0).getDefiningOp();
  Type type = elementOf(op);
  auto isArgument = [&](Value value) { return llvm::is_contained(block.getArguments(), value); };
  if (!only || only->getNumOperands() != 2 || !llvm::all_of(only->getOperands(), isArgument) ||
      only->getOperand(0) == only->getOperand(1) || !(type.isF32() || type.isF64() || type.isInteger(32) || type.isInteger(64)))
    return std::nullopt;
  return llvm::TypeSwitch<Operation *, std::optional<arith::AtomicRMWKind>>(only)
      .Case<arith::AddFOp>([](auto) { return arith::AtomicRMWKind::addf; })
      .Case<arith::AddIOp>([](auto) { return arith::AtomicRMWKind::addi; })
      .Case<arith::MaxSIOp>([](auto) { return arith::AtomicRMWKind::maxs; })
      .Case<arith::MaxUIOp>([](auto) { return arith::AtomicRMWKind::maxu; })
      .Case<arith::MinSIOp>([](auto) { return arith::AtomicRMWKind::mins; })
      .Case<arith::MinUIOp>([](auto) { return arith::AtomicRMWKind::minu; })
      .Default([](Operation *) { return std::nullopt; });
}

// The destination as integers, which is what a GPU compares and exchanges. Nobody else in the kernel looks at it.
Value asIntegers(Value memref) {
  auto view = memref.getDefiningOp<memref::ReinterpretCastOp>();
  for (Value value : {Value(view.getSource()), memref}) {
    auto type = cast<MemRefType>(value.getType());
    value.setType(MemRefType::Builder(type).setElementType(IntegerType::get(type.getContext(), 8 * elementBytes(type.getElementType()))));
  }
  return memref;
}

// The element at `place` becomes what the region makes of it, in a loop until no other thread comes between.
void exchange(nn::ScatterOp op, CudaKernelBuilder &b, Type element, Value update, ArrayRef<Value> place) {
  Value memory = op.getInit();
  auto loop = memref::GenericAtomicRMWOp::create(b, memory, place);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&loop.getAtomicBody().front());
  Value stored = loop.getCurrentValue();
  Type integer = stored.getType();
  auto narrow = isNarrowFloat(element);
  Value old = stored;
  if (element.isInteger(1)) // a byte of memory
    old = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, stored, arith::ConstantOp::create(b, b.getIntegerAttr(integer, 0)));
  else if (isa<FloatType>(element))
    old = arith::BitcastOp::create(b, element, stored);
  if (narrow)
    old = arith::ExtFOp::create(b, computeType(cast<FloatType>(element)), old);
  Value next = emitCombiner(op, b, old, update);
  if (narrow)
    next = arith::TruncFOp::create(b, element, next);
  if (element.isInteger(1))
    next = arith::ExtUIOp::create(b, integer, next);
  else if (isa<FloatType>(element))
    next = arith::BitcastOp::create(b, integer, next);
  memref::AtomicYieldOp::create(b, next);
}
} // namespace

KernelRange codegen::planUpdates(nn::ScatterOp op) {
  KernelRange range;
  for (unsigned dim = 0; dim < op.getPlace().getNumDims(); ++dim)
    range.factors.push_back({{ExtentPlace{kUpdates, dim}}});
  range.grain = kBlock * unitOf(op);
  return range;
}

void codegen::emitKernel(nn::ScatterOp op, CudaKernelBuilder &b) {
  SmallVector<Value> sizes;
  for (unsigned dim = 0; dim < op.getPlace().getNumDims(); ++dim)
    sizes.push_back(b.size(op.getUpdates(), dim));
  Type element = elementOf(op);
  int64_t unit = unitOf(op), most = 1;
  if (unit > 1)
    most = std::gcd(b.lanesOf(op.getUpdates(), b.lanesOf(op.getInit(), unit)), getConstantIntValue(sizes.back()).value_or(1));
  bool combines = op.combines();
  std::optional<arith::AtomicRMWKind> instruction = combines ? instructionOf(op) : std::nullopt;
  if (combines && !instruction)
    asIntegers(op.getInit());
  b.points(sizes, unit, most, [&](ArrayRef<Value> point, int64_t lanes) {
    ScatterTarget target = emitScatterTarget(op, b, point);
    auto write = [&] {
      SmallVector<Value> place = placeOf(op, target, point);
      if (lanes > 1)
        return b.storeLanes(b.loadLanes(lanes, op.getUpdates(), point), op.getInit(), place);
      Value update = b.loadWide(op.getUpdates(), point);
      if (!combines)
        b.store(emitCombiner(op, b, {}, update), op.getInit(), place);
      else if (instruction)
        memref::AtomicRMWOp::create(b, element, *instruction, update, op.getInit(), place);
      else
        exchange(op, b, element, update, place);
    };
    if (target.isInside)
      b.ifTrue(target.isInside, write);
    else
      write();
  });
}
