// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/memory/OverlapPrice.h"
#include "lib/analysis/KernelRule.h"
#include "lib/solver/MeshPlanner.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace snug;

OverlapPrices::OverlapPrices(ModuleOp module, Machine machine, int threads, ArrayRef<double> links, int forced)
    : bounds(module), mesh(Mesh::of(module)->value_or(Mesh())), machine(std::move(machine)), threads(threads),
      forced(forced) {
  for (unsigned axis = 0; axis < 2; ++axis) {
    bytesPerSecond[axis] = links.size() == 4 ? links[2 * axis] : 10e9;
    latency[axis] = links.size() == 4 ? links[2 * axis + 1] : 10e-6;
  }
}

SmallVector<OverlapTimes> OverlapPrices::of(const RowChain &chain) {
  SmallVector<KernelCost> kernels;
  double transfer = 0, waiting = 0;
  const int64_t tiles = llvm::divideCeil(rowsOf(chain), tileOf(chain));
  for (const RowChain::Member &member : chain.members) {
    auto together = dyn_cast<mesh::CollectiveOpInterface>(member.op);
    if (!together) {
      kernels.push_back(costOf(member.op));
      continue;
    }
    auto [seconds, start] = linksTime(together);
    transfer += seconds;
    waiting += start;
  }
  auto timesOf = [&](int pieces) {
    double computing = 0, sending = waiting + transfer / pieces;
    for (const KernelCost &cost : kernels)
      computing += kernelTime(machine, pieceOf(cost, pieces), threads);
    double time = pipelinedTime(pieces, computing, sending);
    return OverlapTimes{pieces, 0, time, pieces * (computing + sending) - time};
  };
  const double alone = timesOf(1).time_s;
  SmallVector<OverlapTimes> better;
  for (int asked = 2; asked <= kMostPieces; asked *= 2) {
    if (asked > tiles || (forced > 0 && asked != forced))
      continue;
    // Of 5 tiles 4 equal pieces are 3 of 2, 2 and 1.
    OverlapTimes times = timesOf(static_cast<int>(llvm::divideCeil(tiles, llvm::divideCeil(tiles, asked))));
    times.alone_s = alone;
    if (forced > 0 || times.time_s < alone)
      better.push_back(times);
  }
  llvm::stable_sort(better, [](const OverlapTimes &a, const OverlapTimes &b) { return a.time_s < b.time_s; });
  return better;
}

int64_t OverlapPrices::tileOf(const RowChain &chain) {
  int64_t tile = 1;
  for (const RowChain::Member &member : chain.members)
    if (forced == 0 && isHeavy(member.op)) {
      FailureOr<IndexRule> rule = cast<IndexRuleOpInterface>(member.op).getIndexRule();
      tile = std::max(tile, kernelRule(member.op, *rule, extentsOf(member.op, *rule)).tile[member.dim]);
    }
  return tile;
}

int64_t OverlapPrices::rowsOf(const RowChain &chain) {
  const RowChain::Member &first = chain.members.front();
  for (unsigned i = 0; i < first.op->getNumOperands(); ++i)
    if (std::optional<unsigned> dim = rowsIn(first, i))
      return extentOf(first.op->getOperand(i), *dim);
  return 1;
}

int64_t OverlapPrices::extentOf(Value memref, unsigned dim) {
  std::optional<Interval> extent = bounds.ofDim(memref, dim);
  return extent ? std::max<int64_t>(extent->max, 1) : 1;
}

double OverlapPrices::bytesOf(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  double bytes = static_cast<double>(elementBytes(type.getElementType()));
  for (unsigned dim = 0; dim < type.getRank(); ++dim)
    bytes *= static_cast<double>(extentOf(memref, dim));
  return bytes;
}

std::pair<double, double> OverlapPrices::linksTime(mesh::CollectiveOpInterface op) {
  ArrayRef<int64_t> axes = op.getAxes();
  auto group = static_cast<double>(mesh.groupSize(axes));
  double slowest = bytesPerSecond[axes.front()], longest = latency[axes.front()];
  for (int64_t axis : axes) {
    slowest = std::min(slowest, bytesPerSecond[axis]);
    longest = std::max(longest, latency[axis]);
  }
  double whole = std::max(bytesOf(op.getInput()), bytesOf(op.getInit()));
  double times = op.getCollectiveKind() == mesh::CollectiveKind::AllReduce ? 2 : 1;
  return {times * whole * (group - 1) / group / slowest, longest};
}

SmallVector<int64_t> OverlapPrices::extentsOf(Operation *op, const IndexRule &rule) {
  SmallVector<int64_t> extents(rule.dims.size(), 1);
  for (auto [index, map] : llvm::enumerate(rule.operands))
    for (unsigned dim = 0; map && dim < map.getNumResults(); ++dim)
      if (auto bare = dyn_cast<AffineDimExpr>(map.getResult(dim)))
        extents[bare.getPosition()] = std::max(extents[bare.getPosition()], extentOf(op->getOperand(index), dim));
  return extents;
}

// The kernel as a whole, with what it moves from and to memory.
KernelCost OverlapPrices::costOf(Operation *op) {
  KernelCost cost;
  auto rules = dyn_cast<IndexRuleOpInterface>(op);
  FailureOr<IndexRule> rule = rules.getIndexRule();
  SmallVector<int64_t> extents = extentsOf(op, *rule);
  KernelRule kernel = kernelRule(op, *rule, extents);
  cost.work = {kernel.contraction, kernel.attention, kernel.transcendental,
               kernel.elementwise, kernel.reduction, kernel.strided};
  KernelPieces pieces = kernelPieces(*rule, kernel, extents);
  cost.isNarrow = kernel.isNarrow;
  cost.rows = pieces.hasRows || pieces.hasColumns ? pieces.rows : 0;
  cost.columns = pieces.hasColumns ? pieces.columns : 0;
  cost.pieces = piecesOf(machine, pieces.outer, pieces.rows, pieces.columns);
  for (auto [index, operand] : llvm::enumerate(op->getOperands()))
    if (isa<MemRefType>(operand.getType()))
      (llvm::is_contained(kernel.panels, index) ? cost.panel_bytes : cost.far_bytes) += bytesOf(operand);
  return cost;
}
