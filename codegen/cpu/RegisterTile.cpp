// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/RegisterTile.h"
#include "codegen/cpu/CpuTarget.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

TileShape TileShape::of(const CpuTarget &target) {
  if (target.vectorBits >= 512)
    return {16, 32, 12}; // 24 of 32 registers
  if (target.vectorBits >= 256)
    return {8, 16, 6}; // 12 of 16
  return {4, 8, 6};
}

void RegisterTile::emit(CpuKernelBuilder &builder) const {
  auto vector = VectorType::get({shape.lanes}, builder.getF32Type());
  int64_t vectors = shape.columns / shape.lanes;
  auto place = [&](int64_t r, int64_t j) {
    return SmallVector<Value>{builder.add(row, builder.constant(r)),
                              builder.add(column, builder.constant(j * shape.lanes))};
  };
  auto each = [&](function_ref<void(int64_t, int64_t)> body) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < vectors; ++j)
        body(r, j);
  };
  Value zero = arith::ConstantOp::create(
      builder, DenseElementsAttr::get(vector, ArrayRef<Attribute>(builder.getF32FloatAttr(0))));
  SmallVector<Value> initial(rows * vectors, zero);
  if (fresh) {
    auto choose = scf::IfOp::create(builder, SmallVector<Type>(rows * vectors, vector), fresh, /*withElse=*/true);
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(choose.thenBlock());
    scf::YieldOp::create(builder, initial);
    builder.setInsertionPointToStart(choose.elseBlock());
    SmallVector<Value> loaded;
    each([&](int64_t r, int64_t j) {
      loaded.push_back(vector::LoadOp::create(builder, vector, accumulators, place(r, j)));
    });
    scf::YieldOp::create(builder, loaded);
    initial.assign(choose.result_begin(), choose.result_end());
  }
  auto loop = scf::ForOp::create(builder, from, to, builder.constant(1), initial);
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(loop.getBody());
    Value k = loop.getInductionVar();
    SmallVector<Value> columns, next;
    for (int64_t j = 0; j < vectors; ++j)
      columns.push_back(b(k, j * shape.lanes));
    Value broadcast;
    each([&](int64_t r, int64_t j) {
      if (j == 0)
        broadcast = vector::BroadcastOp::create(builder, vector, a(r, k));
      next.push_back(vector::FMAOp::create(builder, broadcast, columns[j], loop.getRegionIterArg(r * vectors + j)));
    });
    scf::YieldOp::create(builder, next);
  }
  each([&](int64_t r, int64_t j) {
    vector::StoreOp::create(builder, loop.getResult(r * vectors + j), accumulators, place(r, j));
  });
}

void snug::codegen::tileRows(CpuKernelBuilder &b, const TileShape &shape, Value rows, std::optional<int64_t> staticRows,
                             function_ref<void(int64_t, Value)> body) {
  Value done = b.constant(0);
  int64_t left = staticRows.value_or(INT64_MAX);
  for (int64_t tile : {shape.rows, int64_t(4), int64_t(2), int64_t(1)}) {
    if (tile > left || left == 0)
      continue;
    Value end = b.add(done, b.mul(b.div(b.sub(rows, done), b.constant(tile)), b.constant(tile)));
    b.loop(done, end, tile, [&](Value row) { body(tile, row); });
    done = end;
    if (staticRows)
      left %= tile;
  }
}

void snug::codegen::moveBlock(CpuKernelBuilder &b, BlockPlace rowAt, Value source, BlockPlace columnAt,
                              Value destination, int64_t columns) {
  auto square = VectorType::get({blockSide, blockSide}, b.getF32Type());
  Value block = arith::ConstantOp::create(b, b.getZeroAttr(square));
  Value mask;
  if (columns < blockSide)
    mask = vector::CreateMaskOp::create(b, VectorType::get({blockSide}, b.getI1Type()), ValueRange{b.constant(columns)});
  for (int64_t i = 0; i < blockSide; ++i) {
    Value row = b.loadVector(blockSide, source, rowAt(i), mask);
    block = vector::InsertOp::create(b, row, block, ArrayRef<int64_t>{i});
  }
  block = vector::TransposeOp::create(b, block, ArrayRef<int64_t>{1, 0});
  for (int64_t i = 0; i < columns; ++i)
    b.store(vector::ExtractOp::create(b, block, ArrayRef<int64_t>{i}), destination, columnAt(i));
}

void snug::codegen::packPanel(CpuKernelBuilder &b, Value buffer, Value from, Value to, Value columns, int64_t width,
                              bool contiguous, Value source, function_ref<SmallVector<Value>(Value, Value)> place) {
  constexpr int64_t side = blockSide;
  Value zero = b.constant(0);
  auto copy = [&](Value k, Value n) { b.store(b.loadWide(source, place(k, n)), buffer, {b.sub(k, from), n}); };
  int64_t offset;
  SmallVector<int64_t> strides;
  bool lastIsContiguous =
      succeeded(cast<MemRefType>(source.getType()).getStridesAndOffset(strides, offset)) && strides.back() == 1;
  SmallVector<Value> first = place(from, zero);
  bool endsInK = !first.empty() && first.back() == from;
  if (contiguous) {
    b.loop(from, to, 1, [&](Value k) { b.loop(zero, columns, 1, [&](Value n) { copy(k, n); }); });
  } else if (b.target.vectorBits >= 512 && lastIsContiguous && endsInK) {
    auto block = [&](Value value) { return b.mul(b.div(value, b.constant(side)), b.constant(side)); };
    Value wholeN = block(columns), wholeK = b.add(from, block(b.sub(to, from)));
    b.loop(zero, wholeN, side, [&](Value n0) {
      b.loop(from, wholeK, side, [&](Value k0) {
        moveBlock(
            b, [&](int64_t i) { return place(k0, b.add(n0, b.constant(i))); }, source,
            [&](int64_t i) { return SmallVector<Value>{b.add(b.sub(k0, from), b.constant(i)), n0}; }, buffer);
      });
      b.loop(wholeK, to, 1, [&](Value k) { b.loop(n0, b.add(n0, b.constant(side)), 1, [&](Value n) { copy(k, n); }); });
    });
    b.loop(wholeN, columns, 1, [&](Value n) { b.loop(from, to, 1, [&](Value k) { copy(k, n); }); });
  } else {
    b.loop(zero, columns, 1, [&](Value n) { b.loop(from, to, 1, [&](Value k) { copy(k, n); }); });
  }
  b.loop(columns, b.constant(width), 1, [&](Value n) {
    b.loop(from, to, 1, [&](Value k) { b.store(b.constantF32(0), buffer, {b.sub(k, from), n}); });
  });
}

void snug::codegen::widenRows(CpuKernelBuilder &b, Value buffer, int64_t rows, Value from, Value to, Value source,
                              function_ref<SmallVector<Value>(Value, Value)> place) {
  b.loop(b.constant(0), b.constant(rows), 1, [&](Value r) {
    b.loop(from, to, 1, [&](Value k) { b.store(b.loadWide(source, place(r, k)), buffer, {r, b.sub(k, from)}); });
  });
}
