// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/LayoutCosts.h"
#include "dialects/nn/NnDialect.h"
#include "lib/solver/MeshRings.h"
#include "passes/shard/RowsInParts.h"
#include <limits>

using namespace mlir;
using namespace snug;

Topology snug::uniformTopology(int64_t devices) {
  Topology topology;
  topology.name = "uniform";
  topology.levels.push_back({devices, 10e9, 10e9, 10e-6});
  return topology;
}

LayoutCosts::LayoutCosts(ModuleOp module, const MeshExtents &mesh, const Topology &topology, const Machine &machine, int threads)
    : mesh(mesh), bounds(module), machine(machine), threads(threads) {
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    std::vector<LevelUse> use = ringUse(topology, {mesh[0], mesh[1]}, axis + 1);
    links[axis] = {ringBandwidth(topology, use), ringLatency(topology, use)};
  }
}

double LayoutCosts::resharding(double bytes, const TensorLayout &from, const TensorLayout &to) const {
  double seconds = 0;
  TensorLayout now = from;
  double copied = machine.memory_bytes_per_s.front();
  auto over = [&](int axis, double whole) {
    auto n = static_cast<double>(mesh[axis]);
    return links[axis].latency_s + whole * (n - 1) / n / links[axis].bytes_per_s;
  };
  for (const ReshardStep &step : planResharding(from, to, mesh)) {
    double local = bytes * std::max(shareOf(now, mesh), shareOf(after(now, step), mesh));
    // Whatever moves is laid out for it, or after it: copied once.
    seconds += bytes * std::min(shareOf(now, mesh), shareOf(after(now, step), mesh)) / copied;
    now = after(now, step);
    switch (step.kind) {
    case ReshardStep::Slice:
      break;
    case ReshardStep::AllReduceBoth: // the parts of axis 1 over axis 0
      seconds += 2 * over(1, local) + 2 * over(0, local / static_cast<double>(mesh[1])) - links[0].latency_s;
      break;
    case ReshardStep::AllReduce:
      seconds += 2 * over(step.axis, local) - links[step.axis].latency_s;
      break;
    default:
      seconds += over(step.axis, local);
    }
  }
  return seconds;
}

double LayoutCosts::joiningRows(Operation *op, const ShardRule &rule, const OpCuts &cuts) {
  int64_t group = 1;
  double latency = 0, bandwidth = std::numeric_limits<double>::infinity(), rows = 0, share = 1;
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    if (!cuts[axis])
      continue;
    if (!rule.isRow(cuts[axis]->dim)) {
      share /= static_cast<double>(mesh[axis]);
      continue;
    }
    group *= mesh[axis];
    latency = std::max(latency, links[axis].latency_s);
    bandwidth = std::min(bandwidth, links[axis].bytes_per_s);
    auto type = cast<ShapedType>(op->getOperand(0).getType());
    rows = bytesOf(op->getOperand(0)) / static_cast<double>(elementBytes(type.getElementType()) * rule.extents()[cuts[axis]->dim]);
  }
  return group == 1 ? 0 : latency + rows * share * bytesOfRowInParts(op, group) / bandwidth;
}

double LayoutCosts::replicating(double bytes) const {
  constexpr double least = 1e-6, timesSent = 1e4; // s/byte; as if each were sent so often over the slowest link
  double slowest = std::min(links[0].bytes_per_s, links[1].bytes_per_s);
  return bytes * std::max(least, timesSent / slowest);
}

double LayoutCosts::bytesOf(Value value) {
  std::optional<int64_t> bytes = tensorBytes(value, bounds);
  return bytes ? static_cast<double>(*bytes) : 0;
}

double LayoutCosts::computing(Operation *op, double share) {
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  FailureOr<IndexRule> rule = rules ? rules.getIndexRule() : FailureOr<IndexRule>(failure());
  if (failed(rule) || !isa<DestinationStyleOpInterface>(op))
    return 0;
  SmallVector<double> extents(rule->dims.size(), 1);
  KernelCost cost;
  for (auto [index, map] : llvm::enumerate(rule->operands)) {
    Value operand = op->getOperand(index);
    auto type = dyn_cast<RankedTensorType>(operand.getType());
    if (!type)
      continue;
    cost.far_bytes += bytesOf(operand) * share;
    for (unsigned dim = 0; map && dim < map.getNumResults(); ++dim)
      if (auto bare = dyn_cast<AffineDimExpr>(map.getResult(dim)))
        if (std::optional<Interval> extent = bounds.ofDim(operand, dim))
          extents[bare.getPosition()] = std::max(extents[bare.getPosition()], static_cast<double>(extent->max));
  }
  double iterations = share;
  bool contracts = isa<nn::ContractOp>(op);
  for (double extent : extents)
    iterations *= extent;
  (contracts ? cost.work.contraction : cost.work.elementwise) = contracts ? 2 * iterations : iterations;
  return kernelTime(machine, cost, threads);
}
