// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/CarryOut.h"
#include "lib/analysis/Liveness.h"
#include "lib/analysis/NodeName.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Verifier.h"
#include "passes/chunk/Blocks.h"
#include "passes/chunk/PlanCost.h"
#include "llvm/Support/Debug.h"

#define DEBUG_TYPE "snug-select-chunks"

using namespace mlir;
using namespace snug;

namespace {
class Carrier {
public:
  Carrier(const ChunkSettings &settings, CarriedOut &outcome)
      : settings(settings), outcome(outcome), module(settings.module) {}
  LogicalResult apply(Block &block, ChunkProgram &program, ChunkPlan plan, int64_t budget, int level = 1);

private:
  LogicalResult applyToBodies(const ChunkProgram &program, int64_t most, int level);

  const ChunkSettings &settings;
  CarriedOut &outcome;
  ModuleOp module;
};
} // namespace

// The dim of the first op that is cut.
static int64_t dimOf(const ChunkLoop &loop) {
  return llvm::find_if(loop.members, [](const ChunkMember &m) { return m.dim >= 0; })->dim;
}

// What is so of any of its members: that sums are made in parts, else that slices overlap.
static StringRef kindOf(const ChunkProgram &program, const ChunkLoop &loop) {
  auto isSum = [&](const ChunkMember &m) { return isAccumulated(program.problem.nodes[m.node], m); };
  if (llvm::any_of(loop.members, isSum))
    return "accumulate";
  return llvm::any_of(loop.members, [](const ChunkMember &m) { return m.hasHalo(); }) ? "halo" : "parallel";
}

static DictionaryAttr describe(const ChunkProgram &program, const ChunkLoop &loop, int level) {
  Builder b(program.ops[0]->getContext());
  SmallVector<Attribute> nodes;
  for (const ChunkMember &m : loop.members) {
    Operation *op = program.ops[m.node];
    if (program.problem.nodes[m.node].isView)
      continue;
    std::string name = nodeName(op->getLoc());
    if (name.empty())
      name = op->getName().getStringRef();
    Attribute attr = b.getStringAttr(name);
    if (nodes.empty() || nodes.back() != attr)
      nodes.push_back(attr);
  }
  SmallVector<NamedAttribute> fields{
      b.getNamedAttr("nodes", b.getArrayAttr(nodes)),
      b.getNamedAttr("dim", b.getI64IntegerAttr(dimOf(loop))),
      b.getNamedAttr("extent", b.getI64IntegerAttr(loop.extent)),
      b.getNamedAttr("size", b.getI64IntegerAttr(loop.size)),
      b.getNamedAttr("iterations", b.getI64IntegerAttr((loop.extent + loop.size - 1) / loop.size)),
      b.getNamedAttr("level", b.getI64IntegerAttr(level)),
      b.getNamedAttr("kind", b.getStringAttr(kindOf(program, loop)))};
  if (int64_t number = llvm::count_if(loop.members, [](const ChunkMember &m) { return m.carries; }))
    fields.push_back(b.getNamedAttr("carries", b.getI64IntegerAttr(number)));
  return b.getDictionaryAttr(fields);
}

// What nobody reads, but no loop: plans count on these.
static void eraseDead(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (!isa<scf::ForOp>(op) && isOpTriviallyDead(&op))
      op.erase();
}

// Puts loops into bodies of loops and branches that were there before, as far as the plan relies on it: so that no more
// than `most` bytes are live at any node.
LogicalResult Carrier::applyToBodies(const ChunkProgram &program, int64_t most, int level) {
  PlanCost cost(program.problem, settings.machine, settings.threads);
  for (auto [index, op] : llvm::enumerate(program.ops)) {
    int64_t left = most - (cost.unchunked(index) - program.problem.nodes[index].workspace);
    if (program.problem.nodes[index].workspace <= left)
      continue;
    for (Block *block : bodiesOf(op)) {
      FailureOr<std::unique_ptr<BlockSearch>> search = BlockSearch::create(*outcome.function, *block, settings);
      if (failed(search))
        return failure();
      ChunkProgram body = (*search)->program();
      if (failed(apply(*block, body, (*search)->plan(left), left, level)))
        return failure();
    }
  }
  return success();
}

