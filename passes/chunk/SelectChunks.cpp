// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Liveness.h"
#include "lib/analysis/NodeName.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/chunk/ChunkProgram.h"
#include "passes/chunk/LowerBounds.h"
#include "passes/chunk/Passes.h"
#include "llvm/Support/Debug.h"
#include "llvm/Support/MemoryBuffer.h"

#define DEBUG_TYPE "snug-select-chunks"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_SELECTCHUNKS
#include "passes/chunk/Passes.h.inc"
} // namespace snug

namespace {
// What a plan may cost before others are tried.
constexpr double kNoticeable = 1.02;

struct SelectChunksPass : snug::impl::SelectChunksBase<SelectChunksPass> {
  using SelectChunksBase::SelectChunksBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    SelectChunksBase::getDependentDialects(registry);
    registerNnDialect(registry);
    registerIndexRuleModels(registry);
    tensor::registerValueBoundsOpInterfaceExternalModels(registry);
    arith::registerValueBoundsOpInterfaceExternalModels(registry);
  }

  // The dim of the first op that is cut.
  static int64_t dimOf(const ChunkLoop &loop) {
    return llvm::find_if(loop.members, [](const ChunkMember &m) { return m.dim >= 0; })->dim;
  }

  DictionaryAttr describe(const ChunkProgram &program, const ChunkLoop &loop, int level) {
    Builder b(&getContext());
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
    return b.getDictionaryAttr(
        {b.getNamedAttr("nodes", b.getArrayAttr(nodes)), b.getNamedAttr("dim", b.getI64IntegerAttr(dimOf(loop))),
         b.getNamedAttr("extent", b.getI64IntegerAttr(loop.extent)),
         b.getNamedAttr("size", b.getI64IntegerAttr(loop.size)),
         b.getNamedAttr("iterations", b.getI64IntegerAttr((loop.extent + loop.size - 1) / loop.size)),
         b.getNamedAttr("level", b.getI64IntegerAttr(level)), b.getNamedAttr("kind", b.getStringAttr("parallel"))});
  }

  // What the search did, summed over the module's functions.
  struct Figures {
    double unchunkedTime = 0, time = 0; // seconds
    int64_t lb1 = 0, lb2 = 0;
    int64_t ops = 0, blocks = 0, distinctBlocks = 0, candidates = 0;
  } figures;

  DictionaryAttr describeFigures() {
    Builder b(&getContext());
    auto number = [&](StringRef name, int64_t value) { return b.getNamedAttr(name, b.getI64IntegerAttr(value)); };
    auto ms = [&](StringRef name, double time) { return b.getNamedAttr(name, b.getF64FloatAttr(1e3 * time)); };
    return b.getDictionaryAttr({number("ops", figures.ops), number("blocks", figures.blocks),
                                number("distinct_blocks", figures.distinctBlocks),
                                number("candidates", figures.candidates), number("lb1", figures.lb1),
                                number("lb2", figures.lb2), ms("unchunked_ms", figures.unchunkedTime),
                                ms("chunked_ms", figures.time)});
  }

