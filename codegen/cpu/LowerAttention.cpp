// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention streamed over blocks of keys (online softmax): for a block of query rows the scores of one block of keys,
// the running maximum, sum and weighted values stand on the stack. A row's result depends only on its own scores in
// blocks that start at multiples of `keyBlock`, so cutting the query rows anywhere gives the same bits.
//
// Where the score region masks all keys beyond a bound (causal), a row ends at its bound and a block of rows at the
// farthest of its rows' bounds. A row that saw nothing but masked scores may owe its weights to keys beyond the bound
// (finite masks: all weights are equal), so such rows are done again with all keys.
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/RegisterTile.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/KernelRule.h"
#include "lib/analysis/KeyBound.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t keyBlock = 128, headBlock = 128, stackBudget = 60 * 1024;

MemRefType typeOf(Value value) { return cast<MemRefType>(value.getType()); }

// Where the extent of a dim is read in `operand`.
std::optional<ExtentPlace> sourceOf(nn::AttentionOp op, unsigned dim, unsigned operand) {
  return extentPlace(op.getMaps(), dim, {operand});
}

struct Plan {
  int64_t sizeD, sizeE, paddedE, rows;
  bool valuesInPlace;
  bool widened; // queries are narrow floats, which are extended on the stack

  static FailureOr<Plan> of(nn::AttentionOp op, const CpuTarget &target) {
    TileShape shape = TileShape::of(target);
    for (Value operand : {op.getQ(), op.getK(), op.getV(), op.getInit()})
      if (Type type = typeOf(operand).getElementType(); !computesInF32(type))
        return op.emitOpError() << "is generated for f32 and narrower floats only, not " << type;
    auto extent = [&](unsigned dim, unsigned operand) {
      std::optional<ExtentPlace> source = sourceOf(op, dim, operand);
      return source ? typeOf(op->getOperand(operand)).getDimSize(source->dim) : 1;
    };
    Plan plan;
    plan.sizeD = extent(op.headSizeDim(), 1);
    plan.sizeE = extent(op.valueSizeDim(), 2);
    if (ShapedType::isDynamic(plan.sizeD) || ShapedType::isDynamic(plan.sizeE))
      return op.emitOpError("has a dynamic head size, which is not generated");
    plan.paddedE = llvm::alignTo(plan.sizeE, shape.columns);
    int64_t offset;
    SmallVector<int64_t> strides;
    std::optional<ExtentPlace> e = sourceOf(op, op.valueSizeDim(), 2);
    plan.valuesInPlace = e && succeeded(typeOf(op.getV()).getStridesAndOffset(strides, offset)) &&
                         e->dim + 1 == strides.size() && strides.back() == 1 && plan.paddedE == plan.sizeE;
    plan.widened = isNarrowFloat(typeOf(op.getQ()).getElementType());
    int64_t panel = 4 * shape.columns * plan.panelRows() + (plan.widened ? 4 * shape.rows * headBlock : 0);
    int64_t perRow = 4 * (keyBlock + plan.paddedE + 4);
    plan.rows = (stackBudget - panel) / perRow / shape.rows * shape.rows;
    if (plan.rows <= 0)
      return op.emitOpError() << "has values of size " << plan.sizeE << ", more than a block on the stack can hold";
    plan.rows = std::min(plan.rows, kTileRows);
    return plan;
  }
  int64_t panelRows() const {
    int64_t keys = std::min(sizeD, headBlock);
    return valuesInPlace ? keys : std::max(keys, keyBlock);
  }
};
} // namespace

KernelRange codegen::planAttention(nn::AttentionOp op, const CpuTarget &target) {
  KernelRange range;
  FailureOr<Plan> plan = Plan::of(op, target);
  if (failed(plan))
    return range; // the check has failed with the same message
  unsigned init = op->getNumOperands() - 1;
  for (unsigned dim = 0; dim <= op.rowDim(); ++dim) {
    range.factors.push_back({{*sourceOf(op, dim, init)}, dim == op.rowDim() ? plan->rows : 1});
  }
  std::optional<ExtentPlace> keys = sourceOf(op, op.keyDim(), 1);
  double t = keys ? guessExtent(typeOf(op.getK()).getDimSize(keys->dim)) : 1;
  range.grain = grainOf(2.0 * plan->rows * t * (plan->sizeD + plan->sizeE) / 80);
  return range;
}

