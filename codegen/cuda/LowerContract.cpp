// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contractions. Where there are enough rows and columns a block makes a square tile of the result, and slices of both operands go
// through shared memory: of f16 and bf16 to the tensor cores, whose products are exact and summed in f32; of others to a square
// of sums that each thread holds. Else a thread makes one element. The order of a sum depends on its terms alone, so how rows are
// chunked changes no bit.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kTile = 64, kSquare = 4;
static_assert((kTile / kSquare) * (kTile / kSquare) == kBlock);
// An instruction of the tensor cores (PTX ISA, mma.m16n8k16), and the tile's warps: each has 16 rows and half of the columns.
constexpr int64_t kMmaRows = 16, kMmaColumns = 8, kMmaDepth = 16, kWarpRows = kTile / kMmaRows, kWarpColumns = kBlock / kWarp / kWarpRows;

MemRefType typeOf(Value value) { return cast<MemRefType>(value.getType()); }

// What the kernel looks at, of static types only.
struct Contraction {
  nn::ContractOp op;
  SmallVector<AffineMap> maps;
  SmallVector<unsigned> batch, rows, columns, sums;
  SmallVector<unsigned> logical; // operands whose dims are those of the maps

  explicit Contraction(nn::ContractOp op) : op(op), maps(op.getMaps()) {
    for (unsigned dim = 0; dim < maps[0].getNumDims(); ++dim) {
      bool inA = maps[0].isFunctionOfDim(dim), inB = maps[1].isFunctionOfDim(dim);
      (!maps.back().isFunctionOfDim(dim) ? sums : inA && inB ? batch : inB ? columns : rows).push_back(dim);
    }
    for (unsigned operand = 0; operand < maps.size(); ++operand)
      if (operand != 1 || !op.getPacked())
        logical.push_back(operand);
  }

  ExtentPlace extent(unsigned dim) const { return *extentPlace(maps, dim, logical); }
  int64_t staticExtent(unsigned dim) const {
    ExtentPlace place = extent(dim);
    return typeOf(op->getOperand(place.operand)).getDimSize(place.dim);
  }
  // Whether these may be more than a few; a dim that is open may.
  bool areMany(ArrayRef<unsigned> dims) const {
    int64_t product = 1;
    for (unsigned dim : dims) {
      if (ShapedType::isDynamic(staticExtent(dim)))
        return true;
      product *= staticExtent(dim);
    }
    return product > kTile / 8;
  }
  bool isTiled() const { return areMany(rows) && areMany(columns); }
  // Whether both operands are what tensor cores multiply without rounding.
  bool isForTensorCores() {
    Type a = typeOf(op.getA()).getElementType();
    return isTiled() && a == typeOf(op.getB()).getElementType() && (a.isF16() || a.isBF16()) && op.getEpilogue().front().getArgument(0).getType().isF32();
  }
  // Whether an operand holds sums next to each other.
  bool isContiguousInSums(unsigned operand) {
    int64_t offset;
    SmallVector<int64_t> strides;
    std::optional<unsigned> position = positionOf(maps[operand], sums.back());
    if (operand == 1 && op.getPacked())
      return false;
    return position && succeeded(typeOf(op->getOperand(operand)).getStridesAndOffset(strides, offset)) && strides[*position] == 1;
  }
};

// The place of the code.
struct Emitter {
  CudaKernelBuilder &b;
  Contraction c;
  nn::ContractOp op;
  unsigned loops;
  Type sumType;

  Emitter(nn::ContractOp op, CudaKernelBuilder &b)
      : b(b), c(op), op(op), loops(c.maps[0].getNumDims()), sumType(op.getEpilogue().front().getArgument(0).getType()) {}

