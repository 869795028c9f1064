// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// linalg.generic: elementwise ops and sums.
#include "codegen/cuda/GenericNest.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Combiners.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
using Place = GenericNest::Place;

// The code of a thread of one kernel.
struct Emitter {
  linalg::LinalgOp op;
  const GenericPlan &plan;
  CudaKernelBuilder &b;
  GenericNest nest;
  SmallVector<unsigned> parallel, sums;

  SmallVector<Operation *> combiners; // of sums in parts
  Value block, partOfBlock;           // this one, of those of its part; the part, of a partial_reduce

  Emitter(linalg::LinalgOp op, const GenericPlan &plan, CudaKernelBuilder &b)
      : op(op), plan(plan), b(b), nest(op, plan, b), parallel(plan.select(/*isSum=*/false)),
        sums(plan.select(/*isSum=*/true)), combiners(combinersOf(op)), block(b.block()) {
    if (plan.part) { // those of a part are side by side
      Value blocks = b.ceilDiv(product(parallelSizes()), plan.pointsOfBlock());
      partOfBlock = b.div(block, blocks);
      block = b.rem(block, blocks);
    }
    // Orders are chosen here; left to the compiler, they would differ from kernel to kernel.
    for (Operation *add : combiners)
      if (auto sum = dyn_cast<arith::ArithFastMathInterface>(add))
        add->setAttr(sum.getFastMathAttrName(), arith::FastMathFlagsAttr::get(b.getContext(), sum.getFastMathFlagsAttr().getValue() & ~arith::FastMathFlags::reassoc));
  }

  SmallVector<Value> parallelSizes() {
    return llvm::map_to_vector(parallel, [&](unsigned loop) { return nest.sizes[loop]; });
  }
  // A place of the parallel loops; 0 along the sums.
  Place placeOf(ArrayRef<Value> at, int64_t lanes = 1) {
    Place place{SmallVector<Value>(plan.loops.size(), b.constant(0)), parallel.empty() ? 0 : parallel.back(), lanes};
    for (auto [loop, index] : llvm::zip(parallel, at))
      place.indices[loop] = index;
    if (plan.part)
      place.indices[*plan.part] = partOfBlock;
    return place;
  }
  // Worker `number` of `each` that work on a part, among those of all parts.
  Value ofAllParts(Value number, int64_t each) { return plan.part ? b.add(b.mul(partOfBlock, b.constant(each)), number) : number; }
  Place placeOf(Value point) { return placeOf(b.delinearize(point, parallelSizes())); }

  // All of a result by one thread, in the order of the loops; sums stay in registers.
  SmallVector<Value> inSequence(Place place) {
    std::function<SmallVector<Value>(unsigned, ValueRange)> reduce = [&](unsigned number, ValueRange values) {
      if (number == sums.size())
        return nest.compute(place, values);
      auto loop = scf::ForOp::create(b, b.constant(0), nest.sizes[sums[number]], b.constant(1), values);
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      place.indices[sums[number]] = loop.getInductionVar();
      scf::YieldOp::create(b, reduce(number + 1, loop.getRegionIterArgs()));
      return SmallVector<Value>(loop.getResults());
    };
    return reduce(0, sums.empty() ? SmallVector<Value>() : nest.loadOutputs(place));
  }

  Value product(ArrayRef<Value> sizes) {
    Value total = b.constant(1);
    for (Value size : sizes)
      total = b.mul(total, size);
    return total;
  }

  void points() {
    SmallVector<Value> sizes = parallelSizes();
    int64_t lanes = 1;
    if (!parallel.empty() && sums.empty()) {
      lanes = nest.vectorLanes(parallel.back(), plan.unit);
      // Of several loops, a vector may not reach into the next row.
      if (parallel.size() > 1)
        lanes = std::gcd(lanes, getConstantIntValue(sizes.back()).value_or(1));
    }
    b.points(sizes, plan.unit, lanes, [&](ArrayRef<Value> at, int64_t lanesHere) {
      Place place = placeOf(at, lanesHere);
      nest.store(place, inSequence(place));
    });
  }

  // Of output `number`: x and y are sums of parts.
  Value combine(unsigned number, Value x, Value y) {
    IRMapping mapping;
    Value sum = op.getBlock()->getArgument(op.getNumDpsInputs() + number);
    for (Value operand : combiners[number]->getOperands())
      mapping.map(operand, operand == sum ? x : y);
    return b.clone(*combiners[number], mapping)->getResult(0);
  }
  Value neutral(unsigned number) { return arith::ConstantOp::create(b, *arith::getNeutralElement(combiners[number])); }

