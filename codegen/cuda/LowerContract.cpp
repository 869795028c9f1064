// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contractions. A block makes a square tile of the result, and slices of both operands go through shared memory to a
// square of sums that each thread holds; those of f16 and bf16 are in ContractTensorCores.cpp.
#include "codegen/cuda/Contraction.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kTile = 64, kSquare = 4;
static_assert((kTile / kSquare) * (kTile / kSquare) == kBlock);

MemRefType typeOf(Value value) { return cast<MemRefType>(value.getType()); }

struct Emitter : ContractionCode {
  using ContractionCode::ContractionCode;

  // A thread's part of a slice of an operand: elements (own, k) of kTile x depth, stored with k outside or inside. Neighbouring
  // threads read what is next to each other in memory.
  struct Slice {
    unsigned operand;
    int64_t depth;
    bool kInside;
    Value buffer;
    SmallVector<SmallVector<Value>> indices; // of each own dim's place that the thread has
    SmallVector<Value> own, k;               // in the tile, of each element
  };

  Slice slice(unsigned operand, int64_t depth, bool kInside, Type type, ArrayRef<unsigned> dims, Value first, Value extent,
              const SmallVector<Value> &origin) {
    // Some more columns, so that what a warp stores or reads at once is in different banks.
    int64_t padding = 16 / llvm::divideCeil(type.getIntOrFloatBitWidth(), 8);
    int64_t shape[] = {kInside ? kTile : depth, (kInside ? depth : kTile) + padding};
    Slice s{operand, depth, kInside, b.shared(shape, type), {}, {}, {}};
    bool alongSums = isContiguousInSums(c, operand);
    int64_t fast = alongSums ? depth : kTile, step = kBlock / fast;
    Value inner = b.rem(b.thread(), b.constant(fast)), outer = b.div(b.thread(), b.constant(fast));
    for (int64_t i = 0; i < kTile * depth / kBlock; ++i) {
      Value other = b.add(outer, b.constant(i * step));
      s.own.push_back(alongSums ? other : inner);
      s.k.push_back(alongSums ? inner : other);
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

  // Loads the slice from sum `k0` on; terms behind the end are zeros in both operands.
  void fill(Slice &s, Value k0, Value terms) {
    Type type = typeOf(s.buffer).getElementType();
    std::optional<int64_t> known = getConstantIntValue(terms);
    bool isWhole = known && *known % s.depth == 0;
    for (size_t i = 0; i < s.own.size(); ++i) {
      Value k = b.add(k0, s.k[i]);
      SmallVector<Value> at = s.indices[i];
      place(at, c.sums, isWhole ? k : b.min(k, b.sub(terms, b.constant(1))));
      Value value = load(s.operand, at);
      if (value.getType() != type)
        value = toSum(value);
      if (!isWhole)
        value = arith::SelectOp::create(b, b.isBelow(k, terms), value, b.constantFloat(type, 0));
      b.store(value, s.buffer, s.kInside ? SmallVector<Value>{s.own[i], s.k[i]} : SmallVector<Value>{s.k[i], s.own[i]});
    }
  }

  // The block's tile: where it is, and its slices.
  struct Tile {
    Value m, n, terms, m0, n0; // extents, and the first row and column
    SmallVector<Value> origin; // indices of batch dims
    SmallVector<Slice, 2> slices;
  };
  Tile tileOf(int64_t depth, bool kInside, Type type) {
    SmallVector<Value> batch = sizesOf(c.batch);
    Tile t{sizeOf(c.rows), sizeOf(c.columns), sizeOf(c.sums), {}, {}, SmallVector<Value>(loops, b.constant(0)), {}};
    SmallVector<Value> grid = batch;
    grid.append({b.ceilDiv(t.m, kTile), b.ceilDiv(t.n, kTile)});
    SmallVector<Value> at = b.delinearize(b.block(), grid);
    for (auto [dim, index] : llvm::zip(c.batch, at))
      t.origin[dim] = index;
    t.m0 = b.mul(at[batch.size()], b.constant(kTile));
    t.n0 = b.mul(at.back(), b.constant(kTile));
    t.slices.push_back(slice(0, depth, kInside, type, c.rows, t.m0, t.m, t.origin));
    t.slices.push_back(slice(1, depth, kInside, type, c.columns, t.n0, t.n, t.origin));
    return t;
  }
  // `body` takes the sums so far and adds those of the slices, which are in shared memory.
  ValueRange overSlices(Tile &t, ValueRange sums, function_ref<SmallVector<Value>(ValueRange)> body) {
    auto loop = scf::ForOp::create(b, b.constant(0), t.terms, b.constant(t.slices[0].depth), sums);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    for (Slice &s : t.slices)
      fill(s, loop.getInductionVar(), t.terms);
    b.barrier();
    SmallVector<Value> next = body(loop.getRegionIterArgs());
    b.barrier();
    scf::YieldOp::create(b, next);
    return loop.getResults();
  }
  void squares() {
    constexpr int64_t depth = 16;
    Tile t = tileOf(depth, /*kInside=*/false, sumType);
    Value own[] = {b.mul(b.div(b.thread(), b.constant(kTile / kSquare)), b.constant(kSquare)),
                   b.mul(b.rem(b.thread(), b.constant(kTile / kSquare)), b.constant(kSquare))};
    auto vectorType = VectorType::get({kSquare}, sumType);
    Value zero = arith::ConstantOp::create(b, b.getZeroAttr(vectorType));
    ValueRange sums = overSlices(t, SmallVector<Value>(kSquare, zero), [&](ValueRange partial) {
      auto inner = scf::ForOp::create(b, b.constant(0), b.constant(depth), b.constant(1), partial);
      OpBuilder::InsertionGuard inside(b);
      b.setInsertionPointToStart(inner.getBody());
      Value parts[2];
      for (unsigned operand = 0; operand < 2; ++operand)
        parts[operand] = vector::LoadOp::create(b, vectorType, t.slices[operand].buffer, ValueRange{inner.getInductionVar(), own[operand]},
                                                /*nontemporal=*/false, llvm::MaybeAlign(16));
      SmallVector<Value> next;
      for (int64_t i = 0; i < kSquare; ++i) {
        Value a = vector::BroadcastOp::create(b, vectorType, vector::ExtractOp::create(b, parts[0], i).getResult());
        next.push_back(math::FmaOp::create(b, a, parts[1], inner.getRegionIterArg(i)));
      }
      scf::YieldOp::create(b, next);
      return SmallVector<Value>(inner.getResults());
    });
    for (int64_t i = 0; i < kSquare; ++i) {
      SmallVector<Value> row;
      for (int64_t j = 0; j < kSquare; ++j)
        row.push_back(vector::ExtractOp::create(b, sums[i], j));
      finishRow(t.origin, b.add(t.m0, b.add(own[0], b.constant(i))), b.add(t.n0, own[1]), row);
    }
  }
};
} // namespace

KernelRange codegen::planContract(nn::ContractOp op) {
  Contraction c(op);
  if (op.getFewRows() || op.getFewColumns())
    return planFewRows(c);
  KernelRange range;
  for (unsigned dim : c.batch)
    range.factors.push_back({{c.extent(dim)}});
  auto [rows, columns] = isForTensorCores(c) ? tensorCoreTile(c) : std::pair(kTile, kTile);
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
  Emitter(op, b).squares();
}
