// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/LayoutCosts.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/KernelRule.h"
#include "passes/shard/KeysInParts.h"
#include "passes/shard/RowsInParts.h"

using namespace mlir;
using namespace snug;

LayoutCosts::LayoutCosts(ModuleOp module, const MeshExtents &mesh, const Topology &topology, const Machine &machine, int threads,
                         ArrayRef<PhasePoint> points, const LayoutRules &rules)
    : mesh(mesh), rules(rules), rings(ringsOf(topology, {mesh[0], mesh[1]})), machine(machine), threads(threads) {
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

LayoutCosts::Size LayoutCosts::sizeOf(size_t phase, Value tensor) {
  IndexBounds &bounds = phases[phase].bounds;
  Size size{static_cast<double>(tensorBytes(tensor, bounds).value_or(0)), {}};
  for (int64_t dim = 0; dim < cast<RankedTensorType>(tensor.getType()).getRank(); ++dim) {
    std::optional<Interval> extent = bounds.ofDim(tensor, dim);
    size.extents.push_back(extent ? extent->max : 0);
  }
  return size;
}

LayoutCosts::Sizes LayoutCosts::sizesOf(Value tensor) {
  Sizes sizes;
  for (size_t phase = 0; phase < phases.size(); ++phase)
    sizes.push_back(sizeOf(phase, tensor));
  return sizes;
}

StatedTraffic LayoutCosts::holding(const Size &size, const TensorLayout &layout) const {
  StatedTraffic traffic;
  traffic.compute_s = size.bytes * shareOf(layout, mesh, size.extents) / machine.memory_bytes_per_s.front();
  return traffic;
}

StatedTraffic LayoutCosts::resharding(const Size &size, const TensorLayout &from, const TensorLayout &to) const {
  StatedTraffic traffic;
  TensorLayout now = from;
  double copied = machine.memory_bytes_per_s.front();
  auto over = [&](int axis, double whole, double collectives, double passes = 1) {
    auto n = static_cast<double>(mesh[axis]);
    traffic.collectives[axis] += collectives;
    traffic.bytes[axis] += passes * whole * (n - 1) / n;
  };
  for (const ReshardStep &step : planResharding(from, to, mesh)) {
    double before = shareOf(now, mesh, size.extents);
    now = after(now, step);
    double later = shareOf(now, mesh, size.extents), local = size.bytes * std::max(before, later);
    if (step.kind == ReshardStep::AllGather) // of parts that may be filled up
      local = size.bytes * before * static_cast<double>(mesh[step.axis]);
    else if (step.kind == ReshardStep::ReduceScatter)
      local = size.bytes * later * static_cast<double>(mesh[step.axis]);
    // Whatever moves is laid out for it, or after it: copied once.
    traffic.compute_s += size.bytes * std::min(before, later) / copied;
    switch (step.kind) {
    case ReshardStep::Slice:
    case ReshardStep::Mask:
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

static int64_t valueSizeOf(nn::AttentionOp op) {
  AffineMap map = op.getMaps().back();
  auto place = map.getResultPosition(getAffineDimExpr(op.valueSizeDim(), op.getContext()));
  return std::max<int64_t>(1, cast<ShapedType>(op.getInit().getType()).getDimSize(*place));
}

StatedTraffic LayoutCosts::doing(size_t phase, Operation *op, const ShardRule &rule, const OpCuts &cuts) {
  int64_t group = 1;
  double sent = 0;
  OpCuts others = cuts; // by which it has to do with some of the rows only
  size_t ring = 0;
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    if (!cuts[axis])
      continue;
    unsigned dim = cuts[axis]->dim;
    if (!rule.isRow(dim) && !rule.isKeys(dim))
      continue;
    others[axis].reset();
    ring = group == 1 ? static_cast<size_t>(axis) : 2;
    group *= mesh[axis];
    sent = rule.isRow(dim) ? rowsOf(phase, op->getOperand(0), rule.extents()[dim]) * bytesOfRowInParts(op, group)
                           : rowsOf(phase, op->getResult(0), valueSizeOf(cast<nn::AttentionOp>(op))) * bytesOfKeysInParts(group);
  }
  StatedTraffic traffic;
  traffic.compute_s = computing(phase, op, shareOfOp(phase, op, rule, cuts));
  if (group > 1) {
    traffic.collectives[ring] = 1;
    traffic.bytes[ring] = sent * shareOfOp(phase, op, rule, others);
  }
  addRing(phase, op, rule, cuts, traffic);
  return traffic;
}

// Of keys and values that go round: those that a device has are sent while its rows attend to them.
void LayoutCosts::addRing(size_t phase, Operation *op, const ShardRule &rule, const OpCuts &cuts, StatedTraffic &traffic) {
  double steps = 1, sending = 0, shifts = 0;
  for (int axis = kMeshAxes - 1; axis >= 0; --axis) {
    if (!cuts[axis] || !cuts[axis]->isRing)
      continue;
    // Of two rings that of axis 1 turns once for each device along axis 0.
    double around = axis == 1 && cuts[0] && cuts[0]->isRing ? static_cast<double>(mesh[0]) : 1;
    double times = around * static_cast<double>(mesh[axis] - 1);
    for (unsigned operand : {1, 2}) {
      Size size = sizeOf(phase, op->getOperand(operand));
      double bytes = size.bytes * shareOf(*operandLayout(rule, operand, cuts, mesh), mesh, size.extents);
      traffic.collectives[axis] += times;
      traffic.bytes[axis] += times * bytes;
      sending += times * (rings[axis].latency + bytes / rings[axis].bandwidth);
    }
    steps *= static_cast<double>(mesh[axis]);
    shifts += times;
  }
  if (shifts > 0 && rules.overlaps)
    traffic.compute_s -= shifts * std::min(sending / shifts, traffic.compute_s / steps);
}

// How many rows of that length a tensor has.
double LayoutCosts::rowsOf(size_t phase, Value tensor, int64_t length) {
  auto bytes = static_cast<double>(tensorBytes(tensor, phases[phase].bounds).value_or(0));
  return bytes / static_cast<double>(elementBytes(cast<ShapedType>(tensor.getType()).getElementType()) * length);
}

// Of its iterations, with those that are filled up.
double LayoutCosts::shareOfOp(size_t phase, Operation *op, const ShardRule &rule, const OpCuts &cuts) {
  TensorLayout layout;
  std::vector<int64_t> extents(rule.extents().begin(), rule.extents().end());
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    if (!cuts[axis] || rule.isSummands(cuts[axis]->dim))
      continue;
    layout[axis] = AxisLayout::cut(cuts[axis]->dim, cuts[axis]->segments);
    if (int64_t &extent = extents[cuts[axis]->dim]; extent == AxisLayout::kOpen) {
      auto [tensor, dim] = tensorOf(op, rule, *cuts[axis]);
      auto bound = phases[phase].bounds.ofDim(tensor, dim);
      extent = bound ? bound->max : 0;
    }
  }
  return shareOf(layout, mesh, extents);
}

double LayoutCosts::replicating(double bytes) const {
  if (rules.replicatesWeights)
    return 0;
  constexpr double least = 1e-6, timesSent = 1e4; // s/byte; as if each were sent so often over the slowest link
  double slowest = std::min(rings[0].bandwidth, rings[1].bandwidth);
  return bytes * std::max(least, timesSent / slowest);
}

double LayoutCosts::computing(size_t phase, Operation *op, double share) {
  IndexBounds &bounds = phases[phase].bounds;
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
    cost.far_bytes += static_cast<double>(tensorBytes(operand, bounds).value_or(0)) * share;
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
  cost.isNarrow = kernel.isNarrow;
  KernelPieces pieces = kernelPieces(*index, kernel, extents);
  cost.pieces = std::max(1.0, share * piecesOf(machine, pieces.outer, pieces.rows, pieces.columns));
  return kernelTime(machine, cost, threads);
}