  // Puts the plan's loops into the block, and loops into their bodies where the plan relies on it. Level 1 is
  // outermost.
  LogicalResult apply(func::FuncOp function, Block &block, ChunkProgram &program, ChunkPlan plan,
                      SmallVectorImpl<Attribute> &report, int level = 1) {
    // The plan's order, so that the members of each loop stand side by side.
    std::vector<Operation *> ops;
    for (int node : plan.order)
      ops.push_back(program.ops[node]);
    for (Operation *op : ops)
      if (!op->hasTrait<OpTrait::IsTerminator>())
        op->moveBefore(block.getTerminator());
    program.ops = std::move(ops);
    program.problem = std::move(plan.problem);
    SmallVector<Attribute> descriptions;
    for (const ChunkLoop &loop : plan.loops) {
      descriptions.push_back(describe(program, loop, level));
      program.ops[loop.members.front().node]->emitRemark()
          << "chunk loop over dim " << dimOf(loop) << " of extent " << loop.extent << ", "
          << (loop.extent + loop.size - 1) / loop.size << " iterations of " << loop.size << "; peak "
          << plan.unchunkedPeak << " -> " << plan.peak << " bytes" << (level > 1 ? " of an iteration's own" : "");
    }
    SmallVector<scf::ForOp> applied(plan.loops.size());
    for (size_t i = plan.loops.size(); i-- > 0;)
      applied[i] = cast<scf::ForOp>(applyChunkLoop(program, plan.loops[i]));
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isOpTriviallyDead(&op))
        op.erase();
    for (auto [loop, op, description] : llvm::zip_equal(plan.loops, applied, descriptions)) {
      op->setAttr("snug.chunk_loop", Builder(&getContext()).getI64IntegerAttr(report.size()));
      report.push_back(description);
      if (loop.bodyPeak < 0)
        continue;
      IndexBounds bounds(getOperation());
      FailureOr<ChunkProgram> body = buildChunkProgram(function, *op.getBody(), bounds);
      if (failed(body))
        return failure();
      ChunkPlan inner = searchChunks(body->problem, loop.bodyPeak, timeMachine, threads, /*levels=*/1);
      if (inner.peak > loop.bodyPeak)
        return op.emitError() << "internal fault: the body of a chunk loop was planned to need " << loop.bodyPeak
                              << " bytes, but needs " << inner.peak;
      if (failed(apply(function, *op.getBody(), *body, std::move(inner), report, level + 1)))
        return failure();
    }
    return success();
  }

  // The machine that times are modelled for.
  Machine timeMachine;

  LogicalResult findMachine() {
    auto attribute = getOperation()->getAttrOfType<StringAttr>("snug.machine");
    timeMachine = builtinMachine(256);
    if (machine.empty() && !attribute)
      return success();
    std::string text = attribute ? attribute.str() : "", problem, from = "the attribute snug.machine";
    if (!machine.empty()) {
      from = "the machine file '" + machine + "'";
      auto file = llvm::MemoryBuffer::getFile(machine, /*IsText=*/true);
      if (!file)
        return getOperation().emitError() << "cannot read " << from << ": " << file.getError().message();
      text = (*file)->getBuffer().str();
    }
    std::optional<Machine> read = parseMachine(text, problem);
    if (!read)
      return getOperation().emitError() << from << " is not valid: " << problem;
    timeMachine = *read;
    return success();
  }

  LogicalResult chunk(func::FuncOp function, IndexBounds &bounds, SmallVectorImpl<Attribute> &report) {
    FailureOr<ChunkProgram> program = buildChunkProgram(function, function.front(), bounds);
    if (failed(program))
      return failure();
    int64_t budget = std::max<int64_t>(activationBudget, 0);
    ChunkPlan plan = searchChunks(program->problem, budget, timeMachine, threads);
    LowerBounds bound = lowerBounds(program->problem);
    // Where loops cost much or are not enough, a program that shares less may do better.
    if (loosen && (plan.peak > budget || plan.time > kNoticeable * plan.unchunkedTime)) {
      OwningOpRef<func::FuncOp> loosened(function.clone());
      FailureOr<ChunkProgram> other = failure();
      IndexBounds itsBounds(getOperation());
      if (loosenSharing(*loosened))
        other = buildChunkProgram(*loosened, loosened->front(), itsBounds);
      if (succeeded(other)) {
        bound.chunked = std::min(bound.chunked, lowerBounds(other->problem).chunked);
        ChunkPlan looser = searchChunks(other->problem, budget, timeMachine, threads);
        LLVM_DEBUG(llvm::dbgs() << "loosened: peak " << looser.peak << ", " << looser.loops.size() << " loops, at "
                                << *other->ops[looser.peakNode] << "\n"
                                << *loosened);
        looser.candidates += plan.candidates;
        bool fits = plan.peak <= budget, looserFits = looser.peak <= budget;
        if (fits == looserFits ? (fits ? looser.time < plan.time : looser.peak < plan.peak) : looserFits) {
          looser.unchunkedPeak = plan.unchunkedPeak;
          looser.unchunkedTime = plan.unchunkedTime;
          plan = std::move(looser);
          program = std::move(other);
          function.getBody().takeBody(loosened->getBody());
        } else {
          plan.candidates = looser.candidates;
        }
      }
    }
    figures.unchunkedTime += plan.unchunkedTime;
    figures.time += plan.time;
    figures.lb1 = std::max(figures.lb1, bound.wholeOps);
    figures.lb2 = std::max(figures.lb2, bound.chunked);
    figures.ops += plan.ops;
    figures.blocks += plan.blocks;
    figures.distinctBlocks += plan.distinctBlocks;
    figures.candidates += plan.candidates;
    if (activationBudget >= 0 && plan.peak > activationBudget) {
      Operation *op = program->ops[plan.order[plan.peakNode]];
      InFlightDiagnostic diagnostic = op->emitError() << "cannot chunk to " << activationBudget.getValue()
                                                      << " bytes: the least peak that can be "
                                                      << "reached is " << plan.peak << " bytes, here in '"
                                                      << op->getName() << "'; give at least that much";
      return diagnostic;
    }
    if (plan.loops.empty())
      return success();
    int64_t promised = plan.peak;
    if (failed(apply(function, function.front(), *program, std::move(plan), report)))
      return failure();
    // The plan is a promise: what stands in the IR now must keep it.
    IndexBounds after(getOperation());
    auto liveness = Liveness::compute(function, [&](Value value) { return tensorBytes(value, after); });
    if (failed(liveness))
      return failure();
    if (liveness->peak > promised)
      return liveness->peakOp->emitError() << "internal fault: chunking planned a peak of " << promised
                                           << " bytes, the program has one of " << liveness->peak;
    return success();
  }

  void runOnOperation() override {
    if (failed(findMachine()))
      return signalPassFailure();
    // Sizes must come from where buffers come from, not from results that a loop may take in. A padding is what it is
    // bufferized to, a fill and a part of it written: these can be cut.
    RewritePatternSet patterns(&getContext());
    linalg::populateDecomposePadPatterns(patterns);
    tensor::DimOp::getCanonicalizationPatterns(patterns, &getContext());
    tensor::EmptyOp::getCanonicalizationPatterns(patterns, &getContext());
    (void)applyPatternsGreedily(getOperation(), std::move(patterns));
    IndexBounds bounds(getOperation());
    SmallVector<Attribute> report;
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isDeclaration() && failed(chunk(function, bounds, report)))
        return signalPassFailure();
    getOperation()->setAttr("snug.chunk_report", ArrayAttr::get(&getContext(), report));
    getOperation()->setAttr("snug.chunk_figures", describeFigures());
  }
};
} // namespace
