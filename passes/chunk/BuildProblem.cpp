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

// A sum of dims, each times a positive constant, and a constant: the factor of each dim.
static std::optional<DimAccess> linearIn(AffineExpr expr, SmallVectorImpl<int64_t> &factors) {
  DimAccess access;
  SmallVector<AffineExpr> terms{expr};
  while (!terms.empty()) {
    AffineExpr term = terms.pop_back_val();
    auto binary = dyn_cast<AffineBinaryOpExpr>(term);
    if (auto dim = dyn_cast<AffineDimExpr>(term)) {
      factors[dim.getPosition()] += 1;
    } else if (auto constant = dyn_cast<AffineConstantExpr>(term)) {
      access.offset += constant.getValue();
    } else if (binary && term.getKind() == AffineExprKind::Add) {
      terms.append({binary.getLHS(), binary.getRHS()});
    } else {
      if (!binary || term.getKind() != AffineExprKind::Mul)
        return std::nullopt;
      auto dim = dyn_cast<AffineDimExpr>(binary.getLHS());
      auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
      if (!dim || !factor || factor.getValue() < 1)
        return std::nullopt;
      factors[dim.getPosition()] += factor.getValue();
    }
  }
  return access;
}

// How dim `dim` stands in the map: bare, d * k + rest where dims are merged, or d * stride + tap in a window.
static DimAccess accessOf(AffineMap map, unsigned dim, ArrayRef<int64_t> extents) {
  for (auto [position, expr] : llvm::enumerate(map.getResults())) {
    if (!expr.isFunctionOfDim(dim))
      continue;
    SmallVector<int64_t> factors(map.getNumDims(), 0);
    std::optional<DimAccess> access = linearIn(expr, factors);
    if (!access || factors[dim] < 1)
      return {};
    access->position = static_cast<int>(position);
    access->scale = factors[dim];
    for (unsigned other = 0; other < map.getNumDims(); ++other)
      if (other != dim)
        access->window += factors[other] * (extents[other] - 1);
    return *access;
  }
  return {};
}

namespace {
struct MapOf {
  AffineMap map;
  const ChunkValue *value;
  bool isResult;
};
} // namespace

// Extents of the iteration dims, from the results in whose maps they stand bare, as of an operand more may be there than is
// taken; else from the operands; of one that stands bare nowhere, from where it is merged with others: there the next outer one
// begins when it ends.
static std::vector<int64_t> extentsOf(unsigned numDims, ArrayRef<MapOf> maps) {
  std::vector<int64_t> bare(numDims, 0), made(numDims, 0), merged(numDims, 0);
  for (auto [map, value, isResult] : maps)
    for (auto [expr, extent] : llvm::zip_equal(map.getResults(), value->extents)) {
      SmallVector<int64_t> factors(numDims, 0);
      if (auto dim = dyn_cast<AffineDimExpr>(expr)) {
        int64_t &known = (isResult ? made : bare)[dim.getPosition()];
        known = std::max(known, extent);
      } else if (linearIn(expr, factors)) {
        for (unsigned dim = 0; dim < numDims; ++dim) {
          if (factors[dim] == 0)
            continue;
          int64_t next = extent;
          for (int64_t outer : factors)
            next = outer > factors[dim] ? std::min(next, outer) : next;
          merged[dim] = std::max(merged[dim], next / factors[dim]);
        }
      }
    }
  for (unsigned dim = 0; dim < numDims; ++dim)
    bare[dim] = std::max<int64_t>(1, made[dim] ? made[dim] : bare[dim] ? bare[dim] : merged[dim]);
  return bare;
}

// What is taken of an open dim, or put into one, is as long as that only where both are the same in every run: else a loop that is
// right for the largest would reach out of the shorter one in others.
static void keepSlicesApart(const ChunkProgram &program, ChunkNode &node, Operation *op, IndexBounds &bounds) {
  if (!isa<tensor::ExtractSliceOp, tensor::InsertSliceOp>(op))
    return;
  for (unsigned dim = 0; dim < node.parallel.size(); ++dim) {
    std::optional<std::string> known;
    for (const auto *uses : {&node.uses, &node.results})
      for (const ChunkUse &use : *uses) {
        if (use.access.empty() || use.access[dim].position < 0 || program.problem.values[use.value].extents[use.access[dim].position] != node.extents[dim])
          continue;
        std::string symbol = bounds.symbolOf(program.values[use.value], use.access[dim].position);
        if (known && *known != symbol)
          node.parallel[dim] = false;
        known = symbol;
      }
  }
}

