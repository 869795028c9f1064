// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention streamed over blocks of keys (online softmax; Milakov and Gimelshein 2018): a warp makes a query row, a lane the
// score of one key of a block, and then each lane its part of the values' dim. Blocks of keys start at multiples of a warp, so
// cutting the query rows anywhere gives the same bits.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/KeyBound.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t largestHead = 512; // each lane holds a 32nd part of the weighted values in registers

int64_t extentOf(nn::AttentionOp op, unsigned dim, unsigned operand) {
  std::optional<ExtentPlace> place = extentPlace(op.getMaps(), dim, {operand});
  return place ? cast<MemRefType>(op->getOperand(operand).getType()).getDimSize(place->dim) : 1;
}
} // namespace

LogicalResult codegen::checkAttention(nn::AttentionOp op) {
  for (Value operand : {op.getQ(), op.getK(), op.getV(), op.getInit()})
    if (Type type = cast<MemRefType>(operand.getType()).getElementType(); !computesInF32(type))
      return op.emitOpError() << "is generated for f32 and narrower floats only, not " << type;
  int64_t size = extentOf(op, op.valueSizeDim(), 2);
  if (ShapedType::isDynamic(size))
    return op.emitOpError("has a dynamic head size, which is not generated");
  if (size > largestHead)
    return op.emitOpError() << "has values of " << size << " elements; at most " << largestHead << " are generated";
  return success();
}

KernelRange codegen::planAttentionRows(nn::AttentionOp op) {
  KernelRange range;
  unsigned init = op->getNumOperands() - 1;
  for (unsigned dim = 0; dim <= op.rowDim(); ++dim)
    if (std::optional<ExtentPlace> place = extentPlace(op.getMaps(), dim, {init}))
      range.factors.push_back({{*place}});
  range.grain = kBlock / kWarp;
  return range;
}

