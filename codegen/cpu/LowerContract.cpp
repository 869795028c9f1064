// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contractions: macro tiles of C on the stack, K in blocks, a register tile inside, and the epilogue as one plain loop
// over the finished macro tile (which LLVM vectorises), so that partial sums never stand in C: an epilogue may read
// what C overwrites.
#include "codegen/cpu/ContractPlan.h"
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/RegisterTile.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
MemRefType typeOf(Value value) { return cast<MemRefType>(value.getType()); }

// Whether the operand's last dim, contiguous in memory, is read along `dim`.
bool endsIn(Value value, AffineMap map, unsigned dim) {
  return map.getNumResults() && positionOf(map, dim) == map.getNumResults() - 1 && strideOf(value, map, dim) == 1;
}
} // namespace

KernelRange codegen::planContract(nn::ContractOp op, const CpuTarget &target) {
  KernelRange range;
  FailureOr<ContractPlan> plan = ContractPlan::of(op, target);
  if (failed(plan))
    return range; // the check has failed with the same message
  auto factor = [&](ArrayRef<unsigned> dims, int64_t tile) {
    RangeFactor factor{{}, tile};
    for (unsigned dim : dims)
      factor.extents.push_back(plan->extent(dim));
    range.factors.push_back(factor);
  };
  for (unsigned dim : plan->outer)
    factor(dim, 1);
  if (plan->n && plan->columnsOutside)
    factor(*plan->n, plan->tileColumns);
  factor(plan->rows(), plan->tileRows);
  if (plan->n && !plan->columnsOutside)
    factor(*plan->n, plan->tileColumns);
  double k = guessExtent(plan->sizeK), columns = std::min<double>(plan->tileColumns, guessExtent(plan->sizeN));
  double rows = std::min<double>(plan->tileRows, guessExtent(plan->sizeM));
  range.grain = grainOf(std::max(2 * rows * columns * k / 100, 4 * columns * k / 20)); // 100 GFLOP/s, 20 GB/s
  return range;
}

LogicalResult codegen::checkContract(nn::ContractOp op, const CpuTarget &target) {
  return success(succeeded(ContractPlan::of(op, target)));
}

