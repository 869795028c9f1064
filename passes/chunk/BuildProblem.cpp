// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/ChunkProgram.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/KernelRule.h"
#include "lib/analysis/Liveness.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/SetVector.h"

#include <map>

using namespace mlir;
using namespace snug;

std::optional<int64_t> snug::tensorBytes(Value value, IndexBounds &bounds) {
  auto type = cast<RankedTensorType>(value.getType());
  int64_t bytes = elementBytes(type.getElementType());
  for (int64_t dim = 0; dim < type.getRank(); ++dim) {
    std::optional<Interval> extent = bounds.ofDim(value, dim);
    if (!extent || extent->max < 0 || llvm::MulOverflow(bytes, extent->max, bytes))
      return std::nullopt;
  }
  return bytes;
}

// How dim d of the iteration space stands in the map: bare, or as d * k + rest.
static DimAccess accessOf(AffineMap map, unsigned dim) {
  for (auto [position, expr] : llvm::enumerate(map.getResults())) {
    if (!expr.isFunctionOfDim(dim))
      continue;
    int64_t scale = 0;
    SmallVector<AffineExpr> terms{expr};
    while (!terms.empty()) {
      AffineExpr term = terms.pop_back_val();
      auto binary = dyn_cast<AffineBinaryOpExpr>(term);
      if (auto d = dyn_cast<AffineDimExpr>(term); d && d.getPosition() == dim) {
        scale = 1;
      } else if (binary && term.getKind() == AffineExprKind::Add) {
        terms.append({binary.getLHS(), binary.getRHS()});
      } else if (binary && term.getKind() == AffineExprKind::Mul && term.isFunctionOfDim(dim)) {
        auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
        if (factor && isa<AffineDimExpr>(binary.getLHS()))
          scale = factor.getValue();
      }
    }
    return scale > 0 ? DimAccess{static_cast<int>(position), scale} : DimAccess{};
  }
  return {};
}

static void addRule(ChunkProgram &program, ChunkNode &node, Operation *op) {
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  FailureOr<IndexRule> rule = rules ? rules.getIndexRule() : FailureOr<IndexRule>(failure());
  if (failed(rule) || node.results.size() != rule->results.size() || node.uses.size() < rule->operands.size())
    return;
  unsigned numDims = rule->dims.size();
  auto fill = [&](ChunkUse &use, AffineMap map) {
    if (!map)
      return;
    const ChunkValue &value = program.problem.values[use.value];
    if (value.extents.size() != map.getNumResults())
      return;
    for (unsigned dim = 0; dim < numDims; ++dim)
      use.access.push_back(accessOf(map, dim));
  };
  node.extents.assign(numDims, 1);
  for (auto [use, map] : llvm::zip(node.uses, rule->operands))
    fill(use, map);
  for (auto [use, map] : llvm::zip(node.results, rule->results))
    fill(use, map);
  for (auto *uses : {&node.uses, &node.results})
    for (ChunkUse &use : *uses)
      for (unsigned dim = 0; dim < use.access.size(); ++dim)
        if (use.access[dim].position >= 0) {
          int64_t extent = program.problem.values[use.value].extents[use.access[dim].position] / use.access[dim].scale;
          node.extents[dim] = std::max(node.extents[dim], extent);
        }
  for (const IterDim &dim : rule->dims)
    node.parallel.push_back(dim.kind == IterKind::Parallel);
  KernelRule kernel = kernelRule(op, *rule, node.extents);
  node.tile.assign(kernel.tile.begin(), kernel.tile.end());
  node.flops = kernel.flops;
  node.workspace = kernel.workspaceBytes;
  node.isView = kernel.movesNoData;
  // Read where it is written: the same map for operand and result.
  if (!node.isView)
    for (auto [use, map] : llvm::zip(node.uses, rule->operands))
      use.elementwise = isa<linalg::LinalgOp>(op) && map && rule->results.size() == 1 && map == rule->results[0] &&
                        map.isPermutation();
}

FailureOr<ChunkProgram> snug::buildChunkProgram(func::FuncOp function, IndexBounds &bounds) {
  auto liveness = Liveness::compute(function, [&](Value value) { return tensorBytes(value, bounds); });
  if (failed(liveness))
    return failure();
  ChunkProgram program;
  ChunkProblem &problem = program.problem;
  DenseMap<Value, int> ids;
  std::map<std::pair<void *, std::string>, int> shapes;
  auto idOf = [&](Value value) {
    auto [entry, inserted] = ids.try_emplace(value, problem.values.size());
    if (!inserted)
      return entry->second;
    ChunkValue v;
    if (auto type = dyn_cast<RankedTensorType>(value.getType())) {
      std::string shape;
      v.elementBytes = elementBytes(type.getElementType());
      for (int64_t dim = 0; dim < type.getRank(); ++dim) {
        std::optional<Interval> extent = bounds.ofDim(value, dim);
        v.extents.push_back(extent ? extent->max : -1);
        shape += "x" + bounds.symbolOf(value, dim);
      }
      v.shape = shapes.try_emplace({const_cast<void *>(type.getElementType().getAsOpaquePointer()), shape}, shapes.size()).first->second;
      std::optional<unsigned> buffer = liveness->bufferOf(value);
      v.buffer = buffer && liveness->buffers[*buffer].writable ? static_cast<int>(*buffer) : -1;
    }
    problem.values.push_back(v);
    program.values.push_back(value);
    return entry->second;
  };
  problem.buffers.resize(liveness->buffers.size());
  for (auto [buffer, from] : llvm::zip_equal(problem.buffers, liveness->buffers)) {
    buffer.bytes = from.inArena ? from.bytes : 0;
    buffer.root = idOf(from.root);
  }
  for (Operation &op : function.front()) {
    int index = problem.nodes.size();
    ChunkNode node;
    node.isEmpty = isa<tensor::EmptyOp>(op);
    node.mayMove = isMemoryEffectFree(&op) || isa<DestinationStyleOpInterface>(op);
    if (op.hasTrait<OpTrait::IsTerminator>())
      node.mayMove = false;
    for (OpOperand &operand : op.getOpOperands()) {
      ChunkUse use;
      use.value = idOf(operand.get());
      auto dps = dyn_cast<DestinationStyleOpInterface>(op);
      auto insert = dyn_cast<tensor::InsertSliceOp>(op);
      use.isInit = (dps && dps.isDpsInit(&operand)) || (insert && &operand == &insert.getDestMutable());
      node.uses.push_back(use);
    }
    llvm::SetVector<Value> captured;
    for (Region &region : op.getRegions())
      region.walk([&](Operation *inner) {
        for (Value value : inner->getOperands())
          if (value.getParentBlock() == &function.front())
            captured.insert(value);
      });
    for (Value value : captured) {
      ChunkUse use;
      use.value = idOf(value);
      node.uses.push_back(use);
    }
    for (Value value : op.getResults()) {
      int id = idOf(value);
      problem.values[id].producer = index;
      ChunkUse use;
      use.value = id;
      node.results.push_back(use);
    }
    for (const ChunkUse &use : node.uses) {
      auto &users = problem.values[use.value].users;
      if (users.empty() || users.back() != index)
        users.push_back(index);
    }
    for (unsigned buffer : liveness->touchedBy(&op)) {
      node.buffers.push_back(buffer);
      problem.buffers[buffer].nodes.push_back(index);
    }
    addRule(program, node, &op);
    problem.nodes.push_back(std::move(node));
    program.ops.push_back(&op);
  }
  return program;
}
