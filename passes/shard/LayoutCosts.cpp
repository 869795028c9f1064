// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/LayoutCosts.h"
#include "dialects/nn/NnDialect.h"
#include "passes/shard/RowsInParts.h"

using namespace mlir;
using namespace snug;

Topology snug::uniformTopology(int64_t devices) {
  Topology topology;
  topology.name = "uniform";
  topology.levels.push_back({devices, 10e9, 10e9, 10e-6});
  return topology;
}

LayoutCosts::LayoutCosts(ModuleOp module, const MeshExtents &mesh, const Topology &topology, const Machine &machine, int threads,
                         ArrayRef<PhasePoint> points)
    : mesh(mesh), rings(ringsOf(topology, {mesh[0], mesh[1]})), machine(machine), threads(threads) {
  for (const PhasePoint &point : points)
    phases.push_back({point.runs, IndexBounds(module, point.atMost)});
}

double LayoutCosts::seconds(llvm::function_ref<StatedTraffic(size_t)> trafficOf) const {
  double sum = 0;
  for (auto [number, phase] : llvm::enumerate(phases)) {
    StatedTraffic traffic = trafficOf(number);
    double once = traffic.compute_s;
    for (size_t r = 0; r < kRings; ++r)
      once += traffic.collectives[r] * rings[r].latency + traffic.bytes[r] / rings[r].bandwidth;
    sum += phase.runs * once;
  }
  return sum;
}

StatedTraffic LayoutCosts::resharding(double bytes, const TensorLayout &from, const TensorLayout &to) const {
  StatedTraffic traffic;
  TensorLayout now = from;
  double copied = machine.memory_bytes_per_s.front();
  auto over = [&](int axis, double whole, double collectives, double passes = 1) {
    auto n = static_cast<double>(mesh[axis]);
    traffic.collectives[axis] += collectives;
    traffic.bytes[axis] += passes * whole * (n - 1) / n;
  };
  for (const ReshardStep &step : planResharding(from, to, mesh)) {
    double local = bytes * std::max(shareOf(now, mesh), shareOf(after(now, step), mesh));
    // Whatever moves is laid out for it, or after it: copied once.
    traffic.compute_s += bytes * std::min(shareOf(now, mesh), shareOf(after(now, step), mesh)) / copied;
    now = after(now, step);
    switch (step.kind) {
    case ReshardStep::Slice:
      break;
    case ReshardStep::AllReduceBoth: // the parts of axis 1 over axis 0
      over(1, local, 2, 2);
      over(0, local / static_cast<double>(mesh[1]), 1, 2);
      break;
    case ReshardStep::AllReduce:
      over(step.axis, local, 1, 2);
      break;
    default:
      over(step.axis, local, 1);
    }
  }
  return traffic;
}

StatedTraffic LayoutCosts::doing(size_t phase, Operation *op, const ShardRule &rule, const OpCuts &cuts) {
  int64_t group = 1;
  double rows = 0, share = 1, others = 1; // others: of the rows, that a device has to do with
  size_t ring = 0;
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    if (!cuts[axis])
      continue;
    share /= static_cast<double>(mesh[axis]);
    if (!rule.isRow(cuts[axis]->dim)) {
      others /= static_cast<double>(mesh[axis]);
      continue;
    }
    ring = group == 1 ? static_cast<size_t>(axis) : 2;
    group *= mesh[axis];
    auto type = cast<ShapedType>(op->getOperand(0).getType());
    double bytes = static_cast<double>(tensorBytes(op->getOperand(0), phases[phase].bounds).value_or(0));
    rows = bytes / static_cast<double>(elementBytes(type.getElementType()) * rule.extents()[cuts[axis]->dim]);
  }
  StatedTraffic traffic;
  traffic.compute_s = computing(phase, op, share);
  if (group > 1) {
    traffic.collectives[ring] = 1;
    traffic.bytes[ring] = rows * others * bytesOfRowInParts(op, group);
  }
  return traffic;
}

double LayoutCosts::replicating(double bytes) const {
  constexpr double least = 1e-6, timesSent = 1e4; // s/byte; as if each were sent so often over the slowest link
  double slowest = std::min(rings[0].bandwidth, rings[1].bandwidth);
  return bytes * std::max(least, timesSent / slowest);
}

LayoutCosts::Bytes LayoutCosts::bytesOf(Value value) {
  Bytes bytes;
  for (Phase &phase : phases)
    bytes.push_back(static_cast<double>(tensorBytes(value, phase.bounds).value_or(0)));
  return bytes;
}

double LayoutCosts::computing(size_t phase, Operation *op, double share) {
  IndexBounds &bounds = phases[phase].bounds;
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
    cost.far_bytes += static_cast<double>(tensorBytes(operand, bounds).value_or(0)) * share;
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
