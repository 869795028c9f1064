// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contractions. A block makes a tile of the result, of squares that each thread holds; slices of both operands come through
// shared memory, the next one while the one before is multiplied. Sums are made term by term, in order, whatever the tile. Those
// of f16 and bf16 are in ContractTensorCores.cpp.
#include "codegen/cuda/Contraction.h"
#include "codegen/cuda/SharedTile.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kSquare = 4, kSide = 64; // of a thread's square, and of what the squares of a block's threads are together
static_assert((kSide / kSquare) * (kSide / kSquare) == kBlock);
constexpr int64_t kDepth = 16, kUnrolled = 4; // terms of a slice, and of those that are written one after the other

// Rows and columns of a block: as much as a thread has registers for.
std::pair<int64_t, int64_t> squaresTile(const Contraction &c) {
  bool isWide = nn::ContractOp(c.op).getEpilogue().front().getArgument(0).getType().getIntOrFloatBitWidth() > 32;
  return isWide ? std::pair(kSide, kSide) : blockTile(c);
}

class Squares : ContractionCode {
public:
  Squares(nn::ContractOp op, CudaKernelBuilder &b) : ContractionCode(op, b) { std::tie(tileRows, tileColumns) = squaresTile(c); }

  void emit() {
    tile = tileOfBlock(tileRows, tileColumns);
    Slice left = slice(0, c.rows, tileRows, tile.row, tile.rows), right = slice(1, c.columns, tileColumns, tile.column, tile.columns);
    Value inRow = b.constant(kSide / kSquare), square = b.constant(kSquare);
    Value row = b.mul(b.div(b.thread(), inRow), square), column = b.mul(b.rem(b.thread(), inRow), square);
    Value none = arith::ConstantOp::create(b, b.getZeroAttr(VectorType::get({kSquare}, sumType)));
    int64_t down = tileRows / kSide, across = tileColumns / kSide;
    auto start = [&](Value k) {
      fill(left, k);
      fill(right, k);
    };
    Sums sums = overSlices(tile, kDepth, Sums(down * kSquare * across, none), start, [&](Value k, Sums &next) {
      SharedTile a = stage(left.tile, kDepth, k), w = stage(right.tile, kDepth, k);
      next = b.carry(b.constant(0), b.constant(kDepth), kUnrolled, next, [&](Value first, Sums &inner) {
        for (int64_t i = 0; i < kUnrolled; ++i)
          multiply(a, w, b.add(first, b.constant(i)), row, column, inner);
      });
    });
    for (int64_t i = 0; i < down * kSquare; ++i)
      for (int64_t j = 0; j < across; ++j) {
        SmallVector<Value> part;
        for (int64_t e = 0; e < kSquare; ++e)
          part.push_back(vector::ExtractOp::create(b, sums[i * across + j], e));
        finishRow(tile.origin, b.add(tile.row, b.add(row, b.constant(i / kSquare * kSide + i % kSquare))),
                  b.add(tile.column, b.add(column, b.constant(j * kSide))), part);
      }
  }

private:
  // Slices of an operand, terms by its own dims, in two places that they take turns in.
  struct Slice {
    unsigned operand;
    ArrayRef<unsigned> dims;
    Value first, extent; // of the tile, and of all
    SharedTile tile;
    Value inVectors; // along its own dims
    // Places in the tile of the elements that a thread moves where they come one by one. Neighbouring threads read neighbours.
    SmallVector<Value> own, term;
    SmallVector<SmallVector<Value>> indices; // of the dims of own
  };

  Slice slice(unsigned operand, ArrayRef<unsigned> dims, int64_t size, Value first, Value extent) {
    Value buffer = b.shared({2 * SharedTile::elementsOf(kDepth, size, sumType)}, sumType);
    Slice s{operand, dims, first, extent, SharedTile(buffer, kDepth, size), {}, {}, {}, {}};
    bool alongSums = isContiguousInSums(c, operand);
    int64_t length = dims.empty() ? 1 : c.staticExtent(dims.back());
    if (!dims.empty() && !ShapedType::isDynamic(length) && !(operand == 1 && op.getPacked()) && c.elementType(operand) == sumType)
      s.inVectors = isInVectors(b, op->getOperand(operand), positionOf(c.maps[operand], dims.back()), length);
    int64_t fast = alongSums ? kDepth : size, step = kBlock / fast;
    Value inner = b.rem(b.thread(), b.constant(fast)), outer = b.div(b.thread(), b.constant(fast));
    for (int64_t i = 0; i < size * kDepth / kBlock; ++i) {
      Value other = b.add(outer, b.constant(i * step));
      s.own.push_back(alongSums ? other : inner);
      s.term.push_back(alongSums ? inner : other);
      if (!alongSums && i > 0) {
        s.indices.push_back(s.indices.front());
        continue;
      }
      // Behind the end is computed with what is at the end, and not stored.
      SmallVector<Value> at = tile.origin;
      place(at, dims, b.min(b.add(first, s.own.back()), b.sub(extent, b.constant(1))));
      s.indices.push_back(at);
    }
    return s;
  }

