// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Losses of classes: the negative logarithm of the probability that the right class has, weighed and reduced.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/ScalarKernel.h"
#include "passes/canonicalize/ops/Rows.h"

using namespace mlir;
using namespace snug;

namespace {
FailureOr<LoweredValue> negativeLogLikelihood(Lowering &l, LoweredValue &logs) {
  LoweredValue &target = l.input(1);
  StringRef reduction = l.stringAttr("reduction", "mean");
  if (!llvm::is_contained({"none", "sum", "mean"}, reduction)) {
    l.error() << "reduction '" << reduction << "' is none that the standard knows";
    return failure();
  }
  std::optional<int64_t> ignored;
  if (auto attribute = dyn_cast_or_null<IntegerAttr>(l.attr("ignore_index")))
    ignored = attribute.getInt();
  bool fits = logs.rank() >= 2 && target.rank() == logs.rank() - 1 && l.same(target.shape[0], logs.shape[0]);
  for (int64_t dim = 1; fits && dim < target.rank(); ++dim)
    fits = l.same(target.shape[dim], logs.shape[dim + 1]);
  if (!fits || !isa<FloatType>(logs.elementType) || !isa<IntegerType>(target.elementType)) {
    l.error() << "targets of shape " << l.print(target.shape) << " do not fit scores of shape " << l.print(logs.shape);
    return failure();
  }
  // A point is a target; beside its loss, its weight.
  unsigned rank = target.rank();
  SmallVector<int> classes = {0, ScalarKernel::Any};
  for (unsigned dim = 1; dim < rank; ++dim)
    classes.push_back(dim);
  ScalarKernel kernel(l, rank);
  unsigned from = kernel.read(logs, classes), at = kernel.read(target, dimsInOrder(rank)), weights = 0;
  bool weighs = l.hasInput(2);
  if (weighs)
    weights = kernel.read(l.input(2), {ScalarKernel::Any});
  Type type = logs.elementType, real = kernel.computedType(from);
  unsigned losses = kernel.write(target.shape, type, dimsInOrder(rank));
  unsigned shares = reduction == "mean" ? kernel.write(target.shape, type, dimsInOrder(rank)) : 0;
  std::vector<LoweredValue> made = kernel.build([&](ScalarCode &c, ValueRange i) {
    Value label = c.load(at, i), zero = c.number(real, 0), extent = c.extent(from, 1);
    Value place = c.clamp(c.fromEnd(c.toIndex(label), extent), extent);
    SmallVector<Value> read = {i[0], place};
    llvm::append_range(read, i.drop_front());
    Value weight = weighs ? c.load(weights, {place}) : c.number(real, 1);
    Value loss = c.mul(c.sub(zero, c.load(from, read)), weight);
    if (ignored) {
      Value isIgnored = c.equal(label, c.number(label.getType(), static_cast<double>(*ignored)));
      loss = c.select(isIgnored, zero, loss);
      weight = c.select(isIgnored, zero, weight);
    }
    c.store(loss, losses, i);
    if (shares)
      c.store(weight, shares, i);
  });
  if (reduction == "none")
    return made[0];
  SmallVector<bool> all(rank, true);
  LoweredValue sum = l.reduce(Reduction::Sum, made[0], all);
  if (reduction == "sum")
    return sum;
  LoweredValue share = l.reduce(Reduction::Sum, made[1], all);
  return l.elementwise({&sum, &share}, type, [](OpBuilder &b, Location loc, ValueRange x) -> Value {
    return b.createOrFold<arith::DivFOp>(loc, x[0], x[1]);
  });
}

LogicalResult likelihoodLoss(Lowering &l) {
  LoweredValue logs = l.input(0);
  return finish(l, negativeLogLikelihood(l, logs));
}

LogicalResult crossEntropyLoss(Lowering &l) {
  LoweredValue scores = l.input(0);
  if (scores.rank() < 2)
    return l.error() << "scores of shape " << l.print(scores.shape) << " have no dim of classes";
  auto logs = logSoftmaxAlong(l, scores, 1);
  if (failed(logs) || failed(finish(l, negativeLogLikelihood(l, *logs))))
    return failure();
  l.define(1, *logs);
  return success();
}
} // namespace

void snug::addLossOps(LoweringTable &t) {
  t.add("NegativeLogLikelihoodLoss", 12, likelihoodLoss);
  t.add("SoftmaxCrossEntropyLoss", 12, crossEntropyLoss);
}