  // One part of the sums at `place`: elements [unit * (first + i * stride), ... + unit) of all, in row-major order, for
  // all i. At which lanes they are added does not depend on whether they can be loaded as a vector.
  SmallVector<Value> part(Place place, Value first, int64_t stride, Value isIn = {}) {
    SmallVector<Value> sizes = llvm::map_to_vector(sums, [&](unsigned loop) { return nest.sizes[loop]; });
    int64_t unit = plan.unit, step = unit * stride;
    Value start = b.mul(first, b.constant(unit));
    Value trips = b.div(b.sub(b.add(product(sizes), b.constant(step - 1)), start), b.constant(step));
    if (isIn)
      trips = arith::SelectOp::create(b, isIn, trips, b.constant(0));
    SmallVector<Value> none;
    for (unsigned number = 0; number < combiners.size(); ++number)
      none.push_back(b.onLanes(neutral(number), unit));
    auto loop = scf::ForOp::create(b, b.constant(0), trips, b.constant(1), none);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      Value at = b.add(start, b.mul(loop.getInductionVar(), b.constant(step)));
      for (auto [sum, index] : llvm::zip(sums, b.delinearize(at, sizes)))
        place.indices[sum] = index;
      place.along = sums.back();
      SmallVector<Value> results, soFar(loop.getRegionIterArgs());
      if (nest.vectorLanes(place.along, unit) == unit) {
        place.lanes = unit;
        for (Value result : nest.compute(place, soFar))
          results.push_back(b.onLanes(result, unit));
      } else {
        Value index = place.indices[place.along];
        SmallVector<SmallVector<Value>> lanes(combiners.size());
        for (int64_t lane = 0; lane < unit; ++lane) {
          place.indices[place.along] = b.add(index, b.constant(lane));
          SmallVector<Value> scalars = llvm::map_to_vector(
              soFar, [&](Value vector) { return vector::ExtractOp::create(b, vector, lane).getResult(); });
          for (auto [all, result] : llvm::zip(lanes, nest.compute(place, scalars)))
            all.push_back(result);
        }
        for (auto [all, vector] : llvm::zip(lanes, soFar))
          results.push_back(vector::FromElementsOp::create(b, vector.getType(), all));
      }
      scf::YieldOp::create(b, results);
    }
    SmallVector<Value> parts;
    for (auto [number, vector] : llvm::enumerate(loop.getResults())) {
      if (unit == 1) {
        parts.push_back(vector);
        continue;
      }
      Value sum = vector::ExtractOp::create(b, vector, 0);
      for (int64_t lane = 1; lane < unit; ++lane)
        sum = combine(number, sum, vector::ExtractOp::create(b, vector, lane));
      parts.push_back(sum);
    }
    return parts;
  }

  // Adds them to the outputs. A part is all that its output has.
  void finish(const Place &place, ArrayRef<Value> totals) {
    if (plan.part)
      return nest.store(place, totals);
    SmallVector<Value> before = nest.loadOutputs(place), after;
    for (auto [number, values] : llvm::enumerate(llvm::zip(before, totals)))
      after.push_back(combine(number, std::get<0>(values), std::get<1>(values)));
    nest.store(place, after);
  }

  void rows() {
    bool byWarp = plan.threads == kWarp;
    Value row = byWarp ? b.add(b.mul(b.block(), b.constant(kBlock / kWarp)), b.warpInBlock()) : block;
    Value worker = byWarp ? b.lane() : b.thread();
    auto body = [&] {
      Place place = placeOf(row);
      SmallVector<Value> totals = part(place, ofAllParts(worker, plan.threads), plan.threads * plan.parts);
      for (auto [number, total] : llvm::enumerate(totals)) {
        auto both = [&, number = number](Value x, Value y) { return combine(number, x, y); };
        total = byWarp ? b.reduceWarp(total, both) : b.reduceBlock(total, neutral(number), both);
      }
      b.ifTrue(b.isBelow(worker, b.constant(1)), [&] { finish(place, totals); });
    };
    if (!byWarp)
      return body();                                          // as many blocks as rows
    b.ifTrue(b.isBelow(row, product(parallelSizes())), body); // whole warps are in or out
  }

  void columns() {
    constexpr int64_t warps = kBlock / kWarp;
    Value lane = b.lane(), warp = b.warpInBlock();
    Value point = b.add(b.mul(block, b.constant(kWarp)), lane);
    Value isIn = b.isBelow(point, product(parallelSizes()));
    Place place = placeOf(point);
    SmallVector<Value> parts = part(place, ofAllParts(warp, warps), warps * plan.parts, isIn), buffers;
    for (Value sum : parts) {
      buffers.push_back(b.shared({warps, kWarp}, sum.getType()));
      b.store(sum, buffers.back(), {warp, lane});
    }
    b.barrier();
    Value isFirst = b.isBelow(b.thread(), b.constant(kWarp));
    b.ifTrue(arith::AndIOp::create(b, isFirst, isIn), [&] {
      SmallVector<Value> totals;
      for (auto [number, buffer] : llvm::enumerate(buffers)) {
        Value total = b.load(buffer, {b.constant(0), lane});
        for (int64_t other = 1; other < warps; ++other)
          total = combine(number, total, b.load(buffer, {b.constant(other), lane}));
        totals.push_back(total);
      }
      finish(place, totals);
    });
  }

  void tiles() {
    constexpr int64_t warps = kBlock / kWarp;
    SmallVector<Value> counts;
    for (unsigned loop : parallel)
      counts.push_back(loop == plan.read || loop == plan.written ? b.ceilDiv(nest.sizes[loop], kTile)
                                                                 : nest.sizes[loop]);
    Place place{b.delinearize(b.block(), counts), 0, 1};
    Value read0 = b.mul(place.indices[plan.read], b.constant(kTile)),
          written0 = b.mul(place.indices[plan.written], b.constant(kTile));
    // Lines of an odd number of words (of 4 bytes, or of an element): columns of the tile are in banks of their own.
    SmallVector<Value> buffers;
    for (unsigned operand : plan.across) {
      Type element = cast<MemRefType>(nest.operands[operand].memref.getType()).getElementType();
      buffers.push_back(b.shared({kTile, kTile + std::max<int64_t>(1, 4 / elementBytes(element))}, element));
    }
    // Each lane at its place along `along`, warp after warp at those of the other loop.
    auto each = [&](unsigned along, function_ref<void(Value, Value)> body) {
      unsigned other = along == plan.read ? plan.written : plan.read;
      b.loop(b.constant(0), b.constant(kTile / warps), 1, [&](Value i) {
        Value line = b.add(b.warpInBlock(), b.mul(i, b.constant(warps)));
        place.indices[along] = b.add(along == plan.read ? read0 : written0, b.lane());
        place.indices[other] = b.add(along == plan.read ? written0 : read0, line);
        Value isIn = arith::AndIOp::create(b, b.isBelow(place.indices[along], nest.sizes[along]),
                                           b.isBelow(place.indices[other], nest.sizes[other]));
        b.ifTrue(isIn, [&] { body(line, b.lane()); });
      });
    };
    each(plan.read, [&](Value line, Value lane) {
      for (auto [operand, buffer] : llvm::zip(plan.across, buffers))
        b.store(nest.load(operand, place), buffer, {line, lane});
    });
    b.barrier();
    each(plan.written, [&](Value line, Value lane) {
      SmallVector<std::pair<unsigned, Value>> given;
      for (auto [operand, buffer] : llvm::zip(plan.across, buffers))
        given.push_back({operand, b.load(buffer, {lane, line})});
      nest.store(place, nest.compute(place, {}, given));
    });
  }
};
} // namespace

LogicalResult codegen::checkPartialReduce(nn::PartialReduceOp op) {
  if (failed(checkGeneric(op)))
    return failure();
  if (ShapedType::isDynamic(staticLoopExtent(op, op.partDim())))
    return op->emitOpError("has a number of parts that only the run tells");
  return reducesInParts(op) ? success() : op->emitOpError("combines terms in an order that may not be chosen");
}

void codegen::emitKernel(linalg::LinalgOp op, CudaKernelBuilder &b) {
  GenericPlan plan = GenericPlan::of(op);
  Emitter emitter(op, plan, b);
  switch (plan.form) {
  case GenericPlan::Form::Points:
    return emitter.points();
  case GenericPlan::Form::Rows:
    return emitter.rows();
  case GenericPlan::Form::Columns:
    return emitter.columns();
  case GenericPlan::Form::Tiles:
    return emitter.tiles();
  }
}
