// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/LayoutCosts.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/KernelRule.h"
#include "lib/solver/MeshRings.h"
#include "passes/shard/KeysInParts.h"
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

LayoutCosts::Size LayoutCosts::sizeOf(Value tensor) {
  Size size{bytesOf(tensor), {}};
  for (int64_t dim = 0; dim < cast<RankedTensorType>(tensor.getType()).getRank(); ++dim) {
    std::optional<Interval> extent = bounds.ofDim(tensor, dim);
    size.extents.push_back(extent ? extent->max : 0);
  }
  return size;
}

double LayoutCosts::holding(const Size &size, const TensorLayout &layout) const {
  return size.bytes * shareOf(layout, mesh, size.extents) / machine.memory_bytes_per_s.front();
}

double LayoutCosts::resharding(const Size &size, const TensorLayout &from, const TensorLayout &to) const {
  double seconds = 0;
  TensorLayout now = from;
  double copied = machine.memory_bytes_per_s.front();
  auto over = [&](int axis, double whole) {
    auto n = static_cast<double>(mesh[axis]);
    return links[axis].latency_s + whole * (n - 1) / n / links[axis].bytes_per_s;
  };
  for (const ReshardStep &step : planResharding(from, to, mesh)) {
    double before = shareOf(now, mesh, size.extents);
    now = after(now, step);
    double later = shareOf(now, mesh, size.extents), local = size.bytes * std::max(before, later);
    // Whatever moves is laid out for it, or after it: copied once.
    seconds += size.bytes * std::min(before, later) / copied;
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

static int64_t valueSizeOf(nn::AttentionOp op) {
  AffineMap map = op.getMaps().back();
  auto place = map.getResultPosition(getAffineDimExpr(op.valueSizeDim(), op.getContext()));
  return std::max<int64_t>(1, cast<ShapedType>(op.getInit().getType()).getDimSize(*place));
}

double LayoutCosts::joiningRows(Operation *op, const ShardRule &rule, const OpCuts &cuts) {
  int64_t group = 1;
  double latency = 0, bandwidth = std::numeric_limits<double>::infinity(), share = 1, bytes = 0;
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    if (!cuts[axis])
      continue;
    unsigned dim = cuts[axis]->dim;
    if (!rule.isRow(dim) && !rule.isKeys(dim)) {
      share /= static_cast<double>(mesh[axis]);
      continue;
    }
    group *= mesh[axis];
    latency = std::max(latency, links[axis].latency_s);
    bandwidth = std::min(bandwidth, links[axis].bytes_per_s);
    bytes = rule.isRow(dim) ? rowsOf(op->getOperand(0), rule.extents()[dim]) * bytesOfRowInParts(op, group)
                            : rowsOf(op->getResult(0), valueSizeOf(cast<nn::AttentionOp>(op))) * bytesOfKeysInParts(group);
  }
  return group == 1 ? 0 : latency + share * bytes / bandwidth;
}

// How many rows of that length a tensor has.
double LayoutCosts::rowsOf(Value tensor, int64_t length) {
  return bytesOf(tensor) / static_cast<double>(elementBytes(cast<ShapedType>(tensor.getType()).getElementType()) * length);
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

// Of its iterations, with those that are filled up.
double LayoutCosts::shareOfOp(Operation *op, const ShardRule &rule, const OpCuts &cuts) {
  TensorLayout layout;
  std::vector<int64_t> extents(rule.extents().begin(), rule.extents().end());
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    if (!cuts[axis])
      continue;
    layout[axis] = AxisLayout::cut(cuts[axis]->dim, cuts[axis]->segments);
    if (int64_t &extent = extents[cuts[axis]->dim]; extent == AxisLayout::kOpen) {
      auto [tensor, dim] = tensorOf(op, rule, *cuts[axis]);
      auto bound = bounds.ofDim(tensor, dim);
      extent = bound ? bound->max : 0;
    }
  }
  return shareOf(layout, mesh, extents);
}

double LayoutCosts::computing(Operation *op, const ShardRule &rule, const OpCuts &cuts) {
  double share = shareOfOp(op, rule, cuts);
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  FailureOr<IndexRule> index = rules ? rules.getIndexRule() : FailureOr<IndexRule>(failure());
  if (failed(index) || !isa<DestinationStyleOpInterface>(op))
    return 0;
  SmallVector<int64_t> extents(index->dims.size(), 1);
  KernelCost cost;
  for (auto [number, map] : llvm::enumerate(index->operands)) {
    Value operand = op->getOperand(number);
    auto type = dyn_cast<RankedTensorType>(operand.getType());
    if (!type)
      continue;
    cost.far_bytes += bytesOf(operand) * share;
    auto atLeast = [&](AffineExpr dim, int64_t extent) {
      int64_t &known = extents[cast<AffineDimExpr>(dim).getPosition()];
      known = std::max(known, extent);
    };
    for (unsigned dim = 0; map && dim < map.getNumResults(); ++dim) {
      AffineExpr expr = map.getResult(dim);
      auto sum = dyn_cast<AffineBinaryOpExpr>(expr);
      auto product = sum ? dyn_cast<AffineBinaryOpExpr>(sum.getLHS()) : nullptr;
      if (isa<AffineDimExpr>(expr)) {
        if (std::optional<Interval> extent = bounds.ofDim(operand, dim))
          atLeast(expr, extent->max);
      } else if (product && product.getKind() == AffineExprKind::Mul && isa<AffineDimExpr>(sum.getRHS())) {
        if (auto factor = dyn_cast<AffineConstantExpr>(product.getRHS())) // dims that are merged
          atLeast(sum.getRHS(), factor.getValue());
      }
    }
  }
  KernelRule kernel = kernelRule(op, *index, extents);
  cost.work = KernelWork{kernel.contraction, kernel.attention, kernel.transcendental,
                         kernel.elementwise, kernel.reduction, kernel.strided}.times(share);
  return kernelTime(machine, cost, threads);
}
