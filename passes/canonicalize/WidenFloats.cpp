// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "passes/canonicalize/Passes.h"

#define DEBUG_TYPE "snug-widen-floats"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_WIDENFLOATS
#include "passes/canonicalize/Passes.h.inc"
} // namespace snug

namespace {
bool touchesNarrow(Operation &op) {
  auto isNarrow = [](Type type) { return isNarrowFloat(type); };
  return llvm::any_of(op.getOperandTypes(), isNarrow) || llvm::any_of(op.getResultTypes(), isNarrow);
}

// Takes narrow floats as what they are: moves them, or looks at their bits.
bool takesAsStored(Operation &op) {
  return isa<linalg::YieldOp, arith::SelectOp, arith::BitcastOp, arith::ConstantOp>(op);
}

bool jumps(Operation &op) {
  return isa<arith::CmpFOp, arith::FPToSIOp, arith::FPToUIOp, math::FloorOp, math::CeilOp, math::RoundOp,
             math::RoundEvenOp, math::TruncOp>(op);
}

bool computes(linalg::GenericOp op) {
  return llvm::any_of(*op.getBody(), [](Operation &inner) { return touchesNarrow(inner) && !takesAsStored(inner); });
}

// One body, rewritten in place.
class Body {
public:
  // `spelledOut`: an operand is what the model has rounded by a cast.
  Body(linalg::GenericOp op, function_ref<bool(OpOperand &)> spelledOut) : op(op), b(op), spelledOut(spelledOut) {}

  void run() {
    for (Operation &inner : llvm::make_early_inc_range(*op.getBody())) {
      b.setInsertionPoint(&inner);
      if (isa<linalg::YieldOp>(inner))
        finish(inner);
      else if (touchesNarrow(inner))
        widen(inner);
    }
    for (Operation *old : llvm::reverse(replaced))
      old->erase();
  }

private:
  // The value in f32. A rounding in front of what jumps stays.
  Value wide(Value value, bool keepsRounding = false) {
    if (!isNarrowFloat(value.getType()))
      return value;
    if (Value known = wider.lookup(value); known && !keepsRounding)
      return known;
    Value stored = asStored(value);
    auto type = computeType(cast<FloatType>(value.getType()));
    if (FloatAttr number; matchPattern(stored, m_Constant(&number)))
      return arith::ConstantOp::create(b, value.getLoc(), b.getFloatAttr(type, number.getValueAsDouble()));
    if (keepsRounding)
      return arith::ExtFOp::create(b, value.getLoc(), type, stored);
    OpBuilder::InsertionGuard guard(b);
    if (stored.getParentBlock() == op.getBody())
      b.setInsertionPointAfterValue(stored);
    else
      b.setInsertionPointToStart(op.getBody());
    return wider[value] = extendToCompute(b, value.getLoc(), stored);
  }

  Value asStored(Value value) {
    if (Value known = rounded.lookup(value))
      return known;
    Value computed = wider.lookup(value);
    return computed ? rounded[value] = roundToStore(b, value.getLoc(), computed, value.getType()) : value;
  }

  void widen(Operation &inner) {
    if (takesAsStored(inner) && !isa<arith::SelectOp>(inner)) {
      for (OpOperand &operand : inner.getOpOperands())
        operand.set(asStored(operand.get()));
      return;
    }
    Value result = inner.getNumResults() == 1 ? Value(inner.getResult(0)) : Value();
    if (auto extend = dyn_cast<arith::ExtFOp>(inner); extend && isNarrowFloat(extend.getIn().getType())) {
      auto argument = dyn_cast<BlockArgument>(extend.getIn());
      bool keeps = argument && argument.getOwner() == op.getBody() && spelledOut(*op.getMatchingOpOperand(argument));
      Value value = wide(extend.getIn(), keeps);
      if (value.getType() != result.getType())
        value = arith::ExtFOp::create(b, inner.getLoc(), result.getType(), value);
      replace(inner, value);
      return;
    }
    if (auto truncate = dyn_cast<arith::TruncFOp>(inner); truncate && isNarrowFloat(result.getType())) {
      replaced.push_back(&inner);
      if (Value before = beforeConversions(result); before != result && !isNarrowFloat(before.getType())) {
        wider[result] = before;
        return;
      }
      // Narrow to narrower goes the same way as f32 to narrower.
      auto narrow = roundToStore(b, inner.getLoc(), wide(truncate.getIn()), result.getType());
      rounded[result] = narrow;
      return;
    }
    IRMapping mapping;
    for (Value operand : inner.getOperands())
      mapping.map(operand, wide(operand, jumps(inner)));
    Operation *copy = b.clone(inner, mapping);
    for (auto [before, after] : llvm::zip(inner.getResults(), copy->getResults())) {
      if (!isNarrowFloat(before.getType())) {
        before.replaceAllUsesWith(after);
        continue;
      }
      after.setType(computeType(cast<FloatType>(before.getType())));
      wider[before] = after;
    }
    replaced.push_back(&inner);
  }

  void replace(Operation &inner, Value value) {
    inner.getResult(0).replaceAllUsesWith(value);
    replaced.push_back(&inner);
  }

