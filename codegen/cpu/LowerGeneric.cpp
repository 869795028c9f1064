// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// linalg.generic: a plain loop nest, which LLVM's loop vectoriser turns into code at memory speed.
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/GenericCode.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/cpu/RegisterTile.h"
#include "codegen/cpu/Transposition.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
using IteratorType = utils::IteratorType;

constexpr int64_t side = blockSide;

// How the nest is cut: the range goes over the `leading` outermost dims and, where these may not feed the threads, over
// `inner` too, a dim inside of them. All other loops are whole.
struct Cut {
  unsigned leading = 0;
  std::optional<unsigned> inner;
  bool has(unsigned dim) const { return dim < leading || inner == dim; }
};
constexpr int64_t enoughIterations = 64;

Cut cutOf(linalg::GenericOp op) {
  Cut cut;
  SmallVector<IteratorType> iterators = op.getIteratorTypesArray();
  unsigned loops = iterators.size();
  // Iterations that are sure: a dynamic extent (a batch, of a bound that is rarely reached) may be 1.
  int64_t extent = 1;
  auto take = [&](unsigned dim) {
    if (int64_t size = staticLoopExtent(op, dim); !ShapedType::isDynamic(size))
      extent = std::min(extent * size, enoughIterations);
  };
  if (std::optional<Transposition> t = Transposition::of(op)) {
    // The blocked dims are loops over blocks. Where too little is outside of both, a dim between or behind them joins
    // the range, else one of them.
    for (unsigned first = std::min(t->read, t->written); cut.leading < first; ++cut.leading)
      take(cut.leading);
    auto guess = [&](unsigned dim) { return guessExtent(staticLoopExtent(op, dim)); };
    if (extent >= side)
      return cut;
    for (unsigned dim = cut.leading; dim < loops; ++dim)
      if (dim != t->read && dim != t->written && guess(dim) >= side && (!cut.inner || guess(dim) > guess(*cut.inner)))
        cut.inner = dim;
    if (!cut.inner)
      cut.inner = guess(t->read) >= guess(t->written) ? t->read : t->written;
    return cut;
  }
  // Few outer iterations (a batch, heads) would not feed the threads: take the next dim along, but leave a loop inside.
  while (cut.leading + 1 < loops && iterators[cut.leading] == IteratorType::parallel && extent < enoughIterations)
    take(cut.leading++);
  // Still few: take a dim along that is long enough to be cut, or any that is alone.
  constexpr int64_t longRow = 1024;
  bool alone =
      extent == 1 && llvm::all_of(llvm::seq(cut.leading), [&](unsigned dim) { return staticLoopExtent(op, dim) == 1; });
  for (unsigned dim = cut.leading; dim < loops && extent < enoughIterations && !cut.inner; ++dim) {
    int64_t size = staticLoopExtent(op, dim);
    if (iterators[dim] == IteratorType::parallel && size != 1 &&
        (alone || ShapedType::isDynamic(size) || size >= longRow))
      cut.inner = dim;
  }
  if (alone)
    cut.leading = 0;
  return cut;
}

double nsPerPoint(linalg::GenericOp op) {
  double ns = 0.05 * static_cast<double>(op.getBlock()->getOperations().size());
  for (Value operand : op->getOperands())
    if (auto type = dyn_cast<MemRefType>(operand.getType()))
      ns += static_cast<double>(elementBytes(type.getElementType())) / 40.0;
  op.getBlock()->walk([&](Operation *inner) {
    if (isa<math::MathDialect>(inner->getDialect()) && !isa<math::AbsFOp, math::FmaOp>(inner))
      ns += 0.3;
  });
  return ns;
}

// A declared sum may be reassociated: without it LLVM may not vectorise the loop. That holds along the dim in which all
// that is summed up is contiguous. A sum across it is vectorised along what is contiguous instead, and keeps its order:
// else LLVM would turn to the sum where a chunk leaves one element of the contiguous dim, and results would differ.
void setReassociation(linalg::GenericOp op, Block *body) {
  unsigned last = op.getNumLoops() - 1;
  // A window (i * stride + last) is contiguous as well.
  auto isContiguous = [&](AffineExpr place) {
    AffineExpr rest = place - getAffineDimExpr(last, op.getContext());
    return !simplifyAffineExpr(rest, op.getNumLoops(), 0).isFunctionOfDim(last);
  };
  bool along = op.getIteratorTypesArray().back() == IteratorType::reduction;
  for (OpOperand *input : op.getDpsInputOperands()) {
    AffineMap map = op.getMatchingIndexingMap(input);
    along &= !map.isFunctionOfDim(last) || isContiguous(map.getResults().back());
  }
  auto yield = cast<linalg::YieldOp>(body->getTerminator());
  unsigned numInputs = op.getNumDpsInputs();
  for (auto [index, value] : llvm::enumerate(yield.getValues())) {
    auto sum = value.getDefiningOp<arith::AddFOp>();
    if (!sum)
      continue;
    Value accumulator = body->getArgument(numInputs + index);
    if (sum.getLhs() != accumulator && sum.getRhs() != accumulator)
      continue;
    arith::FastMathFlags others = sum.getFastmath() & ~arith::FastMathFlags::reassoc;
    sum.setFastmath(along ? others | arith::FastMathFlags::reassoc : others);
  }
}
} // namespace

