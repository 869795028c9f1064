// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contractions of f16, bf16 and, in tf32, f32 on tensor cores, whose products are exact and summed in f32. A block makes a tile of the
// result, each warp a part of it; slices of both operands come through shared memory, the next one while the one before is multiplied.
// Sums are made as many terms at a time as an instruction takes, in order, whatever the tile.
#include "codegen/cuda/Contraction.h"
#include "codegen/cuda/SharedTile.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
class TensorCores : ContractionCode {
public:
  TensorCores(nn::ContractOp op, CudaKernelBuilder &b)
      : ContractionCode(op, b), type(c.elementType(0)), step(SharedTile::stepOf(type)), depth(2 * step) {
    std::tie(tileRows, tileColumns) = blockTile(c);
    // A warp's part is at least 16 rows and, as two fragments are loaded at once, 16 columns.
    warpsAlongRows = tileRows > tileColumns || tileRows * tileColumns == 64 * 64 ? 4 : 2;
    warpRows = tileRows / warpsAlongRows, warpColumns = tileColumns / (kBlock / kWarp / warpsAlongRows);
  }

  void emit() {
    tile = tileOfBlock(tileRows, tileColumns);
    Operand left = operand(0, c.rows, tileRows, tile.row, tile.rows), right = operand(1, c.columns, tileColumns, tile.column, tile.columns);
    Value warp = b.warpInBlock();
    Value row = b.mul(b.rem(warp, b.constant(warpsAlongRows)), b.constant(warpRows));
    Value column = b.mul(b.div(warp, b.constant(warpsAlongRows)), b.constant(warpColumns));
    Value none = arith::ConstantOp::create(b, b.getZeroAttr(VectorType::get({2, 2}, sumType)));
    auto startBoth = [&](Value k) {
      start(left, k);
      start(right, k);
    };
    Sums sums = overSlices(tile, depth, Sums(warpRows / 16 * warpColumns / 8, none), startBoth, [&](Value k, Sums &next) {
      multiply(stage(left.tile, depth, k), stage(right.tile, depth, k), right.alongSums, row, column, next);
    });
    finish(sums, b.add(tile.row, row), b.add(tile.column, column));
  }

private:
  // Slices of an operand, in two places that they take turns in: its own dims by terms, or the other way round where it lies so. The left
  // one is always the former, as the instruction takes it.
  struct Operand {
    unsigned number;
    ArrayRef<unsigned> dims;
    Value first, extent; // of the tile, and of all
    bool alongSums;
    SharedTile tile;
    Value inVectors;
  };
  Operand operand(unsigned number, ArrayRef<unsigned> dims, int64_t size, Value first, Value extent) {
    bool alongSums = number == 0 || isContiguousInSums(c, number);
    int64_t rows = alongSums ? size : depth, columns = alongSums ? depth : size;
    int64_t unit = alongSums ? 1 : SharedTile::unitOfColumns(type);
    Value buffer = b.shared({2 * SharedTile::elementsOf(rows, columns, type, unit)}, type), inVectors;
    std::optional<unsigned> along = alongSums ? c.sums.back() : dims.empty() ? std::nullopt : std::optional<unsigned>(dims.back());
    int64_t length = along ? c.staticExtent(*along) : 1;
    if (along && !ShapedType::isDynamic(length) && !(number == 1 && op.getPacked()))
      inVectors = isInVectors(b, op->getOperand(number), positionOf(c.maps[number], *along), length);
    return {number, dims, first, extent, alongSums, SharedTile(buffer, rows, columns, /*offset=*/0, unit), inVectors};
  }
  void start(const Operand &o, Value k) {
    auto at = [&](Value own, Value term) {
      SmallVector<Value> indices = tile.origin;
      place(indices, o.dims, b.add(o.first, own));
      place(indices, c.sums, b.add(k, term));
      return ContractionCode::at(o.number, indices);
    };
    // All of a tile's columns are there where the extent is a multiple.
    auto rest = [&](Value extent, Value first, int64_t size) {
      std::optional<int64_t> known = getConstantIntValue(extent);
      return known && *known % size == 0 ? b.constant(size) : b.sub(extent, first);
    };
    Value own = b.sub(o.extent, o.first), left = b.sub(tile.terms, k);
    if (o.alongSums)
      startCopy(b, stage(o.tile, depth, k), {op->getOperand(o.number), at, own, rest(tile.terms, k, depth), o.inVectors});
    else
      startCopy(b, stage(o.tile, depth, k), {op->getOperand(o.number), [&](Value term, Value own) { return at(own, term); }, left,
                                 rest(o.extent, o.first, o.tile.columns), o.inVectors});
  }
  void multiply(const SharedTile &left, const SharedTile &right, bool transposed, Value row, Value column, SmallVector<Value> &sums) {
    for (int64_t k = 0; k < depth; k += step) {
      SmallVector<Value> rows;
      for (int64_t i = 0; i < warpRows; i += 16)
        rows.push_back(loadLeft(b, left, b.add(row, b.constant(i)), b.constant(k)));
      for (int64_t j = 0; j < warpColumns; j += 16) {
        Value at = b.add(column, b.constant(j));
        auto [first, second] = transposed ? loadRight(b, right, at, b.constant(k), TileOrder::Transposed) : loadRight(b, right, b.constant(k), at, TileOrder::Plain);
        for (auto [i, a] : llvm::enumerate(rows)) {
          Value *sum = &sums[i * warpColumns / 8 + j / 8];
          sum[0] = multiplyAdd(b, a, first, sum[0]);
          sum[1] = multiplyAdd(b, a, second, sum[1]);
        }
      }
    }
  }