LogicalResult codegen::lowerContract(nn::ContractOp op, CpuKernelBuilder &b) {
  FailureOr<ContractPlan> planned = ContractPlan::of(op, b.target);
  if (failed(planned))
    return failure();
  ContractPlan &plan = *planned;
  TileShape shape = TileShape::of(b.target);
  Value left = op->getOperand(plan.left), right = op->getOperand(plan.right);
  AffineMap leftMap = plan.maps[plan.left], rightMap = plan.maps[plan.right];

  auto sizeOf = [&](unsigned dim) { return b.size(op, plan.extent(dim)); };
  SmallVector<Value> groupSizes;
  Value sizeM = b.constant(1);
  for (ArrayRef<unsigned> group : plan.rowGroups) {
    Value size = b.constant(1);
    for (unsigned dim : group)
      size = b.mul(size, sizeOf(dim));
    groupSizes.push_back(size);
    sizeM = b.mul(sizeM, size);
  }
  Value sizeN = plan.n ? sizeOf(*plan.n) : b.constant(1), sizeK = sizeOf(plan.k), zero = b.constant(0);
  SmallVector<Value> factors;
  for (unsigned dim : plan.outer)
    factors.push_back(sizeOf(dim));
  factors.push_back(b.ceilDiv(sizeM, plan.tileRows));
  factors.push_back(b.ceilDiv(sizeN, plan.tileColumns));
  if (plan.columnsOutside)
    std::swap(factors[factors.size() - 2], factors.back());
  Value accumulators = b.stackBuffer({plan.tileRows, plan.tileColumns});
  Value panel = plan.copied ? b.stackBuffer({plan.block, shape.columns}) : Value();
  Value wideRows = plan.widened ? b.stackBuffer({shape.rows, plan.block}) : Value();

  b.loop(b.lo, b.hi, 1, [&](Value i) {
    SmallVector<Value> place = b.delinearize(i, factors), dims(op.getIteratorTypes().size(), zero);
    for (auto [index, dim] : llvm::enumerate(plan.outer))
      dims[dim] = place[index];
    if (plan.columnsOutside)
      std::swap(place[place.size() - 2], place.back());
    Value m0 = b.mul(place[place.size() - 2], b.constant(plan.tileRows));
    Value n0 = b.mul(place.back(), b.constant(plan.tileColumns));
    Value rows = b.min(b.constant(plan.tileRows), b.sub(sizeM, m0));
    Value columns = b.min(b.constant(plan.tileColumns), b.sub(sizeN, n0));
    auto at = [&](AffineMap map, Value m, Value n, Value k) {
      SmallVector<Value> point = dims;
      if (m)
        for (auto [group, index] : llvm::zip(plan.rowGroups, b.delinearize(m, groupSizes)))
          point[group.back()] = index; // beyond that dim's extent too: see ContractPlan::rowGroups
      if (plan.n && n)
        point[*plan.n] = n;
      if (k)
        point[plan.k] = k;
      return b.apply(map, point);
    };
    auto tile = [&](int64_t tileRows, Value row, Value column, Value from, Value to, Value fresh,
                    function_ref<Value(Value, int64_t)> columnsOf) {
      SmallVector<Value> rowIndex;
      for (int64_t r = 0; r < tileRows; ++r)
        rowIndex.push_back(b.add(b.add(m0, row), b.constant(r)));
      auto a = [&](int64_t r, Value k) {
        return wideRows ? b.load(wideRows, {b.constant(r), b.sub(k, from)}) : b.load(left, at(leftMap, rowIndex[r], {}, k));
      };
      RegisterTile{shape, tileRows, a, columnsOf, accumulators, row, column, from, to, fresh}.emit(b);
    };
    auto widen = [&](int64_t tileRows, Value row, Value from, Value to) {
      if (wideRows)
        widenRows(b, wideRows, tileRows, from, to, left,
                  [&](Value r, Value k) { return at(leftMap, b.add(b.add(m0, row), r), {}, k); });
    };
    std::optional<int64_t> staticRows;
    if (!ShapedType::isDynamic(plan.sizeM) && plan.sizeM % plan.tileRows == 0)
      staticRows = plan.tileRows;

    auto destination = [&](Value row, Value column) {
      return at(plan.maps.back(), b.add(m0, row), b.add(n0, column), {});
    };
    bool byRows = !plan.m() || !plan.n || strideOf(op.getInit(), plan.maps.back(), *plan.n) == 1 ||
                  strideOf(op.getInit(), plan.maps.back(), *plan.m()) != 1;
    bool oneBlock = !ShapedType::isDynamic(plan.sizeK) && plan.sizeK <= plan.block && plan.taps.empty();
    auto sumOverK = [&] {
      b.loop(zero, sizeK, plan.block, [&](Value from) {
        Value to = b.min(sizeK, b.add(from, b.constant(plan.block)));
        Value fresh;
        if (!oneBlock) {
          Value position = from;
          for (unsigned tap : plan.taps)
            position = b.add(position, dims[tap]);
          fresh = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, position, zero);
        }
        if (plan.copied) {
          b.loop(zero, columns, shape.columns, [&](Value column) {
            Value existing = b.min(b.constant(shape.columns), b.sub(columns, column));
            Value first = b.add(n0, column);
            packPanel(b, panel, from, to, existing, shape.columns, plan.contiguous, right,
                      [&](Value k, Value n) { return at(rightMap, {}, b.add(first, n), k); });
            tileRows(b, shape, rows, staticRows, [&](int64_t tileRows, Value row) {
              widen(tileRows, row, from, to);
              tile(tileRows, row, column, from, to, fresh, [&](Value k, int64_t offset) -> Value {
                return b.loadVector(shape.lanes, panel, {b.sub(k, from), b.constant(offset)});
              });
            });
          });
          return;
        }
        // The epilogue's stores would wait for lines that nothing has asked for: the last block of k hides that.
        Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, to, sizeK);
        auto prefetch = [&](int64_t tileRows, Value row) {
          if (!byRows || !plan.n || strideOf(op.getInit(), plan.maps.back(), *plan.n) != 1)
            return;
          Value end = arith::SelectOp::create(b, isLast, columns, zero);
          for (int64_t r = 0; r < tileRows; ++r)
            b.loop(zero, end, blockSide, [&](Value c) {
              memref::PrefetchOp::create(b, op.getInit(), destination(b.add(row, b.constant(r)), c), /*isWrite=*/true,
                                         /*localityHint=*/3, /*isDataCache=*/true);
            });
        };
        // Rows outside: a block of left's rows stays in the first-level cache, right streams from the second.
        tileRows(b, shape, rows, staticRows, [&](int64_t tileRows, Value row) {
          prefetch(tileRows, row);
          widen(tileRows, row, from, to);
          b.loop(zero, columns, shape.columns, [&](Value column) {
            Value first = b.add(n0, column), width = b.constant(plan.width);
            Value panelIndex = plan.packed ? b.div(first, width) : Value();
            Value inPanel = plan.packed ? b.rem(first, width) : Value();
            tile(tileRows, row, column, from, to, fresh, [&](Value k, int64_t offset) -> Value {
              if (plan.packed)
                return b.loadVector(shape.lanes, right, {panelIndex, k, b.add(inPanel, b.constant(offset))});
              return b.loadVector(shape.lanes, right, at(rightMap, {}, b.add(first, b.constant(offset)), k));
            });
          });
        });
      });
    };
    std::function<void(unsigned)> overTaps = [&](unsigned index) {
      if (index == plan.taps.size())
        return sumOverK();
      b.loop(zero, sizeOf(plan.taps[index]), 1, [&](Value tap) {
        dims[plan.taps[index]] = tap;
        overTaps(index + 1);
      });
    };
    overTaps(0);
    // K of 0 leaves a sum of nothing.
    if (ShapedType::isDynamic(plan.sizeK)) {
      Value end =
          arith::SelectOp::create(b, arith::CmpIOp::create(b, arith::CmpIPredicate::eq, sizeK, zero), rows, zero);
      b.loop(zero, end, 1, [&](Value r) {
        b.loop(zero, columns, 1, [&](Value c) { b.store(b.constantF32(0), accumulators, {r, c}); });
      });
    }

    // The epilogue, by rows, which is how its operands mostly lie.
    auto result = [&](Value row, Value column) {
      Value m = b.add(m0, row), n = b.add(n0, column);
      Block &block = op.getEpilogue().front();
      IRMapping mapping;
      mapping.map(block.getArgument(0), b.load(accumulators, {row, column}));
      for (auto [index, operand] : llvm::enumerate(op.getEpilogueIns()))
        if (!block.getArgument(index + 1).use_empty())
          mapping.map(block.getArgument(index + 1), b.load(operand, at(plan.maps[2 + index], m, n, {})));
      for (Operation &inner : block.without_terminator())
        b.clone(inner, mapping);
      return mapping.lookupOrDefault(block.getTerminator()->getOperand(0));
    };
    auto each = [&](function_ref<void(Value, Value)> body) {
      b.loop(zero, rows, 1, [&](Value r) { b.loop(zero, columns, 1, [&](Value c) { body(r, c); }); });
    };
    if (byRows || !computesInF32(typeOf(op.getInit()).getElementType())) {
      each([&](Value r, Value c) { b.store(result(r, c), op.getInit(), destination(r, c)); });
      return;
    }
    // A destination with neighbouring rows next to each other: the finished tile is transposed into it.
    each([&](Value r, Value c) { b.store(result(r, c), accumulators, {r, c}); });
    auto move = [&](Value r, Value c) { b.store(b.load(accumulators, {r, c}), op.getInit(), destination(r, c)); };
    bool inBlocks = b.target.vectorBits >= 512 && endsIn(op.getInit(), plan.maps.back(), *plan.m());
    Value side = b.constant(inBlocks ? blockSide : 1);
    auto whole = [&](Value count) { return inBlocks ? b.mul(b.div(count, side), side) : zero; };
    Value wholeRows = whole(rows), wholeColumns = whole(columns);
    b.loop(zero, wholeColumns, blockSide, [&](Value c0) {
      b.loop(zero, wholeRows, blockSide, [&](Value r0) {
        moveBlock(
            b,
            [&](int64_t i) {
              return SmallVector<Value>{b.add(r0, b.constant(i)), c0};
            },
            accumulators, [&](int64_t i) { return destination(r0, b.add(c0, b.constant(i))); }, op.getInit());
      });
    });
    b.loop(zero, wholeColumns, 1, [&](Value c) { b.loop(wholeRows, rows, 1, [&](Value r) { move(r, c); }); });
    b.loop(wholeColumns, columns, 1, [&](Value c) { b.loop(zero, rows, 1, [&](Value r) { move(r, c); }); });
  });
  return success();
}
