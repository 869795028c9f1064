// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Contractions in f32 and f64. Where there are enough rows and columns a block makes a square tile of the result: slices of both
// operands go through shared memory, and each thread holds a square of sums. Else a thread makes one element. Each sum is made
// in the order of its terms, so how rows are chunked changes no bit.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
constexpr int64_t kTile = 64, kDepth = 16, kSquare = 4; // kTile / kSquare squared is kBlock
static_assert((kTile / kSquare) * (kTile / kSquare) == kBlock);

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
  Value loadA(ArrayRef<Value> indices) { return toSum(b.loadWide(op.getA(), b.apply(c.maps[0], indices))); }
  Value loadB(ArrayRef<Value> indices) {
    SmallVector<Value> at = b.apply(c.maps[1], indices);
    if (op.getPacked()) { // panels of columns
      Value width = b.constant(typeOf(op.getB()).getShape().back());
      at = {b.div(at[1], width), at[0], b.rem(at[1], width)};
    }
    return toSum(b.loadWide(op.getB(), at));
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
          return math::FmaOp::create(b, loadA(indices), loadB(indices), sum);
        return b.reduceLoop(b.constant(0), b.size(op, c.extent(c.sums[number])), sum, [&](Value i, Value partial) {
          indices[c.sums[number]] = i;
          return reduce(number + 1, partial);
        });
      };
      Value sum = reduce(0, b.constantFloat(sumType, 0));
      finish(indices, sum);
    });
  }

  // A thread's part of a slice of an operand: elements (own, k) of kTile x kDepth. Neighbouring threads read what is next to each
  // other in memory; the slice is stored with k outside, as threads read it.
  struct Slice {
    Value buffer;
    bool alongSums;
    SmallVector<SmallVector<Value>> indices; // of each own dim's place that the thread has
    SmallVector<Value> own, k;               // in the tile, of each element
  };
  static constexpr int64_t elements = kTile * kDepth / kBlock;

  Slice slice(unsigned operand, ArrayRef<unsigned> dims, Value first, Value extent, const SmallVector<Value> &origin) {
    // One more column of a square, so that a warp's stores go to different banks.
    Slice s{b.shared({kDepth, kTile + kSquare}, sumType), c.isContiguousInSums(operand), {}, {}, {}};
    int64_t fast = s.alongSums ? kDepth : kTile, step = kBlock / fast;
    Value inner = b.rem(b.thread(), b.constant(fast)), outer = b.div(b.thread(), b.constant(fast));
    for (int64_t i = 0; i < elements; ++i) {
      Value other = b.add(outer, b.constant(i * step));
      s.own.push_back(s.alongSums ? other : inner);
      s.k.push_back(s.alongSums ? inner : other);
      if (!s.alongSums && i > 0) {
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
  void fill(Slice &s, unsigned operand, Value k0, Value terms, bool isWhole) {
    Value zero = b.constantFloat(sumType, 0);
    for (int64_t i = 0; i < elements; ++i) {
      Value k = b.add(k0, s.k[i]);
      SmallVector<Value> at = s.indices[i];
      place(at, c.sums, isWhole ? k : b.min(k, b.sub(terms, b.constant(1))));
      Value value = operand == 0 ? loadA(at) : loadB(at);
      if (!isWhole)
        value = arith::SelectOp::create(b, b.isBelow(k, terms), value, zero);
      b.store(value, s.buffer, {s.k[i], s.own[i]});
    }
  }

  void tile() {
    SmallVector<Value> batch = sizesOf(c.batch);
    Value m = product(sizesOf(c.rows)), n = product(sizesOf(c.columns)), terms = product(sizesOf(c.sums));
    SmallVector<Value> grid = batch;
    grid.append({b.ceilDiv(m, kTile), b.ceilDiv(n, kTile)});
    SmallVector<Value> at = b.delinearize(b.block(), grid), origin(loops, b.constant(0));
    for (auto [dim, index] : llvm::zip(c.batch, at))
      origin[dim] = index;
    Value m0 = b.mul(at[batch.size()], b.constant(kTile)), n0 = b.mul(at.back(), b.constant(kTile));
    Value own[] = {b.mul(b.div(b.thread(), b.constant(kTile / kSquare)), b.constant(kSquare)),
                   b.mul(b.rem(b.thread(), b.constant(kTile / kSquare)), b.constant(kSquare))};
    Slice slices[] = {slice(0, c.rows, m0, m, origin), slice(1, c.columns, n0, n, origin)};
    std::optional<int64_t> known = getConstantIntValue(terms);
    bool isWhole = known && *known % kDepth == 0;

    auto vectorType = VectorType::get({kSquare}, sumType);
    Value zero = arith::ConstantOp::create(b, b.getZeroAttr(vectorType));
    auto loop = scf::ForOp::create(b, b.constant(0), terms, b.constant(kDepth), SmallVector<Value>(kSquare, zero));
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      for (unsigned operand = 0; operand < 2; ++operand)
        fill(slices[operand], operand, loop.getInductionVar(), terms, isWhole);
      b.barrier();
      auto inner = scf::ForOp::create(b, b.constant(0), b.constant(kDepth), b.constant(1), loop.getRegionIterArgs());
      {
        OpBuilder::InsertionGuard inside(b);
        b.setInsertionPointToStart(inner.getBody());
        Value parts[2];
        for (unsigned operand = 0; operand < 2; ++operand)
          parts[operand] = vector::LoadOp::create(b, vectorType, slices[operand].buffer, ValueRange{inner.getInductionVar(), own[operand]},
                                                  /*nontemporal=*/false, llvm::MaybeAlign(16));
        SmallVector<Value> next;
        for (int64_t i = 0; i < kSquare; ++i) {
          Value a = vector::BroadcastOp::create(b, vectorType, vector::ExtractOp::create(b, parts[0], i).getResult());
          next.push_back(math::FmaOp::create(b, a, parts[1], inner.getRegionIterArg(i)));
        }
        scf::YieldOp::create(b, next);
      }
      b.barrier();
      scf::YieldOp::create(b, inner.getResults());
    }
    for (int64_t i = 0; i < kSquare; ++i) {
      Value row = b.add(m0, b.add(own[0], b.constant(i)));
      b.ifTrue(b.isBelow(row, m), [&] {
        SmallVector<Value> indices = origin;
        place(indices, c.rows, row);
        for (int64_t j = 0; j < kSquare; ++j) {
          Value column = b.add(n0, b.add(own[1], b.constant(j)));
          b.ifTrue(b.isBelow(column, n), [&] {
            place(indices, c.columns, column);
            finish(indices, vector::ExtractOp::create(b, loop.getResult(i), j));
          });
        }
      });
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
  emitter.c.isTiled() ? emitter.tile() : emitter.points();
}
