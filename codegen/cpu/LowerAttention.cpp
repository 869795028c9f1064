// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention streamed over blocks of keys (online softmax): for a block of query rows the scores of one block of keys,
// the running maximum, sum and weighted values stand on the stack. A row's result depends only on its own scores in
// blocks that start at multiples of `keyBlock`, so cutting the query rows anywhere gives the same bits.
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/RegisterTile.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t keyBlock = 128, headBlock = 128, stackBudget = 60 * 1024;
enum Dim { B, H, S, T, D, E };

MemRefType typeOf(Value value) { return cast<MemRefType>(value.getType()); }

std::optional<RangeFactor> sourceOf(nn::AttentionOp op, unsigned dim, ArrayRef<unsigned> operands) {
  SmallVector<AffineMap> maps = op.getMaps();
  for (unsigned operand : operands)
    for (auto [position, expr] : llvm::enumerate(maps[operand].getResults()))
      if (auto d = dyn_cast<AffineDimExpr>(expr); d && d.getPosition() == dim)
        return RangeFactor{operand, static_cast<unsigned>(position)};
  return std::nullopt;
}

struct Plan {
  int64_t sizeD, sizeE, paddedE, rows;
  bool valuesInPlace;

  static FailureOr<Plan> of(nn::AttentionOp op, const CpuTarget &target) {
    TileShape shape = TileShape::of(target);
    for (Value operand : op->getOperands())
      if (Type type = getElementTypeOrSelf(operand); operand != op.getPast() && !type.isF32())
        return op.emitOpError() << "is generated for f32 only, not " << type;
    auto extent = [&](unsigned dim, unsigned operand) {
      std::optional<RangeFactor> source = sourceOf(op, dim, {operand});
      return source ? typeOf(op->getOperand(operand)).getDimSize(source->dim) : 1;
    };
    Plan plan;
    plan.sizeD = extent(D, 1);
    plan.sizeE = extent(E, 2);
    if (ShapedType::isDynamic(plan.sizeD) || ShapedType::isDynamic(plan.sizeE))
      return op.emitOpError("has a dynamic head size, which is not generated");
    plan.paddedE = llvm::alignTo(plan.sizeE, shape.columns);
    int64_t offset;
    SmallVector<int64_t> strides;
    std::optional<RangeFactor> e = sourceOf(op, E, {2});
    plan.valuesInPlace = e && succeeded(typeOf(op.getV()).getStridesAndOffset(strides, offset)) &&
                         e->dim + 1 == strides.size() && strides.back() == 1 && plan.paddedE == plan.sizeE;
    int64_t panel = 4 * shape.columns * plan.panelRows();
    int64_t perRow = 4 * (keyBlock + plan.paddedE + 2);
    plan.rows = (stackBudget - panel) / perRow / shape.rows * shape.rows;
    if (plan.rows <= 0)
      return op.emitOpError() << "has values of size " << plan.sizeE << ", more than a block on the stack can hold";
    plan.rows = std::min<int64_t>(plan.rows, 96);
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
    return range; // the lowering fails with the same message
  unsigned init = op->getNumOperands() - 1;
  for (unsigned dim : {B, H, S})
    if (std::optional<RangeFactor> source = sourceOf(op, dim, {init, 0})) {
      source->tile = dim == S ? plan->rows : 1;
      range.factors.push_back(*source);
    }
  std::optional<RangeFactor> keys = sourceOf(op, T, {1});
  double t = keys ? guessExtent(typeOf(op.getK()).getDimSize(keys->dim)) : 1;
  range.grain = grainOf(2.0 * plan->rows * t * (plan->sizeD + plan->sizeE) / 80);
  return range;
}

LogicalResult codegen::lowerAttention(nn::AttentionOp op, KernelBuilder &b) {
  FailureOr<Plan> planned = Plan::of(op, b.target);
  if (failed(planned))
    return failure();
  Plan &plan = *planned;
  TileShape shape = TileShape::of(b.target);
  SmallVector<AffineMap> maps = op.getMaps();
  unsigned init = op->getNumOperands() - 1;
  auto vector = VectorType::get({shape.lanes}, b.getF32Type());
  auto sizeOf = [&](unsigned dim, ArrayRef<unsigned> operands) {
    std::optional<RangeFactor> source = sourceOf(op, dim, operands);
    return source ? b.size(op->getOperand(source->operand), source->dim) : b.constant(1);
  };
  Value sizeB = sizeOf(B, {init, 0}), sizeH = sizeOf(H, {init, 0}), sizeS = sizeOf(S, {init, 0});
  Value sizeT = sizeOf(T, {1}), keyHeads = sizeOf(H, {1}), valueHeads = sizeOf(H, {2});
  Value zero = b.constant(0), one = b.constant(1), minusInfinity = b.constantF32(-INFINITY);
  Value scale = b.constantF32(op.getScale().convertToFloat());
  Value never = arith::ConstantOp::create(b, b.getBoolAttr(false));
  Value past = op.getPast() ? op.getPast() : b.sub(sizeT, sizeS); // causal: row s sees keys up to s + past

  Value scores = b.stackBuffer({plan.rows, keyBlock}), sums = b.stackBuffer({plan.rows, plan.paddedE});
  Value panel = b.stackBuffer({plan.panelRows(), shape.columns});
  Value maximum = b.stackBuffer({plan.rows}), total = b.stackBuffer({plan.rows});

  auto less = [&](Value x, Value y) { return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, x, y).getResult(); };
  auto clamp = [&](Value x, Value high) { // to [0, high]
    x = arith::SelectOp::create(b, less(x, zero), zero, x);
    return b.min(x, high);
  };