  SmallVector<Value> sizesOf(ArrayRef<unsigned> dims) {
    return llvm::map_to_vector(dims, [&](unsigned dim) { return b.size(op, c.extent(dim)); });
  }
  Value product(ArrayRef<Value> sizes) {
    Value total = b.constant(1);
    for (Value size : sizes)
      total = b.mul(total, size);
    return total;
  }
  // Sets what a number stands for in a group of dims.
  void place(SmallVector<Value> &indices, ArrayRef<unsigned> dims, Value number) {
    for (auto [dim, index] : llvm::zip(dims, b.delinearize(number, sizesOf(dims))))
      indices[dim] = index;
  }
  // An element of an operand as it is stored.
  Value load(unsigned operand, ArrayRef<Value> indices) {
    SmallVector<Value> at = b.apply(c.maps[operand], indices);
    if (operand == 1 && op.getPacked()) { // panels of columns
      Value width = b.constant(typeOf(op.getB()).getShape().back());
      at = {b.div(at[1], width), at[0], b.rem(at[1], width)};
    }
    return b.load(op->getOperand(operand), at);
  }
  Value toSum(Value value) { return value.getType() == sumType ? value : arith::ExtFOp::create(b, sumType, value).getResult(); }
  // The result's element at `indices`, from its sum.
  void finish(ArrayRef<Value> indices, Value sum) {
    Block &epilogue = op.getEpilogue().front();
    IRMapping mapping;
    mapping.map(epilogue.getArgument(0), sum);
    for (auto [number, operand] : llvm::enumerate(op.getEpilogueIns()))
      mapping.map(epilogue.getArgument(number + 1),
                  isa<MemRefType>(operand.getType()) ? b.load(operand, b.apply(c.maps[2 + number], indices)) : Value(operand));
    for (Operation &inner : epilogue.without_terminator())
      b.clone(inner, mapping);
    b.store(mapping.lookupOrDefault(epilogue.getTerminator()->getOperand(0)), op.getInit(), b.apply(c.maps.back(), indices));
  }

