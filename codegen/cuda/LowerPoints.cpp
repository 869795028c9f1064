// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels of which a thread makes one element of the result, by the loops that are left: contractions and gathers.
#include "codegen/cuda/Kernels.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/TypeSwitch.h"
#include <numeric>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace {
// The dims that threads are dealt along, in order.
SmallVector<ExtentPlace> pointDims(Operation *op) {
  SmallVector<ExtentPlace> dims;
  unsigned init = op->getNumOperands() - 1;
  for (unsigned dim = 0; dim < cast<MemRefType>(op->getOperand(init).getType()).getRank(); ++dim)
    dims.push_back({init, dim});
  return dims;
}

SmallVector<Value> sizesOf(Operation *op, ArrayRef<ExtentPlace> dims, KernelBuilder &b) {
  return llvm::map_to_vector(dims, [&](ExtentPlace place) { return b.size(op, place); });
}
} // namespace

// Neighbouring points that a thread does: of a gather of whole rows, as many as a vector has.
static int64_t unitOf(Operation *op) {
  auto gather = dyn_cast<nn::GatherOp>(op);
  if (!gather || gather.getWeights())
    return 1;
  auto init = cast<MemRefType>(gather.getInit().getType());
  bool areRows = init.getRank() > static_cast<int64_t>(gather.getAxis() + gather.getNumChosenDims());
  return areRows ? std::max<int64_t>(1, kVectorBytes / elementBytes(init.getElementType())) : 1;
}

KernelRange codegen::planPoints(Operation *op) {
  KernelRange range;
  for (ExtentPlace place : pointDims(op))
    range.factors.push_back({{place}});
  range.grain = kBlock * unitOf(op);
  return range;
}

void codegen::emitKernel(nn::GatherOp op, CudaKernelBuilder &b) {
  unsigned axis = op.getAxis(), chosen = op.getNumChosenDims();
  SmallVector<Value> sizes = sizesOf(op, pointDims(op), b);
  int64_t unit = unitOf(op), most = 1;
  if (unit > 1)
    most = std::gcd(b.lanesOf(op.getData(), b.lanesOf(op.getInit(), unit)), getConstantIntValue(sizes.back()).value_or(1));
  b.points(sizes, unit, most, [&](ArrayRef<Value> place, int64_t lanes) {
    SmallVector<Value> from(place.take_front(axis)), at(place.slice(axis, chosen));
    from.push_back({});
    llvm::append_range(from, place.drop_front(axis + chosen));
    if (!op.getWeights()) {
      from[axis] = emitGatherIndex(op, b, at);
      if (lanes == 1)
        return b.store(b.load(op.getData(), from), op.getInit(), place);
      return b.storeLanes(b.loadLanes(lanes, op.getData(), from), op.getInit(), place);
    }
    Type real = computeType(cast<FloatType>(cast<MemRefType>(op.getInit().getType()).getElementType()));
    Value taps = b.size(op.getWeights(), chosen);
    at.push_back({});
    b.store(b.reduceLoop(b.constant(0), taps, b.constantFloat(real, 0),
                         [&](Value tap, Value sum) -> Value {
                           at.back() = tap;
                           from[axis] = emitGatherIndex(op, b, at);
                           Value product = arith::MulFOp::create(b, b.loadWide(op.getData(), from), b.loadWide(op.getWeights(), at));
                           return arith::AddFOp::create(b, sum, product);
                         }),
            op.getInit(), place);
  });
}