  b.loop(b.lo, b.hi, 1, [&](Value i) {
    SmallVector<Value> place = b.delinearize(i, {sizeB, sizeH, b.ceilDiv(sizeS, plan.rows)});
    Value batch = place[0], head = place[1], s0 = b.mul(place[2], b.constant(plan.rows));
    Value rows = b.min(b.constant(plan.rows), b.sub(sizeS, s0));
    // Grouped queries: heads of k and v are fewer.
    Value keyHead = b.div(head, b.div(sizeH, keyHeads)), valueHead = b.div(head, b.div(sizeH, valueHeads));
    auto at = [&](unsigned operand, Value h, Value s, Value t, Value d, Value e) {
      return b.apply(maps[operand], {batch, h, s, t, d, e});
    };

    b.loop(zero, rows, 1, [&](Value r) {
      b.store(minusInfinity, maximum, r);
      b.store(b.constantF32(0), total, r);
      b.loop(zero, b.constant(plan.paddedE), 1, [&](Value e) { b.store(b.constantF32(0), sums, {r, e}); });
    });
    Value endT = op.getCausal() ? clamp(b.add(b.add(s0, rows), past), sizeT) : sizeT;
    b.loop(zero, endT, keyBlock, [&](Value t0) {
      Value keys = b.min(b.constant(keyBlock), b.sub(endT, t0));
      // scores = q k^T
      b.loop(zero, b.constant(plan.sizeD), headBlock, [&](Value d0) {
        Value d1 = b.min(b.constant(plan.sizeD), b.add(d0, b.constant(headBlock)));
        Value fresh = plan.sizeD <= headBlock
                          ? Value()
                          : arith::CmpIOp::create(b, arith::CmpIPredicate::eq, d0, zero).getResult();
        b.loop(zero, keys, shape.columns, [&](Value column) {
          Value existing = b.min(b.constant(shape.columns), b.sub(keys, column));
          packPanel(b, panel, d0, d1, existing, shape.columns, /*contiguous=*/false, op.getK(),
                    [&](Value d, Value t) { return at(1, keyHead, zero, b.add(b.add(t0, column), t), d, zero); });
          tileRows(b, shape, rows, std::nullopt, [&](int64_t tile, Value row) {
            auto q = [&](int64_t r, Value d) {
              return b.load(op.getQ(), at(0, head, b.add(b.add(s0, row), b.constant(r)), zero, d, zero));
            };
            auto k = [&](Value d, int64_t offset) -> Value {
              return vector::LoadOp::create(b, vector, panel, ValueRange{b.sub(d, d0), b.constant(offset)});
            };
            RegisterTile{shape, tile, q, k, scores, row, column, d0, d1, fresh}.emit(b);
          });
        });
      });
      // scores = exp(scale * scores + bias - maximum), with what was summed so far brought to the new maximum.
      b.loop(zero, rows, 1, [&](Value r) {
        Value s = b.add(s0, r);
        Value seen = op.getCausal() ? clamp(b.sub(b.add(b.add(s, past), one), t0), keys) : keys;
        auto score = [&](Value c) -> Value {
          Value x = arith::MulFOp::create(b, b.load(scores, {r, c}), scale);
          if (!op.getBias())
            return x;
          SmallVector<Value> indices = at(3, head, s, b.add(t0, c), zero, zero);
          for (unsigned dim = 0; dim < indices.size(); ++dim) { // a dim of extent 1 is broadcast
            Value size = b.size(op.getBias(), dim);
            if (typeOf(op.getBias()).getDimSize(dim) == 1)
              indices[dim] = zero;
            else if (typeOf(op.getBias()).isDynamicDim(dim))
              indices[dim] = arith::SelectOp::create(b, arith::CmpIOp::create(b, arith::CmpIPredicate::eq, size, one),
                                                     zero, indices[dim]);
          }
          return arith::AddFOp::create(b, x, b.load(op.getBias(), indices));
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
        Value sum = b.reduceLoop(zero, seen, b.constantF32(0), [&](Value c, Value l) -> Value {
          Value p = math::ExpOp::create(b, arith::SubFOp::create(b, b.load(scores, {r, c}), base));
          b.store(p, scores, {r, c});
          auto next = arith::AddFOp::create(b, l, p);
          next.setFastmath(arith::FastMathFlags::reassoc);
          return next;
        });
        b.loop(seen, keys, 1, [&](Value c) { b.store(b.constantF32(0), scores, {r, c}); });
        Value alpha = math::ExpOp::create(b, arith::SubFOp::create(b, old, base));
        b.store(next, maximum, r);
        b.store(arith::AddFOp::create(b, arith::MulFOp::create(b, b.load(total, r), alpha), sum), total, r);
        b.loop(zero, b.constant(plan.paddedE), 1,
               [&](Value e) { b.store(arith::MulFOp::create(b, b.load(sums, {r, e}), alpha), sums, {r, e}); });
      });
      // sums += scores v
      b.loop(zero, b.constant(plan.paddedE), shape.columns, [&](Value column) {
        if (!plan.valuesInPlace) {
          Value existing = b.min(b.constant(shape.columns), b.sub(b.constant(plan.sizeE), column));
          packPanel(b, panel, zero, keys, existing, shape.columns, /*contiguous=*/true, op.getV(),
                    [&](Value t, Value e) { return at(2, valueHead, zero, b.add(t0, t), zero, b.add(column, e)); });
        }
        tileRows(b, shape, rows, std::nullopt, [&](int64_t tile, Value row) {
          auto p = [&](int64_t r, Value t) { return b.load(scores, {b.add(row, b.constant(r)), t}); };
          auto v = [&](Value t, int64_t offset) -> Value {
            if (!plan.valuesInPlace)
              return vector::LoadOp::create(b, vector, panel, ValueRange{t, b.constant(offset)});
            return vector::LoadOp::create(
                b, vector, op.getV(), at(2, valueHead, zero, b.add(t0, t), zero, b.add(column, b.constant(offset))));
          };
          RegisterTile{shape, tile, p, v, sums, row, column, zero, keys, never}.emit(b);
        });
      });
    });
    b.loop(zero, rows, 1, [&](Value r) {
      Value l = b.load(total, r), inverse = arith::DivFOp::create(b, b.constantF32(1), l);
      if (op.getZeroIfMasked()) {
        Value masked = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, l, b.constantF32(0));
        inverse = arith::SelectOp::create(b, masked, b.constantF32(0), inverse);
      }
      b.loop(zero, b.constant(plan.sizeE), 1, [&](Value e) {
        b.store(arith::MulFOp::create(b, b.load(sums, {r, e}), inverse), op.getInit(),
                at(init, head, b.add(s0, r), zero, zero, e));
      });
    });
  });
  return success();
}
