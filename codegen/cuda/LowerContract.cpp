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
    terms = sizeOf(c.sums);
    origin.assign(loops, b.constant(0));
    Value m = sizeOf(c.rows), n = sizeOf(c.columns);
    SmallVector<Value> grid = sizesOf(c.batch);
    grid.append({b.ceilDiv(m, tileRows), b.ceilDiv(n, tileColumns)});
    SmallVector<Value> at = b.delinearize(b.block(), grid);
    Value n0 = b.mul(at.pop_back_val(), b.constant(tileColumns)), m0 = b.mul(at.pop_back_val(), b.constant(tileRows));
    for (auto [dim, index] : llvm::zip(c.batch, at))
      origin[dim] = index;
    Slice left = slice(0, c.rows, tileRows, m0, m), right = slice(1, c.columns, tileColumns, n0, n);
    Value inRow = b.constant(kSide / kSquare), square = b.constant(kSquare);
    Value row = b.mul(b.div(b.thread(), inRow), square), column = b.mul(b.rem(b.thread(), inRow), square);

    auto start = [&](Value k) {
      b.ifTrue(b.isBelow(k, terms), [&] {
        fill(left, k);
        fill(right, k);
      });
    };
    start(b.constant(0));
    groupCopies(b);
    auto vectorType = VectorType::get({kSquare}, sumType);
    Value none = arith::ConstantOp::create(b, b.getZeroAttr(vectorType));
    int64_t down = tileRows / kSide, across = tileColumns / kSide;
    SmallVector<Value> sums = b.carry(b.constant(0), terms, kDepth, SmallVector<Value>(down * kSquare * across, none),
                                      [&](Value k, SmallVector<Value> &sums) {
      start(b.add(k, b.constant(kDepth)));
      finishCopiesBefore(b);
      SharedTile a = stage(left, k), w = stage(right, k);
      sums = b.carry(b.constant(0), b.constant(kDepth), kUnrolled, sums, [&](Value first, SmallVector<Value> &inner) {
        for (int64_t i = 0; i < kUnrolled; ++i)
          multiply(a, w, b.add(first, b.constant(i)), row, column, inner);
      });
      b.barrier(); // before what was read is overwritten
    });
    for (int64_t i = 0; i < down * kSquare; ++i)
      for (int64_t j = 0; j < across; ++j) {
        SmallVector<Value> part;
        for (int64_t e = 0; e < kSquare; ++e)
          part.push_back(vector::ExtractOp::create(b, sums[i * across + j], e));
        finishRow(origin, b.add(m0, b.add(row, b.constant(i / kSquare * kSide + i % kSquare))), b.add(n0, b.add(column, b.constant(j * kSide))),
                  part);
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
      SmallVector<Value> at = origin;
      place(at, dims, b.min(b.add(first, s.own.back()), b.sub(extent, b.constant(1))));
      s.indices.push_back(at);
    }
    return s;
  }

  SharedTile stage(const Slice &s, Value k) {
    SharedTile tile = s.tile;
    Value turn = b.rem(b.div(k, b.constant(kDepth)), b.constant(2));
    tile.shift = b.mul(turn, b.constant(SharedTile::elementsOf(tile.rows, tile.columns, sumType)));
    return tile;
  }

  // Starts to bring the slice from term `k` on; terms behind the end are zeros in both operands.
  void fill(const Slice &s, Value k) {
    Value memref = op->getOperand(s.operand);
    SharedTile tile = stage(s, k);
    auto elements = [&] {
      // Asynchronous copies take neighbours, be they one.
      bool isAsync = c.elementType(s.operand) == sumType && cast<MemRefType>(memref.getType()).isLastDimUnitStride();
      std::optional<int64_t> known = getConstantIntValue(terms);
      bool isWhole = known && *known % kDepth == 0;
      for (auto [own, term, indices] : llvm::zip(s.own, s.term, s.indices)) {
        Value k1 = b.add(k, term), exists = isWhole ? Value() : b.isBelow(k1, terms);
        SmallVector<Value> all = indices;
        place(all, c.sums, isWhole ? k1 : b.min(k1, b.sub(terms, b.constant(1))));
        if (isAsync) {
          startCopyOfOne(b, tile, term, own, memref, at(s.operand, all), exists);
          continue;
        }
        Value value = toSum(load(s.operand, all));
        if (exists)
          value = arith::SelectOp::create(b, exists, value, b.constantFloat(value.getType(), 0));
        tile.store(b, value, term, own);
      }
    };
    if (!s.inVectors)
      return elements();
    auto choice = scf::IfOp::create(b, s.inVectors, /*withElse=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(choice.thenBlock());
    auto from = [&](Value term, Value own) {
      SmallVector<Value> indices = origin;
      place(indices, s.dims, b.add(s.first, own));
      place(indices, c.sums, b.add(k, term));
      return at(s.operand, indices);
    };
    startCopyInPieces(b, tile, {memref, from, b.sub(terms, k), b.sub(s.extent, s.first), {}});
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
  SmallVector<Value> origin; // indices of batch dims
  Value terms;
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