// Puts the plan's loops into the block, and loops into their bodies where the plan relies on it. Level 1 is
// outermost.
LogicalResult Carrier::apply(Block &block, ChunkProgram &program, ChunkPlan plan, int64_t budget, int level) {
  // The plan's order, so that the members of each loop stand side by side.
  std::vector<Operation *> ops;
  for (int node : plan.order)
    ops.push_back(program.ops[node]);
  for (Operation *op : ops)
    if (!op->hasTrait<OpTrait::IsTerminator>())
      op->moveBefore(block.getTerminator());
  program.ops = std::move(ops);
  reorder(program.problem, plan.order);
  // Before members of loops are gone.
  if (failed(applyToBodies(program, std::max(budget, plan.peak), level)))
    return failure();
  SmallVector<Attribute> descriptions;
  for (const ChunkLoop &loop : plan.loops) {
    descriptions.push_back(describe(program, loop, level));
    std::string text;
    llvm::raw_string_ostream(text) << "chunk loop over dim " << dimOf(loop) << " of extent " << loop.extent << ", "
                                   << (loop.extent + loop.size - 1) / loop.size << " iterations of " << loop.size;
    if (level > 1)
      llvm::raw_string_ostream(text) << "; peak " << plan.unchunkedPeak << " -> " << plan.peak
                                     << " bytes of an iteration's own";
    outcome.remarks.push_back({program.ops[loop.members.front().node]->getLoc(), text, level});
  }
  SmallVector<scf::ForOp> applied(plan.loops.size());
  for (size_t i = plan.loops.size(); i-- > 0;)
    applied[i] = cast<scf::ForOp>(applyChunkLoop(program, plan.loops[i]));
  eraseDead(block);
  for (auto [loop, op, description] : llvm::zip_equal(plan.loops, applied, descriptions)) {
    op->setAttr("snug.chunk_loop",
                Builder(module.getContext())
                    .getI64IntegerAttr(settings.loopsBefore + static_cast<int64_t>(outcome.report.size())));
    outcome.report.push_back(description);
    if (loop.bodyPeak < 0)
      continue;
    eraseDead(*op.getBody());
    IndexBounds bounds(module);
    FailureOr<ChunkProgram> body = buildChunkProgram(*outcome.function, *op.getBody(), bounds, settings.exact);
    if (failed(body))
      return failure();
    ChunkPlan inner = ChunkSearch(body->problem, settings.machine, settings.threads).plan(loop.bodyPeak, /*levels=*/1);
    if (failed(apply(*op.getBody(), *body, std::move(inner), loop.bodyPeak, level + 1)))
      return failure();
  }
  return success();
}

std::optional<CarriedOut> snug::carryOut(func::FuncOp function, ChunkPlan plan, int64_t budget,
                                         const ChunkSettings &settings) {
  ScopedDiagnosticHandler quiet(function.getContext(), [](Diagnostic &) { return success(); });
  CarriedOut outcome{OwningOpRef<func::FuncOp>(function.clone()), {}, {}, {}, function.getLoc(), "", false};
  int64_t promised = plan.peak;
  outcome.plan.unchunkedPeak = plan.unchunkedPeak;
  outcome.plan.unchunkedTime = plan.unchunkedTime;
  outcome.plan.time = plan.time;
  outcome.plan.ops = plan.ops;
  outcome.plan.blocks = plan.blocks;
  outcome.plan.distinctBlocks = plan.distinctBlocks;
  IndexBounds bounds(settings.module);
  FailureOr<ChunkProgram> program =
      buildChunkProgram(*outcome.function, outcome.function->front(), bounds, settings.exact);
  if (failed(program))
    return std::nullopt;
  bool isBody = false; // where the very op is to be found
  if (plan.peakNode >= 0) { // else nothing is live at any time
    Operation *peakOp = program->ops[plan.order[plan.peakNode]];
    outcome.peakLocation = peakOp->getLoc();
    outcome.peakName = peakOp->getName().getStringRef();
    isBody = !bodiesOf(peakOp).empty();
  }
  bool hasBodies = llvm::any_of(program->ops, [](Operation *op) { return !bodiesOf(op).empty(); });
  if ((!plan.loops.empty() || hasBodies) &&
      (failed(Carrier(settings, outcome).apply(outcome.function->front(), *program, std::move(plan), budget)) ||
       failed(verify(*outcome.function)))) {
    LLVM_DEBUG(llvm::dbgs() << "the plan for " << promised << " bytes cannot be carried out\n");
    return std::nullopt;
  }
  sinkEmpties(*outcome.function);
  IndexBounds after(settings.module);
  auto liveness = Liveness::compute(*outcome.function, [&](Value value) { return tensorBytes(value, after); });
  if (failed(liveness))
    return std::nullopt;
  outcome.plan.peak = liveness->peak;
  outcome.keepsPlan = liveness->peak <= promised;
  if (!outcome.keepsPlan) {
    LLVM_DEBUG(llvm::dbgs() << "planned was a peak of " << promised << " bytes, the program has one of "
                            << liveness->peak << "\n");
  }
  if (liveness->peakOp && (!outcome.keepsPlan || isBody)) {
    outcome.peakLocation = liveness->peakOp->getLoc();
    outcome.peakName = liveness->peakOp->getName().getStringRef();
  }
  return outcome;
}