KernelRange codegen::planGeneric(linalg::GenericOp op) {
  KernelRange range;
  double ns = nsPerPoint(op);
  if (isFlat(op)) {
    for (unsigned dim = 0; dim < op.getNumLoops(); ++dim)
      range.factors.push_back({{*loopExtent(op, dim)}});
    range.grain = llvm::alignTo(grainOf(ns), 1024); // whole vectors and cache lines for every thread
    return range;
  }
  Cut cut = cutOf(op);
  for (unsigned dim = 0; dim < op.getNumLoops(); ++dim) {
    if (cut.has(dim))
      range.factors.push_back({{*loopExtent(op, dim)}});
    else
      ns *= guessExtent(staticLoopExtent(op, dim));
  }
  range.grain = grainOf(ns);
  if (auto t = Transposition::of(op); t && cut.inner && (*cut.inner == t->read || *cut.inner == t->written))
    range.grain = llvm::alignTo(range.grain, side);
  return range;
}

LogicalResult codegen::lowerGeneric(linalg::GenericOp op, CpuKernelBuilder &b) {
  unsigned loops = op.getNumLoops();
  if (op.getNumReductionLoops())
    setReassociation(op, op.getBlock());
  GenericCode code(op, b);
  ArrayRef<Value> sizes = code.sizes, operands = code.operands;
  auto point = [&](ValueRange indices) { code.store(indices, code.compute(indices, {})); };

  if (code.flat) {
    b.loop(b.lo, b.hi, 1, [&](Value i) { point(i); });
    return success();
  }
  Cut cut = cutOf(op);
  SmallVector<Value> indices(loops);
  std::optional<Transposition> transposition = Transposition::of(op);
  std::optional<unsigned> beside = transposition ? transposition->beside : std::nullopt;
  if (beside && *beside < cut.leading)
    beside.reset();
  // The innermost dim of the range, and what is to be done of it here.
  unsigned last = cut.inner.value_or(cut.leading - 1);
  Value first, end;
  auto from = [&](unsigned dim) { return cut.has(dim) && dim == last ? first : b.constant(0); };
  auto to = [&](unsigned dim) { return cut.has(dim) && dim == last ? end : sizes[dim]; };

  auto block = [&](Value r0, Value w0) {
    unsigned read = transposition->read, written = transposition->written, input = transposition->input;
    Value size = b.constant(side);
    Value r1 = b.min(b.add(r0, size), to(read)), w1 = b.min(b.add(w0, size), to(written));
    auto plain = [&] {
      b.loop(r0, r1, 1, [&](Value r) {
        b.loop(w0, w1, 1, [&](Value w) {
          indices[read] = r;
          indices[written] = w;
          point(indices);
        });
      });
    };
    if (!isMove(op) || b.target.vectorBits < 512)
      return plain();
    int64_t extent = staticLoopExtent(op, read), columns = ShapedType::isDynamic(extent) ? side : std::min(extent, side);
    Value whole = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, b.mul(b.sub(r1, r0), b.sub(w1, w0)),
                                        b.constant(side * columns));
    auto choose = scf::IfOp::create(b, whole, /*withElse=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(choose.thenBlock());
    moveBlock(
        b,
        [&](int64_t i) {
          indices[read] = r0;
          indices[written] = b.add(w0, b.constant(i));
          return b.apply(op.getMatchingIndexingMap(&op->getOpOperand(input)), indices);
        },
        operands[input],
        [&](int64_t i) {
          indices[read] = b.add(r0, b.constant(i));
          indices[written] = w0;
          return b.apply(op.getMatchingIndexingMap(op.getDpsInitOperand(0)), indices);
        },
        operands.back(), columns);
    b.setInsertionPointToStart(choose.elseBlock());
    plain();
  };
  // The blocks of the two dims; with a dim beside, each at `side` of its places in turn.
  auto blocks = [&] {
    auto walk = [&](function_ref<void(Value, Value)> body) {
      b.loop(from(transposition->read), to(transposition->read), side, [&](Value r0) {
        b.loop(from(transposition->written), to(transposition->written), side, [&](Value w0) { body(r0, w0); });
      });
    };
    if (!beside)
      return walk(block);
    b.loop(from(*beside), to(*beside), side, [&](Value i0) {
      walk([&](Value r0, Value w0) {
        b.loop(i0, b.min(b.add(i0, b.constant(side)), to(*beside)), 1, [&](Value i) {
          indices[*beside] = i;
          block(r0, w0);
        });
      });
    });
  };
  // Innermost reduction loops keep what they reduce in registers, which LLVM could not do where operands may alias.
  unsigned firstReduction = loops;
  SmallVector<IteratorType> iterators = op.getIteratorTypesArray();
  while (firstReduction > cut.leading && iterators[firstReduction - 1] == IteratorType::reduction)
    --firstReduction;
  std::function<SmallVector<Value>(unsigned, ValueRange)> reduce = [&](unsigned dim, ValueRange outputs) {
    if (dim == loops)
      return code.compute(indices, outputs);
    auto loop = scf::ForOp::create(b, b.constant(0), sizes[dim], b.constant(1), outputs);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    indices[dim] = loop.getInductionVar();
    scf::YieldOp::create(b, reduce(dim + 1, loop.getRegionIterArgs()));
    return SmallVector<Value>(loop.getResults());
  };
  std::function<void(unsigned)> nest = [&](unsigned dim) {
    if (dim == firstReduction && dim < loops)
      return code.store(indices, reduce(dim, code.loadOutputs(indices)));
    if (dim == loops)
      return transposition ? blocks() : point(indices);
    if (transposition && (dim == transposition->read || dim == transposition->written || dim == beside))
      return nest(dim + 1);
    b.loop(from(dim), to(dim), 1, [&](Value i) {
      indices[dim] = i;
      nest(dim + 1);
    });
  };
  SmallVector<Value> range;
  for (unsigned dim = 0; dim < loops; ++dim)
    if (cut.has(dim))
      range.push_back(sizes[dim]);
  b.overRange(range, [&](ArrayRef<Value> outer, Value lo, Value hi) {
    llvm::copy(outer, indices.begin());
    first = lo;
    end = hi;
    nest(outer.size());
  });
  return success();
}