static void addRule(ChunkProgram &program, ChunkNode &node, Operation *op, bool exact) {
  // What a loop yields goes into what it carries as a whole.
  if (auto insert = dyn_cast<tensor::InsertSliceOp>(op);
      insert && isa<BlockArgument>(insert.getDest()) && isa<scf::ForOp>(op->getParentOp()))
    return;
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  FailureOr<IndexRule> rule = rules ? rules.getIndexRule() : FailureOr<IndexRule>(failure());
  if (failed(rule) || node.results.size() != rule->results.size() || node.uses.size() < rule->operands.size())
    return;
  unsigned numDims = rule->dims.size();
  SmallVector<MapOf> maps;
  SmallVector<std::pair<ChunkUse *, AffineMap>> uses;
  auto add = [&](ChunkUse &use, AffineMap map, bool isResult) {
    const ChunkValue &value = program.problem.values[use.value];
    if (!map || value.extents.size() != map.getNumResults())
      return;
    maps.push_back({map, &value, isResult});
    uses.push_back({&use, map});
  };
  for (auto [use, map] : llvm::zip(node.uses, rule->operands))
    add(use, map, false);
  for (auto [use, map] : llvm::zip(node.results, rule->results))
    add(use, map, true);
  for (ChunkUse &use : node.uses)
    use.isBlind = use.isInit && !rule->keepsDestinations;
  node.extents = extentsOf(numDims, maps);
  for (auto [use, map] : uses)
    for (unsigned dim = 0; dim < numDims; ++dim)
      use->access.push_back(accessOf(map, dim, node.extents));
  bool addsTo = !exact && rule->keepsDestinations;
  for (const IterDim &dim : rule->dims) {
    node.parallel.push_back(dim.kind == IterKind::Parallel);
    node.accumulates.push_back(addsTo && dim.kind == IterKind::Reduction && dim.combiner != Combiner::None);
  }
  KernelRule kernel = kernelRule(op, *rule, node.extents);
  node.tile.assign(kernel.tile.begin(), kernel.tile.end());
  node.work = {kernel.contraction, kernel.attention, kernel.transcendental,
               kernel.elementwise, kernel.reduction, kernel.strided};
  node.packed = kernel.packed;
  node.seen = kernel.seen;
  node.panels.assign(kernel.panels.begin(), kernel.panels.end());
  node.rows.assign(kernel.rows.begin(), kernel.rows.end());
  node.columns.assign(kernel.columns.begin(), kernel.columns.end());
  node.isNarrow = kernel.isNarrow;
  node.workspace = kernel.workspaceBytes;
  node.isView = kernel.movesNoData;
  // Read where it is written: the same map for operand and result.
  if (!node.isView)
    for (auto [use, map] : llvm::zip(node.uses, rule->operands))
      use.elementwise = isa<linalg::LinalgOp>(op) && map && rule->results.size() == 1 && map == rule->results[0] &&
                        map.isPermutation();
}

FailureOr<ChunkProgram> snug::buildChunkProgram(func::FuncOp function, Block &block, IndexBounds &bounds,
                                                bool exact) {
  auto liveness = Liveness::compute(function, [&](Value value) { return tensorBytes(value, bounds); });
  if (failed(liveness))
    return failure();
  ChunkProgram program;
  ChunkProblem &problem = program.problem;
  DenseMap<Value, int> ids;
  std::map<std::pair<void *, std::string>, int> shapes;
  // A loop's body reads what is around it again in the next iteration: only what is made there or carried is there to be
  // written over.
  llvm::SmallDenseSet<unsigned> ofBlock;
  auto isOfBlock = [&](Value value) {
    if (std::optional<unsigned> buffer = liveness->bufferOf(value))
      ofBlock.insert(*buffer);
  };
  llvm::for_each(block.getArguments(), isOfBlock);
  for (Operation &op : block)
    if (!isa<tensor::ExtractSliceOp, tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::CastOp>(op))
      llvm::for_each(op.getResults(), isOfBlock);
  auto isWritten = [&](unsigned buffer) { return liveness->buffers[buffer].writable && ofBlock.contains(buffer); };
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
        v.fixed.push_back(extent && extent->min == extent->max);
        shape += "x" + bounds.symbolOf(value, dim);
      }
      v.shape =
          shapes.try_emplace({const_cast<void *>(type.getElementType().getAsOpaquePointer()), shape}, shapes.size())
              .first->second;
      std::optional<unsigned> buffer = liveness->bufferOf(value);
      v.buffer = buffer && isWritten(*buffer) ? static_cast<int>(*buffer) : -1;
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
      use.isInit = dps && dps.isDpsInit(&operand);
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
    addRule(program, node, &op, exact);
    keepSlicesApart(program, node, &op, bounds);
    if (!bodiesOf(&op).empty())
      node.workspace = liveness->peakWithin(&op).first;
    problem.nodes.push_back(std::move(node));
    program.ops.push_back(&op);
  }
  return program;
}