  void finish(Operation &yield) {
    for (OpOperand &operand : yield.getOpOperands()) {
      Value value = operand.get();
      if (!isNarrowFloat(value.getType()))
        continue;
      // What a reduction goes on with stays wide.
      bool staysWide = !isNarrowFloat(getElementTypeOrSelf(op.getDpsInits()[operand.getOperandNumber()].getType()));
      operand.set(staysWide ? wide(value) : asStored(value));
    }
  }

  linalg::GenericOp op;
  OpBuilder b;
  function_ref<bool(OpOperand &)> spelledOut;
  DenseMap<Value, Value> wider;   // a narrow value of the old body -> in f32
  DenseMap<Value, Value> rounded; // -> as it is stored
  SmallVector<Operation *> replaced;
};

struct WidenFloats : snug::impl::WidenFloatsBase<WidenFloats> {
  using Base::Base;

  void runOnOperation() final {
    SmallVector<linalg::GenericOp> ops;
    getOperation().walk([&](linalg::GenericOp op) { ops.push_back(op); });
    for (linalg::GenericOp op : ops) {
      if (!computes(op))
        continue;
      bool isCast = op.getNumResults() == 1 && isCastToNarrow(op);
      if (op.getNumReductionLoops())
        op = widenOutputs(op);
      Body(op, [&](OpOperand &operand) { return cameFromCast(operand.get()); }).run();
      if (isCast)
        casts.insert(op->getResult(0));
    }
  }

private:
  static bool isCastToNarrow(linalg::GenericOp op) {
    auto truncate = op.getBody()->getTerminator()->getOperand(0).getDefiningOp<arith::TruncFOp>();
    return truncate && isNarrowFloat(truncate.getType()) && isa<BlockArgument>(truncate.getIn());
  }

  bool cameFromCast(Value value) {
    while (!casts.contains(value) && value.getDefiningOp() &&
           isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ExtractSliceOp>(value.getDefiningOp()))
      value = value.getDefiningOp()->getOperand(0);
    return casts.contains(value);
  }

  // A reduction with narrow outputs as one that makes them in f32, and a rounding of each at the end.
  linalg::GenericOp widenOutputs(linalg::GenericOp op) {
    OpBuilder b(op);
    Location loc = op.getLoc();
    SmallVector<Value> inits;
    SmallVector<Type> types;
    for (Value init : op.getDpsInits()) {
      inits.push_back(isNarrowFloat(getElementTypeOrSelf(init.getType())) ? wideInit(b, loc, init) : init);
      types.push_back(inits.back().getType());
    }
    auto wide = linalg::GenericOp::create(b, loc, types, op.getDpsInputs(), inits, op.getIndexingMapsArray(),
                                          op.getIteratorTypesArray());
    wide->setDiscardableAttrs(llvm::to_vector(op->getDiscardableAttrs()));
    wide.getRegion().takeBody(op.getRegion());
    // The body speaks of accumulators as they were; they are f32 now.
    b.setInsertionPointToStart(wide.getBody());
    for (auto [argument, init] : llvm::zip(wide.getRegionOutputArgs(), inits)) {
      Type old = argument.getType(), type = getElementTypeOrSelf(init.getType());
      if (old == type)
        continue;
      argument.setType(type);
      Value narrow = roundToStore(b, loc, argument, old);
      argument.replaceAllUsesExcept(narrow, narrow.getDefiningOp());
    }
    b.setInsertionPointAfter(wide);
    for (auto [before, after] : llvm::zip(op->getResults(), wide->getResults()))
      before.replaceAllUsesWith(before.getType() == after.getType() ? after
                                                                    : converted(b, loc, after, before.getType()));
    op.erase();
    return wide;
  }

  static Value wideInit(OpBuilder &b, Location loc, Value init) {
    auto type = cast<RankedTensorType>(init.getType());
    auto element = cast<FloatType>(type.getElementType());
    auto wide = type.clone(computeType(element));
    auto fill = init.getDefiningOp<linalg::FillOp>();
    FloatAttr start;
    if (!fill || !matchPattern(fill.getInputs()[0], m_Constant(&start)))
      return converted(b, loc, init, wide);
    Value number = arith::ConstantOp::create(b, loc, b.getFloatAttr(computeType(element), start.getValueAsDouble()));
    Value empty = tensor::EmptyOp::create(b, loc, tensor::getMixedSizes(b, loc, fill.getOutputs()[0]), wide.getElementType());
    return linalg::FillOp::create(b, loc, number, empty).getResult(0);
  }

  static Value converted(OpBuilder &b, Location loc, Value value, Type to) {
    auto type = cast<RankedTensorType>(to);
    Value empty = tensor::EmptyOp::create(b, loc, tensor::getMixedSizes(b, loc, value), type.getElementType());
    AffineMap map = b.getMultiDimIdentityMap(type.getRank());
    SmallVector<utils::IteratorType> parallel(type.getRank(), utils::IteratorType::parallel);
    return linalg::GenericOp::create(b, loc, type, value, empty, ArrayRef{map, map}, parallel,
                                     [&](OpBuilder &o, Location l, ValueRange x) {
                                       bool widens = isNarrowFloat(x[0].getType());
                                       linalg::YieldOp::create(o, l,
                                                               widens ? extendToCompute(o, l, x[0])
                                                                      : roundToStore(o, l, x[0], type.getElementType()));
                                     })
        .getResult(0);
  }

  llvm::DenseSet<Value> casts; // results that the model rounds by a cast
};
} // namespace