  void points() {
    SmallVector<unsigned> dims;
    for (const auto *group : {&c.batch, &c.rows, &c.columns})
      llvm::append_range(dims, *group);
    b.points(sizesOf(dims), [&](ArrayRef<Value> at) {
      SmallVector<Value> indices(loops, b.constant(0));
      for (auto [dim, index] : llvm::zip(dims, at))
        indices[dim] = index;
      std::function<Value(unsigned, Value)> reduce = [&](unsigned number, Value sum) -> Value {
        if (number == c.sums.size())
          return math::FmaOp::create(b, toSum(load(0, indices)), toSum(load(1, indices)), sum);
        return b.reduceLoop(b.constant(0), b.size(op, c.extent(c.sums[number])), sum, [&](Value i, Value partial) {
          indices[c.sums[number]] = i;
          return reduce(number + 1, partial);
        });
      };
      Value sum = reduce(0, b.constantFloat(sumType, 0));
      finish(indices, sum);
    });
  }

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
    bool alongSums = c.isContiguousInSums(operand);
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
    Tile t{product(sizesOf(c.rows)), product(sizesOf(c.columns)), product(sizesOf(c.sums)), {}, {}, SmallVector<Value>(loops, b.constant(0)), {}};
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
  // Stores the sums of a row in the tile: those of neighbouring columns from `column` on.
  void finishRow(Tile &t, Value row, Value column, ArrayRef<Value> sums) {
    Value m = b.add(t.m0, row);
    b.ifTrue(b.isBelow(m, t.m), [&] {
      SmallVector<Value> indices = t.origin;
      place(indices, c.rows, m);
      for (auto [j, sum] : llvm::enumerate(sums)) {
        Value n = b.add(t.n0, b.add(column, b.constant(j)));
        b.ifTrue(b.isBelow(n, t.n), [&, sum = sum] {
          place(indices, c.columns, n);
          finish(indices, sum);
        });
      }
    });
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
      finishRow(t, b.add(own[0], b.constant(i)), own[1], row);
    }
  }

  void tensorCores() {
    constexpr int64_t depth = 32, tiles = kTile / kWarpColumns / kMmaColumns;
    Type type = typeOf(op.getA()).getElementType();
    Tile t = tileOf(depth, /*kInside=*/true, type);
    // Where the lane's parts of fragments are: group is a row of A and of the result and a column of B, two elements in a row at
    // twice `pair`.
    Value warp = b.warpInBlock(), group = b.div(b.lane(), b.constant(4)), pair = b.mul(b.rem(b.lane(), b.constant(4)), b.constant(2));
    Value row = b.add(b.mul(b.rem(warp, b.constant(kWarpRows)), b.constant(kMmaRows)), group);
    Value column = b.mul(b.div(warp, b.constant(kWarpRows)), b.constant(kTile / kWarpColumns));
    auto fragment = [&](Slice &s, ArrayRef<std::pair<Value, int64_t>> parts) -> Value { // (own, k beside `pair`) of each two elements
      auto two = VectorType::get({2}, type), all = VectorType::get({static_cast<int64_t>(parts.size()), 2}, type);
      Value result = arith::ConstantOp::create(b, b.getZeroAttr(all));
      for (auto [i, part] : llvm::enumerate(parts)) {
        Value loaded = vector::LoadOp::create(b, two, s.buffer, ValueRange{part.first, b.add(pair, b.constant(part.second))},
                                              /*nontemporal=*/false, llvm::MaybeAlign(4));
        result = vector::InsertOp::create(b, loaded, result, static_cast<int64_t>(i));
      }
      return result;
    };
    auto sumsType = VectorType::get({2, 2}, sumType);
    Value zero = arith::ConstantOp::create(b, b.getZeroAttr(sumsType));
    ValueRange sums = overSlices(t, SmallVector<Value>(tiles, zero), [&](ValueRange partial) {
      SmallVector<Value> next(partial);
      for (int64_t k = 0; k < depth; k += kMmaDepth) {
        Value below = b.add(row, b.constant(8));
        Value a = fragment(t.slices[0], {{row, k}, {below, k}, {row, k + 8}, {below, k + 8}});
        for (int64_t i = 0; i < tiles; ++i) {
          Value n = b.add(column, b.add(group, b.constant(i * kMmaColumns)));
          Value right = fragment(t.slices[1], {{n, k}, {n, k + 8}});
          next[i] = nvgpu::MmaSyncOp::create(b, a, right, next[i], ArrayRef<int64_t>{kMmaRows, kMmaColumns, kMmaDepth}, /*tf32Enabled=*/false);
        }
      }
      return next;
    });
    for (int64_t i = 0; i < tiles; ++i)
      for (int64_t half = 0; half < 2; ++half) {
        Value low = vector::ExtractOp::create(b, sums[i], ArrayRef<int64_t>{half, 0}), high = vector::ExtractOp::create(b, sums[i], ArrayRef<int64_t>{half, 1});
        finishRow(t, b.add(row, b.constant(8 * half)), b.add(column, b.add(pair, b.constant(i * kMmaColumns))), {low, high});
      }
  }
};
} // namespace

KernelRange codegen::planContract(nn::ContractOp op) {
  Contraction c(op);
  KernelRange range;
  for (unsigned dim : c.batch)
    range.factors.push_back({{c.extent(dim)}});
  bool isTiled = c.isTiled();
  for (const auto *group : {&c.rows, &c.columns}) {
    RangeFactor factor;
    for (unsigned dim : *group)
      factor.extents.push_back(c.extent(dim));
    factor.tile = isTiled ? kTile : 1;
    range.factors.push_back(factor);
  }
  range.grain = isTiled ? 1 : kBlock;
  return range;
}

void codegen::emitKernel(nn::ContractOp op, CudaKernelBuilder &b) {
  Emitter emitter(op, b);
  if (emitter.c.isForTensorCores())
    emitter.tensorCores();
  else if (emitter.c.isTiled())
    emitter.squares();
  else
    emitter.points();
}