  // A lane has pairs of neighbours in rows; of two fragments side by side, two lanes give each other one, and have four neighbours each.
  void finish(ArrayRef<Value> sums, Value firstRow, Value firstColumn) {
    Value lane = b.lane(), two = b.constant(2), four = b.constant(4);
    Value isOdd = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, b.rem(lane, two), b.constant(1));
    Value row = b.add(firstRow, b.div(lane, four)), place = b.mul(b.div(b.rem(lane, four), two), four);
    Value column = b.add(firstColumn, b.add(place, arith::SelectOp::create(b, isOdd, b.constant(8), b.constant(0))));
    for (int64_t i = 0; i < warpRows / 16; ++i)
      for (int64_t half = 0; half < 2; ++half)
        for (int64_t j = 0; j < warpColumns / 8; j += 2) {
          SmallVector<Value> kept, given;
          for (int64_t k = 0; k < 2; ++k) {
            Value first = vector::ExtractOp::create(b, sums[i * warpColumns / 8 + j], ArrayRef<int64_t>{half, k});
            Value second = vector::ExtractOp::create(b, sums[i * warpColumns / 8 + j + 1], ArrayRef<int64_t>{half, k});
            kept.push_back(arith::SelectOp::create(b, isOdd, second, first));
            given.push_back(b.ofOtherLane(arith::SelectOp::create(b, isOdd, first, second), 1));
          }
          SmallVector<Value> all;
          for (auto [low, high] : {std::pair(kept, given), std::pair(given, kept)}) // of the odd lane, what it was given comes first
            for (int64_t k = 0; k < 2; ++k)
              all.push_back(arith::SelectOp::create(b, isOdd, high[k], low[k]));
          finishRow(tile.origin, b.add(row, b.constant(16 * i + 8 * half)), b.add(column, b.constant(8 * j)), all);
        }
  }

  Type type;
  int64_t step, depth; // terms of an instruction, and of a slice
  int64_t tileRows, tileColumns, warpsAlongRows, warpRows, warpColumns;
  ResultTile tile;
};
} // namespace

std::pair<int64_t, int64_t> codegen::blockTile(const Contraction &c) {
  constexpr int64_t small = 64, large = 128, enough = 132; // blocks that a large GPU wants
  int64_t m = c.staticExtent(c.rows), n = c.staticExtent(c.columns), batch = c.staticExtent(c.batch);
  auto side = [&](int64_t extent) { return ShapedType::isDynamic(extent) || extent > small ? large : small; };
  int64_t rows = side(m), columns = side(n);
  if (ShapedType::isDynamic(m) || ShapedType::isDynamic(n) || ShapedType::isDynamic(batch) ||
      batch * llvm::divideCeil(m, rows) * llvm::divideCeil(n, columns) >= enough)
    return {rows, columns};
  return {small, small};
}

void codegen::emitTensorCores(nn::ContractOp op, CudaKernelBuilder &b) { TensorCores(op, b).emit(); }
