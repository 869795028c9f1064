// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/LinearLayers.h"
#include "dialects/nn/NnDialect.h"
#include "llvm/ADT/DenseMap.h"

using namespace mlir;
using namespace snug;

// The operand that is a matrix of weights over one of whose dims the op sums.
static std::optional<unsigned> summedWeight(Operation *op, const ShardRule &rule) {
  for (unsigned i = 0; i < op->getNumOperands(); ++i) {
    auto weight = op->getOperand(i).getDefiningOp<nn::WeightOp>();
    if (!weight || cast<ShapedType>(weight.getType()).getRank() < 2)
      continue;
    for (auto [dim, extent] : llvm::enumerate(rule.extents()))
      if (rule.isReduction(dim) && extent > 0)
        if (auto layout = rule.operandLayout(i, {static_cast<unsigned>(dim), {extent}}); layout && layout->kind == AxisLayout::Cut)
          return i;
  }
  return std::nullopt;
}

LinearLayers::LinearLayers(Block &block, const CutCandidates &candidates) {
  DenseMap<Value, unsigned> depths; // 0 where nothing is said
  for (Operation &op : block) {
    unsigned depth = 0;
    op.walk([&](Operation *inner) { // what bodies read from outside counts, too
      for (Value operand : inner->getOperands())
        depth = std::max(depth, depths.lookup(operand));
    });
    const ShardRule &rule = candidates.ruleOf(&op);
    if (std::optional<unsigned> weight = summedWeight(&op, rule))
      layers[&op] = {&rule, *weight, ++depth % 2 == 1};
    for (Value result : op.getResults())
      depths[result] = depth;
  }
}

bool LinearLayers::isOf(MeshFamily family, Operation *op, const OpCuts &cuts, const MeshExtents &mesh) const {
  const Layer &layer = layers.find(op)->second;
  if (family == MeshFamily::Free || family == MeshFamily::OneD)
    return true;
  if (family == MeshFamily::HierarchicalOneD && mesh[0] > 1 && mesh[1] > 1 && cuts[0] && cuts[1] && cuts[0]->dim != cuts[1]->dim)
    return false;
  for (int axis = 0; axis < kMeshAxes; ++axis) {
    if (mesh[axis] == 1)
      continue;
    if (!cuts[axis])
      return false;
    auto layout = layer.rule->operandLayout(layer.weight, *cuts[axis]);
    if (!layout || layout->kind != AxisLayout::Cut)
      return false; // cut along rows of activations: the weights are whole
    bool wantsOutputs = layer.isFirst == ((family == MeshFamily::ColumnFirst) == (axis == 0));
    if (family != MeshFamily::HierarchicalOneD && layer.rule->isReduction(cuts[axis]->dim) == wantsOutputs)
      return false;
  }
  return true;
}

std::string snug::familyProblem(MeshFamily family, const MeshExtents &mesh) {
  int axes = (mesh[0] > 1) + (mesh[1] > 1);
  std::string text = std::to_string(mesh[0]) + "x" + std::to_string(mesh[1]);
  if (family == MeshFamily::OneD && axes == 2)
    return "1D has one ring of all devices, and " + text + " has two axes: take " + std::to_string(mesh[0] * mesh[1]) + "x1";
  if (family == MeshFamily::HierarchicalOneD && axes < 2)
    return "hierarchical 1D goes over two axes, one after the other, and " + text + " has but one with several devices: take 1D";
  return "";
}
