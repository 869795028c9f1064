// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/KernelRule.h"
#include "lib/analysis/Liveness.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/chunk/ChunkProgram.h"
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

// By how much dim d is multiplied in a sum of dims, each times a positive constant; 0 where it is not in it, or
// elsewise.
static int64_t scaleOf(AffineExpr expr, unsigned dim) {
  SmallVector<AffineExpr> terms{expr};
  while (!terms.empty()) {
    AffineExpr term = terms.pop_back_val();
    auto binary = dyn_cast<AffineBinaryOpExpr>(term);
    if (auto d = dyn_cast<AffineDimExpr>(term); d && d.getPosition() == dim)
      return 1;
    if (binary && term.getKind() == AffineExprKind::Add) {
      terms.append({binary.getLHS(), binary.getRHS()});
    } else if (binary && term.getKind() == AffineExprKind::Mul && term.isFunctionOfDim(dim)) {
      auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
      return factor && isa<AffineDimExpr>(binary.getLHS()) ? std::max<int64_t>(factor.getValue(), 0) : 0;
    }
  }
  return 0;
}

// How dim d of the iteration space stands in the map: bare, or as d * k + rest.
static DimAccess accessOf(AffineMap map, unsigned dim) {
  for (auto [position, expr] : llvm::enumerate(map.getResults()))
    if (expr.isFunctionOfDim(dim)) {
      int64_t scale = scaleOf(expr, dim);
      return scale > 0 ? DimAccess{static_cast<int>(position), scale} : DimAccess{};
    }
  return {};
}

// The extent of a dim that stands so in a tensor dim of this extent. Of merged dims the next outer one begins where
// this one ends.
static int64_t extentOf(AffineMap map, DimAccess access, int64_t extent) {
  for (unsigned other = 0; other < map.getNumDims(); ++other)
    if (int64_t outer = scaleOf(map.getResult(access.position), other); outer > access.scale)
      extent = std::min(extent, outer);
  return extent / access.scale;
}

static void addRule(ChunkProgram &program, ChunkNode &node, Operation *op) {
  // What a loop yields goes into what it carries as a whole.
  if (auto insert = dyn_cast<tensor::InsertSliceOp>(op);
      insert && isa<BlockArgument>(insert.getDest()) && isa<scf::ForOp>(op->getParentOp()))
    return;
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  FailureOr<IndexRule> rule = rules ? rules.getIndexRule() : FailureOr<IndexRule>(failure());
  if (failed(rule) || node.results.size() != rule->results.size() || node.uses.size() < rule->operands.size())
    return;
  unsigned numDims = rule->dims.size();
  node.extents.assign(numDims, 1);
  // Where a dim stands alone, the tensor's extent is its own; a window is longer.
  std::vector<bool> stands(numDims, false);
  auto fill = [&](ChunkUse &use, AffineMap map) {
    if (!map)
      return;
    const ChunkValue &value = program.problem.values[use.value];
    if (value.extents.size() != map.getNumResults())
      return;
    for (unsigned dim = 0; dim < numDims; ++dim) {
      DimAccess access = accessOf(map, dim);
      use.access.push_back(access);
      if (access.position < 0)
        continue;
      bool alone = isa<AffineDimExpr>(map.getResult(access.position));
      int64_t extent = extentOf(map, access, value.extents[access.position]);
      if (alone && !stands[dim])
        node.extents[dim] = extent;
      else if (alone || !stands[dim])
        node.extents[dim] = std::max(node.extents[dim], extent);
      stands[dim] = stands[dim] || alone;
    }
  };
  for (auto [use, map] : llvm::zip(node.uses, rule->operands))
    fill(use, map);
  for (auto [use, map] : llvm::zip(node.results, rule->results))
    fill(use, map);
  for (const IterDim &dim : rule->dims)
    node.parallel.push_back(dim.kind == IterKind::Parallel);
  KernelRule kernel = kernelRule(op, *rule, node.extents);
  node.tile.assign(kernel.tile.begin(), kernel.tile.end());
  node.work = {kernel.contraction, kernel.attention, kernel.transcendental,
               kernel.elementwise, kernel.reduction, kernel.strided};
  node.packed = kernel.packed;
  node.seen = kernel.seen;
  node.panels.assign(kernel.panels.begin(), kernel.panels.end());
  node.rows.assign(kernel.rows.begin(), kernel.rows.end());
  node.columns.assign(kernel.columns.begin(), kernel.columns.end());
  node.tileRows = kTileRows;
  node.tileColumns = kTileColumns;
  node.workspace = kernel.workspaceBytes;
  node.isView = kernel.movesNoData;
  // Read where it is written: the same map for operand and result.
  if (!node.isView)
    for (auto [use, map] : llvm::zip(node.uses, rule->operands))
      use.elementwise = isa<linalg::LinalgOp>(op) && map && rule->results.size() == 1 && map == rule->results[0] &&
                        map.isPermutation();
}

FailureOr<ChunkProgram> snug::buildChunkProgram(func::FuncOp function, Block &block, IndexBounds &bounds) {
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
      v.shape =
          shapes.try_emplace({const_cast<void *>(type.getElementType().getAsOpaquePointer()), shape}, shapes.size())
              .first->second;
      std::optional<unsigned> buffer = liveness->bufferOf(value);
      v.buffer = buffer && liveness->buffers[*buffer].writable ? static_cast<int>(*buffer) : -1;
    }
    problem.values.push_back(v);
    program.values.push_back(value);
    return entry->second;
  };
  problem.buffers.resize(liveness->buffers.size());
  for (auto [buffer, from] : llvm::zip_equal(problem.buffers, liveness->buffers)) {
    buffer.bytes = from.inArena && from.home == &block ? from.bytes : 0;
    buffer.root = idOf(from.root);
  }
  for (Operation &op : block) {
    int index = problem.nodes.size();
    ChunkNode node;
    node.isEmpty = isa<tensor::EmptyOp>(op);
    node.isCheap = mayBeRecomputed(&op);
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
          if (value.getParentBlock() == &block)
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