  // Starts to bring the slice from term `k` on; terms behind the end are zeros in both operands.
  void fill(const Slice &s, Value k) {
    Value memref = op->getOperand(s.operand);
    SharedTile to = stage(s.tile, kDepth, k);
    auto elements = [&] {
      // Asynchronous copies take neighbours, be they one.
      bool isAsync = c.elementType(s.operand) == sumType && cast<MemRefType>(memref.getType()).isLastDimUnitStride();
      std::optional<int64_t> known = getConstantIntValue(tile.terms);
      bool isWhole = known && *known % kDepth == 0;
      for (auto [own, term, indices] : llvm::zip(s.own, s.term, s.indices)) {
        Value k1 = b.add(k, term), exists = isWhole ? Value() : b.isBelow(k1, tile.terms);
        SmallVector<Value> all = indices;
        place(all, c.sums, isWhole ? k1 : b.min(k1, b.sub(tile.terms, b.constant(1))));
        if (isAsync) {
          startCopyOfOne(b, to, term, own, memref, at(s.operand, all), exists);
          continue;
        }
        Value value = toSum(load(s.operand, all));
        if (exists)
          value = arith::SelectOp::create(b, exists, value, b.constantFloat(value.getType(), 0));
        to.store(b, value, term, own);
      }
    };
    if (!s.inVectors)
      return elements();
    auto choice = scf::IfOp::create(b, s.inVectors, /*withElse=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(choice.thenBlock());
    auto from = [&](Value term, Value own) {
      SmallVector<Value> indices = tile.origin;
      place(indices, s.dims, b.add(s.first, own));
      place(indices, c.sums, b.add(k, term));
      return at(s.operand, indices);
    };
    startCopyInPieces(b, to, {memref, from, b.sub(tile.terms, k), b.sub(s.extent, s.first), {}});
    b.setInsertionPointToStart(choice.elseBlock());
    elements();
  }

  // Adds the products of one term.
  void multiply(const SharedTile &left, const SharedTile &right, Value term, Value row, Value column, SmallVector<Value> &sums) {
    auto vectorType = cast<VectorType>(sums.front().getType());
    auto vectors = [&](const SharedTile &tile, Value first, int64_t size) {
      SmallVector<Value> all;
      for (int64_t i = 0; i < size; i += kSide)
        all.push_back(vector::LoadOp::create(b, vectorType, tile.buffer, ValueRange{tile.at(b, term, b.add(first, b.constant(i)))},
                                             /*nontemporal=*/false, llvm::MaybeAlign(16)));
      return all;
    };
    SmallVector<Value> a = vectors(left, row, tileRows), w = vectors(right, column, tileColumns);
    for (auto [i, part] : llvm::enumerate(a))
      for (int64_t e = 0; e < kSquare; ++e) {
        Value one = vector::BroadcastOp::create(b, vectorType, vector::ExtractOp::create(b, part, e).getResult());
        for (auto [j, other] : llvm::enumerate(w)) {
          Value &sum = sums[(i * kSquare + e) * w.size() + j];
          sum = math::FmaOp::create(b, one, other, sum);
        }
      }
  }

  int64_t tileRows, tileColumns;
  ResultTile tile;
};
} // namespace

KernelRange codegen::planContract(nn::ContractOp op) {
  Contraction c(op);
  if (op.getFewRows() || op.getFewColumns())
    return planFewRows(c);
  KernelRange range;
  for (unsigned dim : c.batch)
    range.factors.push_back({{c.extent(dim)}});
  auto [rows, columns] = isForTensorCores(c) ? blockTile(c) : squaresTile(c);
  for (auto [group, tile] : {std::pair(&c.rows, rows), std::pair(&c.columns, columns)}) {
    RangeFactor factor;
    for (unsigned dim : *group)
      factor.extents.push_back(c.extent(dim));
    factor.tile = tile;
    range.factors.push_back(factor);
  }
  return range;
}

void codegen::emitKernel(nn::ContractOp op, CudaKernelBuilder &b) {
  if (op.getFewRows() || op.getFewColumns())
    return emitFewRows(op, b);
  Contraction c(op);
  if (isForTensorCores(c))
    return emitTensorCores(op, b);
  Squares(op, b).emit();
}
