// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// linalg.generic: elementwise ops and sums.
#include "codegen/cuda/GenericNest.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
using Place = GenericNest::Place;

// The code of a thread of one kernel.
struct Emitter {
  linalg::GenericOp op;
  const GenericPlan &plan;
  CudaKernelBuilder &b;
  GenericNest nest;
  SmallVector<unsigned> parallel, sums;

  Emitter(linalg::GenericOp op, const GenericPlan &plan, CudaKernelBuilder &b)
      : op(op), plan(plan), b(b), nest(op, plan, b), parallel(plan.select(/*isSum=*/false)), sums(plan.select(/*isSum=*/true)) {}

  SmallVector<Value> parallelSizes() {
    return llvm::map_to_vector(parallel, [&](unsigned loop) { return nest.sizes[loop]; });
  }
  // The place of a point of the parallel loops; 0 along the sums.
  Place placeOf(Value point, int64_t lanes = 1) {
    Place place{SmallVector<Value>(plan.loops.size(), b.constant(0)), parallel.empty() ? 0 : parallel.back(), lanes};
    for (auto [loop, index] : llvm::zip(parallel, b.delinearize(point, parallelSizes())))
      place.indices[loop] = index;
    return place;
  }

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
  void emitAt(Value point, int64_t lanes) {
    Place place = placeOf(point, lanes);
    nest.store(place, inSequence(place));
  }

  void points() {
    Value total = b.constant(1);
    for (Value size : parallelSizes())
      total = b.mul(total, size);
    int64_t lanes = 1;
    if (!parallel.empty() && sums.empty()) {
      lanes = nest.vectorLanes(parallel.back(), plan.unit);
      // Of several loops, a vector may not reach into the next row.
      if (parallel.size() > 1)
        lanes = std::gcd(lanes, getConstantIntValue(nest.sizes[parallel.back()]).value_or(1));
    }
    bool hasRest = parallel.size() == 1 && (!getConstantIntValue(total) || *getConstantIntValue(total) % lanes != 0);
    Value first = b.add(b.mul(b.block(), b.constant(kBlock * plan.unit)), b.mul(b.thread(), b.constant(lanes)));
    // Neighbouring threads have neighbouring vectors.
    b.loop(b.constant(0), b.constant(plan.unit / lanes), 1, [&](Value i) {
      Value point = b.add(first, b.mul(i, b.constant(kBlock * lanes)));
      b.ifTrue(b.isBelow(point, total), [&] {
        if (!hasRest || lanes == 1)
          return emitAt(point, lanes);
        Value isRest = b.isBelow(b.sub(total, point), b.constant(lanes));
        auto choice = scf::IfOp::create(b, isRest, /*withElse=*/true);
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToStart(choice.thenBlock());
        b.loop(point, total, 1, [&](Value at) { emitAt(at, 1); });
        b.setInsertionPointToStart(choice.elseBlock());
        emitAt(point, lanes);
      });
    });
  }
};
} // namespace

void codegen::emitKernel(linalg::GenericOp op, CudaKernelBuilder &b) {
  GenericPlan plan = GenericPlan::of(op);
  Emitter(op, plan, b).points();
}