void codegen::emitKernel(nn::AttentionOp op, CudaKernelBuilder &b) {
  SmallVector<AffineMap> maps = op.getMaps();
  unsigned dims = maps[0].getNumDims(), init = op->getNumOperands() - 1;
  int64_t parts = llvm::divideCeil(extentOf(op, op.valueSizeDim(), 2), kWarp);
  Value sizeE = b.constant(extentOf(op, op.valueSizeDim(), 2)), zero = b.constant(0), warp = b.constant(kWarp);
  Value sizeD = b.size(op, extentPlace(maps, op.headSizeDim(), {1})), keys = b.size(op, extentPlace(maps, op.keyDim(), {1}));
  auto number = [&](float value) { return b.constantF32(value); };
  Block &score = op.getScore().front();
  SmallVector<Value> sizes;
  for (unsigned dim = 0; dim <= op.rowDim(); ++dim)
    sizes.push_back(b.size(op, extentPlace(maps, dim, {init})));

  std::optional<KeyBound> bound = keyBound(op);
  auto limitOf = [&](ArrayRef<Value> row) {
    Value last = b.constant(bound->last.constant + 1);
    for (auto [dim, factor] : bound->last.dims)
      last = b.add(last, b.mul(row[dim], b.constant(factor)));
    for (auto [value, factor] : bound->last.values) {
      if (!value.getType().isIndex())
        value = arith::IndexCastOp::create(b, b.getIndexType(), value);
      last = b.add(last, b.mul(value, b.constant(factor)));
    }
    return b.min(b.max(last, zero), keys);
  };

  b.warpRows(sizes, [&](ArrayRef<Value> row) {
    auto at = [&](unsigned operand, Value t, Value d, Value e) {
      SmallVector<Value> indices(row);
      indices.append({t, d, e});
      assert(indices.size() == dims);
      return b.apply(maps[operand], indices);
    };
    Value lane = b.lane();
    auto scoreOf = [&](Value t) -> Value {
      Value product = b.reduceLoop(zero, sizeD, number(0), [&](Value d, Value sum) -> Value {
        Value q = b.loadWide(op.getQ(), at(0, t, d, zero)), k = b.loadWide(op.getK(), at(1, t, d, zero));
        return arith::AddFOp::create(b, sum, arith::MulFOp::create(b, q, k));
      });
      IRMapping mapping;
      mapping.map(score.getArgument(0), product);
      for (auto [index, operand] : llvm::enumerate(op.getScoreIns()))
        mapping.map(score.getArgument(index + 1),
                    isa<MemRefType>(operand.getType()) ? b.load(operand, at(3 + index, t, zero, zero)) : Value(operand));
      for (Operation &inner : score.without_terminator()) {
        auto place = dyn_cast<nn::IndexOp>(inner);
        if (!place)
          b.clone(inner, mapping);
        else
          mapping.map(place.getResult(), place.getDim() == op.keyDim() ? t : row[place.getDim()]);
      }
      return mapping.lookupOrDefault(score.getTerminator()->getOperand(0));
    };
    // The largest score so far, the sum of powers, and this lane's parts of the weighted values.
    SmallVector<Value> state{number(-INFINITY), number(0)};
    state.append(parts, number(0));
    auto stream = [&](Value end) -> SmallVector<Value> {
    auto loop = scf::ForOp::create(b, zero, end, warp, state);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      Value t0 = loop.getInductionVar(), t = b.add(t0, lane), old = loop.getRegionIterArg(0);
      auto choice = scf::IfOp::create(b, TypeRange{b.getF32Type()}, b.isBelow(t, end), /*withElse=*/true);
      {
        OpBuilder::InsertionGuard inside(b);
        b.setInsertionPointToStart(choice.thenBlock());
        scf::YieldOp::create(b, scoreOf(t));
        b.setInsertionPointToStart(choice.elseBlock());
        scf::YieldOp::create(b, number(-INFINITY));
      }
      Value x = choice.getResult(0);
      Value next = b.reduceWarp(arith::MaximumFOp::create(b, old, x),
                                [&](Value p, Value q) -> Value { return arith::MaximumFOp::create(b, p, q); });
      // Nothing seen but -inf: keep -inf - -inf away.
      Value none = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, next, number(-INFINITY));
      Value base = arith::SelectOp::create(b, none, number(0), next);
      Value power = math::ExpOp::create(b, arith::SubFOp::create(b, x, base));
      Value alpha = math::ExpOp::create(b, arith::SubFOp::create(b, old, base));
      Value sum = b.reduceWarp(power, [&](Value p, Value q) -> Value { return arith::AddFOp::create(b, p, q); });
      SmallVector<Value> values{next, arith::AddFOp::create(b, arith::MulFOp::create(b, loop.getRegionIterArg(1), alpha), sum)};
      for (Value part : loop.getRegionIterArgs().drop_front(2))
        values.push_back(arith::MulFOp::create(b, part, alpha));
      auto weigh = scf::ForOp::create(b, zero, b.min(warp, b.sub(end, t0)), b.constant(1), ArrayRef(values).drop_front(2));
      {
        OpBuilder::InsertionGuard inside(b);
        b.setInsertionPointToStart(weigh.getBody());
        Value j = weigh.getInductionVar(), weight = b.shuffle(power, j);
        SmallVector<Value> sums;
        for (int64_t part = 0; part < parts; ++part) {
          // Lanes behind the last element compute with it, too, and do not store.
          Value e = b.min(b.add(lane, b.constant(part * kWarp)), b.sub(sizeE, b.constant(1)));
          Value v = b.loadWide(op.getV(), at(2, b.add(t0, j), zero, e));
          sums.push_back(arith::AddFOp::create(b, weigh.getRegionIterArg(part), arith::MulFOp::create(b, weight, v)));
        }
        scf::YieldOp::create(b, sums);
      }
      scf::YieldOp::create(b, llvm::to_vector(llvm::concat<Value>(SmallVector<Value>(ArrayRef(values).take_front(2)),
                                                                  SmallVector<Value>(weigh.getResults()))));
    }
    return SmallVector<Value>(loop.getResults());
    };
    SmallVector<Value> results;
    if (!bound) {
      results = stream(keys);
    } else {
      results = stream(limitOf(row));
      // What a row sees ends here, but it may owe its weights to keys behind if it has seen nothing.
      if (!bound->infinite) {
        Value none = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, results[0], number(kSeenScore));
        auto again = scf::IfOp::create(b, ValueRange(results).getTypes(), none, /*withElse=*/true);
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToStart(again.thenBlock());
        scf::YieldOp::create(b, stream(keys));
        b.setInsertionPointToStart(again.elseBlock());
        scf::YieldOp::create(b, results);
        results.assign(again.result_begin(), again.result_end());
      }
    }
    Value max = results[0], total = results[1];
    if (op.getMax())
      b.ifTrue(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lane, zero), [&] {
        b.store(max, op.getMax(), at(init - 2, zero, zero, zero));
        b.store(total, op.getTotal(), at(init - 1, zero, zero, zero));
      });
    Value inverse = arith::DivFOp::create(b, number(1), total), nothing;
    if (op.getZeroIfMasked()) // no weight at all, or NaN
      nothing = arith::CmpFOp::create(b, arith::CmpFPredicate::ULE, total, number(0));
    for (int64_t part = 0; part < parts; ++part) {
      Value e = b.add(lane, b.constant(part * kWarp)), value = arith::MulFOp::create(b, results[2 + part], inverse);
      if (nothing)
        value = arith::SelectOp::create(b, nothing, number(0), value);
      b.ifTrue(b.isBelow(e, sizeE), [&] { b.store(value, op.getInit(), at(init, zero, zero, e)); });
    }
  });
}