LogicalResult codegen::checkAttention(nn::AttentionOp op, const CpuTarget &target) {
  if (op.getInParts())
    return op.emitOpError("is in parts of the keys, which are generated for GPUs only");
  return success(succeeded(Plan::of(op, target)));
}

LogicalResult codegen::lowerAttention(nn::AttentionOp op, CpuKernelBuilder &b) {
  FailureOr<Plan> planned = Plan::of(op, b.target);
  if (failed(planned))
    return failure();
  Plan &plan = *planned;
  TileShape shape = TileShape::of(b.target);
  SmallVector<AffineMap> maps = op.getMaps();
  unsigned init = op->getNumOperands() - 1;
  auto sizeOf = [&](unsigned dim, unsigned operand) { return b.size(op, sourceOf(op, dim, operand)); };
  unsigned numBatch = op.getNumBatchDims();
  SmallVector<Value> factors;
  for (unsigned dim = 0; dim < numBatch; ++dim)
    factors.push_back(sizeOf(dim, init));
  Value sizeS = sizeOf(op.rowDim(), init), sizeT = sizeOf(op.keyDim(), 1);
  factors.push_back(b.ceilDiv(sizeS, plan.rows));
  Value zero = b.constant(0), one = b.constant(1), minusInfinity = b.constantF32(-INFINITY);
  Value never = arith::ConstantOp::create(b, b.getBoolAttr(false));
  std::optional<KeyBound> bound = keyBound(op);
  bool redoes = bound && !bound->infinite;

  Value scores = b.stackBuffer({plan.rows, keyBlock}), sums = b.stackBuffer({plan.rows, plan.paddedE});
  Value panel = b.stackBuffer({plan.panelRows(), shape.columns});
  Value wideRows = plan.widened ? b.stackBuffer({shape.rows, headBlock}) : Value();
  Value maximum = b.stackBuffer({plan.rows}), total = b.stackBuffer({plan.rows});
  Value limits = bound ? b.stackBuffer({plan.rows}, b.getIndexType()) : Value(); // of keys that a row looks at

  auto compare = [&](arith::CmpIPredicate predicate, Value x, Value y) {
    return arith::CmpIOp::create(b, predicate, x, y).getResult();
  };
  auto clamp = [&](Value x, Value high) { // to [0, high]
    x = arith::SelectOp::create(b, compare(arith::CmpIPredicate::slt, x, zero), zero, x);
    return b.min(x, high);
  };

  b.loop(b.lo, b.hi, 1, [&](Value i) {
    SmallVector<Value> place = b.delinearize(i, factors);
    Value s0 = b.mul(place.back(), b.constant(plan.rows));
    Value rows = b.min(b.constant(plan.rows), b.sub(sizeS, s0));
    // Indices that only batch dims tell are computed here, outside of all loops.
    SmallVector<Value> origin(place.begin(), place.end() - 1);
    origin.append(4, zero);
    SmallVector<SmallVector<Value>> fixed;
    for (AffineMap map : maps)
      fixed.push_back(b.apply(map, origin));
    auto at = [&](unsigned operand, Value s, Value t, Value d, Value e) {
      SmallVector<Value> indices = fixed[operand];
      Value own[] = {s, t, d, e};
      for (auto [index, expr] : llvm::zip(indices, maps[operand].getResults()))
        if (auto dim = dyn_cast<AffineDimExpr>(expr); dim && dim.getPosition() >= numBatch)
          index = own[dim.getPosition() - numBatch];
      return indices;
    };
    auto forget = [&](Value r, Value columns) {
      b.store(minusInfinity, maximum, r);
      b.store(b.constantF32(0), total, r);
      b.loop(zero, columns, 1, [&](Value e) { b.store(b.constantF32(0), sums, {r, e}); });
    };

    Value endT = sizeT;
    b.loop(zero, rows, 1, [&](Value r) { forget(r, b.constant(plan.paddedE)); });
    if (bound)
      endT = b.reduceLoop(zero, rows, zero, [&](Value r, Value end) -> Value {
        Value last = b.constant(bound->last.constant);
        for (auto [dim, factor] : bound->last.dims)
          last = b.add(last, b.mul(dim == op.rowDim() ? b.add(s0, r) : place[dim], b.constant(factor)));
        for (auto [value, factor] : bound->last.values) {
          if (!value.getType().isIndex())
            value = arith::IndexCastOp::create(b, b.getIndexType(), value);
          last = b.add(last, b.mul(value, b.constant(factor)));
        }
        Value limit = clamp(b.add(last, one), sizeT);
        b.store(limit, limits, r);
        return arith::MaxSIOp::create(b, end, limit);
      });
    // The second time, only rows that have seen nothing.
    b.loop(zero, b.constant(redoes ? 2 : 1), 1, [&](Value time) {
      Value end = endT;
      if (redoes) {
        Value first = compare(arith::CmpIPredicate::eq, time, zero);
        Value again =
            b.reduceLoop(zero, arith::SelectOp::create(b, first, zero, rows), zero, [&](Value r, Value end) -> Value {
              Value none =
                  arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, b.load(maximum, r), b.constantF32(kSeenScore));
              Value limit = arith::SelectOp::create(b, none, sizeT, zero);
              b.store(limit, limits, r);
              auto choose = scf::IfOp::create(b, none, /*withElse=*/false);
              OpBuilder::InsertionGuard guard(b);
              b.setInsertionPointToStart(choose.thenBlock());
              forget(r, b.constant(plan.paddedE));
              b.setInsertionPointAfter(choose);
              return arith::MaxSIOp::create(b, end, limit);
            });
        end = arith::SelectOp::create(b, first, endT, again);
      }
      b.loop(zero, end, keyBlock, [&](Value t0) {
        Value keys = b.min(b.constant(keyBlock), b.sub(end, t0));
        // scores = q k^T
        b.loop(zero, b.constant(plan.sizeD), headBlock, [&](Value d0) {
          Value d1 = b.min(b.constant(plan.sizeD), b.add(d0, b.constant(headBlock)));
          Value fresh = plan.sizeD <= headBlock
                            ? Value()
                            : arith::CmpIOp::create(b, arith::CmpIPredicate::eq, d0, zero).getResult();
          b.loop(zero, keys, shape.columns, [&](Value column) {
            Value existing = b.min(b.constant(shape.columns), b.sub(keys, column));
            packPanel(b, panel, d0, d1, existing, shape.columns, /*contiguous=*/false, op.getK(),
                      [&](Value d, Value t) { return at(1, zero, b.add(b.add(t0, column), t), d, zero); });
            tileRows(b, shape, rows, std::nullopt, [&](int64_t tile, Value row) {
              auto query = [&](Value r, Value d) { return at(0, b.add(b.add(s0, row), r), zero, d, zero); };
              if (wideRows)
                widenRows(b, wideRows, tile, d0, d1, op.getQ(), query);
              auto q = [&](int64_t r, Value d) {
                return wideRows ? b.load(wideRows, {b.constant(r), b.sub(d, d0)})
                                : b.load(op.getQ(), query(b.constant(r), d));
              };
              auto k = [&](Value d, int64_t offset) -> Value {
                return b.loadVector(shape.lanes, panel, {b.sub(d, d0), b.constant(offset)});
              };
              RegisterTile{shape, tile, q, k, scores, row, column, d0, d1, fresh}.emit(b);
            });
          });
        });
        // scores = exp(score(scores) - maximum), with what was summed so far brought to the new maximum.
        b.loop(zero, rows, 1, [&](Value r) {
          Value s = b.add(s0, r);
          Value seen = bound ? clamp(b.sub(b.load(limits, r), t0), keys) : keys;
          auto score = [&](Value c) -> Value {
            Block &block = op.getScore().front();
            Value t = b.add(t0, c);
            IRMapping mapping;
            mapping.map(block.getArgument(0), b.load(scores, {r, c}));
            for (auto [index, operand] : llvm::enumerate(op.getScoreIns()))
              if (!block.getArgument(index + 1).use_empty())
                mapping.map(block.getArgument(index + 1), b.load(operand, at(3 + index, s, t, zero, zero)));
            for (Operation &inner : block.without_terminator()) {
              auto index = dyn_cast<nn::IndexOp>(inner);
              if (!index)
                b.clone(inner, mapping);
              else
                mapping.map(index.getResult(), index.getDim() == op.rowDim()   ? s
                                               : index.getDim() == op.keyDim() ? t
                                                                               : place[index.getDim()]);
            }
            return mapping.lookupOrDefault(block.getTerminator()->getOperand(0));
          };
          Value old = b.load(maximum, r);
          Value next = b.reduceLoop(zero, seen, old, [&](Value c, Value m) -> Value {
            Value x = score(c);
            b.store(x, scores, {r, c});
            return arith::MaximumFOp::create(b, m, x);
          });
          // Nothing seen but -inf: keep -inf - -inf away.
          Value none = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, next, minusInfinity);
          Value base = arith::SelectOp::create(b, none, b.constantF32(0), next);
          b.loop(zero, seen, 1, [&](Value c) {
            b.store(math::ExpOp::create(b, arith::SubFOp::create(b, b.load(scores, {r, c}), base)), scores, {r, c});
          });
          // In an order of its own, which no loop around it changes.
          constexpr int64_t lanes = 32;
          static_assert(keyBlock % lanes == 0);
          Value whole = b.mul(b.ceilDiv(seen, lanes), b.constant(lanes));
          b.loop(seen, b.max(keys, whole), 1, [&](Value c) { b.store(b.constantF32(0), scores, {r, c}); });
          auto inLanes = VectorType::get({lanes}, b.getF32Type());
          Value parts = b.carry(zero, whole, lanes, arith::ConstantOp::create(b, b.getZeroAttr(inLanes)).getResult(), [&](Value c, SmallVector<Value> &sum) {
            sum[0] = arith::AddFOp::create(b, sum[0], b.loadVector(lanes, scores, {r, c}));
          })[0];
          Value sum = vector::ReductionOp::create(b, vector::CombiningKind::ADD, parts, arith::FastMathFlags::reassoc);
          Value alpha = math::ExpOp::create(b, arith::SubFOp::create(b, old, base));
          b.store(next, maximum, r);
          b.store(arith::AddFOp::create(b, arith::MulFOp::create(b, b.load(total, r), alpha), sum), total, r);
          b.loop(zero, b.constant(plan.paddedE), 1, [&](Value e) {
            b.store(arith::MulFOp::create(b, b.load(sums, {r, e}), alpha), sums, {r, e});
          });
        });
        // sums += scores v
        b.loop(zero, b.constant(plan.paddedE), shape.columns, [&](Value column) {
          if (!plan.valuesInPlace) {
            Value existing = b.min(b.constant(shape.columns), b.sub(b.constant(plan.sizeE), column));
            packPanel(b, panel, zero, keys, existing, shape.columns, /*contiguous=*/true, op.getV(),
                      [&](Value t, Value e) { return at(2, zero, b.add(t0, t), zero, b.add(column, e)); });
          }
          tileRows(b, shape, rows, std::nullopt, [&](int64_t tile, Value row) {
            auto p = [&](int64_t r, Value t) { return b.load(scores, {b.add(row, b.constant(r)), t}); };
            auto v = [&](Value t, int64_t offset) -> Value {
              if (!plan.valuesInPlace)
                return b.loadVector(shape.lanes, panel, {t, b.constant(offset)});
              return b.loadVector(shape.lanes, op.getV(),
                                  at(2, zero, b.add(t0, t), zero, b.add(column, b.constant(offset))));
            };
            RegisterTile{shape, tile, p, v, sums, row, column, zero, keys, never}.emit(b);
          });
        });
      });
    });
    b.loop(zero, rows, 1, [&](Value r) {
      if (op.getMax()) {
        b.store(b.load(maximum, r), op.getMax(), at(init - 2, b.add(s0, r), zero, zero, zero));
        b.store(b.load(total, r), op.getTotal(), at(init - 1, b.add(s0, r), zero, zero, zero));
      }
      Value l = b.load(total, r), inverse = arith::DivFOp::create(b, b.constantF32(1), l), nothing;
      if (op.getZeroIfMasked()) // no weight at all, or NaN
        nothing = arith::CmpFOp::create(b, arith::CmpFPredicate::ULE, l, b.constantF32(0));
      b.loop(zero, b.constant(plan.sizeE), 1, [&](Value e) {
        Value value = arith::MulFOp::create(b, b.load(sums, {r, e}), inverse);
        if (nothing)
          value = arith::SelectOp::create(b, nothing, b.constantF32(0), value);
        b.store(value, op.getInit(), at(init, b.add(s0, r), zero, zero, e));
      });
    });
  });
  return success();
}
