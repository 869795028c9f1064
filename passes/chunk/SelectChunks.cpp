// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Liveness.h"
#include "lib/analysis/NodeName.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/chunk/Blocks.h"
#include "passes/chunk/ChunkProgram.h"
#include "passes/chunk/LowerBounds.h"
#include "passes/chunk/Passes.h"
#include "llvm/Support/Debug.h"
#include "llvm/Support/MemoryBuffer.h"

#include <limits>

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

  // What is so of any of its members: that sums are made in parts, else that slices overlap.
  static StringRef kindOf(const ChunkProgram &program, const ChunkLoop &loop) {
    auto isSum = [&](const ChunkMember &m) { return isAccumulated(program.problem.nodes[m.node], m); };
    if (llvm::any_of(loop.members, isSum))
      return "accumulate";
    return llvm::any_of(loop.members, [](const ChunkMember &m) { return m.hasHalo(); }) ? "halo" : "parallel";
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
         b.getNamedAttr("level", b.getI64IntegerAttr(level)), b.getNamedAttr("kind", b.getStringAttr(kindOf(program, loop)))});
  }

  // What the search did, summed over the module's functions.
  struct Figures {
    double unchunkedTime = 0, time = 0; // seconds
    int64_t lb1 = 0, lb2 = 0;
    int64_t ops = 0, blocks = 0, distinctBlocks = 0, candidates = 0;
    int64_t broken = 0; // functions whose first plan the program did not keep
  } figures;

  DictionaryAttr describeFigures() {
    Builder b(&getContext());
    auto number = [&](StringRef name, int64_t value) { return b.getNamedAttr(name, b.getI64IntegerAttr(value)); };
    auto ms = [&](StringRef name, double time) { return b.getNamedAttr(name, b.getF64FloatAttr(1e3 * time)); };
    return b.getDictionaryAttr({number("ops", figures.ops), number("blocks", figures.blocks),
                                number("distinct_blocks", figures.distinctBlocks),
                                number("candidates", figures.candidates), number("lb1", figures.lb1),
                                number("lb2", figures.lb2), number("broken_plans", figures.broken),
                                ms("unchunked_ms", figures.unchunkedTime), ms("chunked_ms", figures.time)});
  }

  int64_t loopsBefore = 0; // of the functions before

  // A program with chunk loops, and what is to be said of them.
  struct Outcome {
    OwningOpRef<func::FuncOp> function;
    SmallVector<Attribute> report;
    struct Remark {
      Location location;
      std::string text;
      int level;
    };
    SmallVector<Remark> remarks;
    ChunkPlan plan; // times and counts; `peak` is that of the program
    Location peakLocation;
    StringRef peakName; // of the op there
    bool keepsPlan = false;
  };

  // What nobody reads, but no loop: plans count on these.
  static void eraseDead(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (!isa<scf::ForOp>(op) && isOpTriviallyDead(&op))
        op.erase();
  }

  // Puts the plan's loops into the block, and loops into their bodies where the plan relies on it. Level 1 is
  // outermost.
  LogicalResult apply(Outcome &outcome, Block &block, ChunkProgram &program, ChunkPlan plan, int level = 1) {
    // The plan's order, so that the members of each loop stand side by side.
    std::vector<Operation *> ops;
    for (int node : plan.order)
      ops.push_back(program.ops[node]);
    for (Operation *op : ops)
      if (!op->hasTrait<OpTrait::IsTerminator>())
        op->moveBefore(block.getTerminator());
    program.ops = std::move(ops);
    reorder(program.problem, 0, plan.order);
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
                  Builder(&getContext()).getI64IntegerAttr(loopsBefore + static_cast<int64_t>(outcome.report.size())));
      outcome.report.push_back(description);
      if (loop.bodyPeak < 0)
        continue;
      eraseDead(*op.getBody());
      IndexBounds bounds(getOperation());
      FailureOr<ChunkProgram> body = buildChunkProgram(*outcome.function, *op.getBody(), bounds, exact);
      if (failed(body))
        return failure();
      ChunkPlan inner = ChunkSearch(body->problem, timeMachine, threads).plan(loop.bodyPeak, /*levels=*/1);
      if (failed(apply(outcome, *op.getBody(), *body, std::move(inner), level + 1)))
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

  // Carries the plan out in a copy of its function, and measures what came of it: a plan is a model of the program, and
  // only the program says what it needs. Nothing where the result is no valid program.
  std::optional<Outcome> carryOut(func::FuncOp function, ChunkPlan plan) {
    ScopedDiagnosticHandler quiet(&getContext(), [](Diagnostic &) { return success(); });
    Outcome outcome{OwningOpRef<func::FuncOp>(function.clone()), {}, {}, {}, function.getLoc(), "", false};
    int64_t promised = plan.peak;
    outcome.plan.unchunkedPeak = plan.unchunkedPeak;
    outcome.plan.unchunkedTime = plan.unchunkedTime;
    outcome.plan.time = plan.time;
    outcome.plan.ops = plan.ops;
    outcome.plan.blocks = plan.blocks;
    outcome.plan.distinctBlocks = plan.distinctBlocks;
    outcome.plan.candidates = plan.candidates;
    IndexBounds bounds(getOperation());
    FailureOr<ChunkProgram> program = buildChunkProgram(*outcome.function, outcome.function->front(), bounds, exact);
    if (failed(program))
      return std::nullopt;
    Operation *peakOp = program->ops[plan.order[plan.peakNode]];
    outcome.peakLocation = peakOp->getLoc();
    outcome.peakName = peakOp->getName().getStringRef();
    if (!plan.loops.empty() && (failed(apply(outcome, outcome.function->front(), *program, std::move(plan))) ||
                                failed(verify(*outcome.function)))) {
      LLVM_DEBUG(llvm::dbgs() << "the plan for " << promised << " bytes cannot be carried out\n");
      return std::nullopt;
    }
    sinkEmpties(*outcome.function);
    IndexBounds after(getOperation());
    auto liveness = Liveness::compute(*outcome.function, [&](Value value) { return tensorBytes(value, after); });
    if (failed(liveness))
      return std::nullopt;
    outcome.plan.peak = liveness->peak;
    outcome.keepsPlan = liveness->peak <= promised;
    if (!outcome.keepsPlan) {
      LLVM_DEBUG(llvm::dbgs() << "planned was a peak of " << promised << " bytes, the program has one of "
                              << liveness->peak << "\n");
      outcome.peakLocation = liveness->peakOp->getLoc();
      outcome.peakName = liveness->peakOp->getName().getStringRef();
    }
    return outcome;
  }

  LogicalResult chunk(func::FuncOp function, SmallVectorImpl<Attribute> &report) {
    loopsBefore = report.size();
    auto leave = [&](Location where, const Twine &why) {
      mlir::emitRemark(where) << "'" << function.getName() << "' is left as it is: " << why;
      return success();
    };
    if (!llvm::hasSingleElement(function.getBody()))
      return leave(function.getLoc(),
                   "it has control flow between blocks; structure it with scf ops for chunk loops in it");
    IndexBounds bounds(getOperation());
    for (Operation &op : function.front())
      for (Value value : op.getResults())
        if (auto type = dyn_cast<RankedTensorType>(value.getType());
            type && !type.hasStaticShape() && !tensorBytes(value, bounds))
          return leave(op.getLoc(), "a tensor of '" + op.getName().getStringRef() +
                                        "' has no upper bound; bound its dims by snug.dims for chunk loops in it");
    FailureOr<ChunkProgram> program = buildChunkProgram(function, function.front(), bounds, exact);
    if (failed(program))
      return failure();
    int64_t budget = std::max<int64_t>(activationBudget, 0);
    LowerBounds bound = lowerBounds(program->problem);
    ChunkSearch search(program->problem, timeMachine, threads);
    ChunkPlan plan = search.plan(budget);
    func::FuncOp source = function;
    // Where loops cost much or are not enough, a program that shares less may do better.
    OwningOpRef<func::FuncOp> loosened;
    std::optional<ChunkProgram> other;
    std::optional<ChunkSearch> otherSearch;
    if (loosen && (plan.peak > budget || plan.time > kNoticeable * plan.unchunkedTime)) {
      loosened = function.clone();
      IndexBounds itsBounds(getOperation());
      FailureOr<ChunkProgram> built = failure();
      if (loosenSharing(*loosened, exact))
        built = buildChunkProgram(*loosened, loosened->front(), itsBounds, exact);
      if (succeeded(built)) {
        other = std::move(*built);
        bound.chunked = std::min(bound.chunked, lowerBounds(other->problem).chunked);
        otherSearch.emplace(other->problem, timeMachine, threads);
        ChunkPlan looser = otherSearch->plan(budget);
        LLVM_DEBUG(llvm::dbgs() << "loosened: peak " << looser.peak << ", " << looser.loops.size() << " loops, at "
                                << *other->ops[looser.order[looser.peakNode]] << "\n"
                                << *loosened);
        looser.candidates += plan.candidates;
        bool fits = plan.peak <= budget, looserFits = looser.peak <= budget;
        if (fits == looserFits ? (fits ? looser.time < plan.time : looser.peak < plan.peak) : looserFits) {
          looser.unchunkedPeak = plan.unchunkedPeak;
          looser.unchunkedTime = plan.unchunkedTime;
          plan = std::move(looser);
          source = *loosened;
        } else {
          plan.candidates = looser.candidates;
        }
      }
    }
    int64_t unchunkedPeak = plan.unchunkedPeak, candidates = plan.candidates;
    double unchunkedTime = plan.unchunkedTime;
    std::optional<Outcome> best = carryOut(source, std::move(plan));
    auto fits = [&](const Outcome &outcome) { return outcome.plan.peak <= budget; };
    if (!best || (!best->keepsPlan && !fits(*best))) {
      // The model was wrong: other plans, by what they come to.
      ++figures.broken;
      auto attempt = [&](func::FuncOp from, ChunkSearch &search, int64_t aim, int levels) {
        if (best && fits(*best))
          return;
        ChunkPlan next = search.plan(aim, levels);
        candidates += next.candidates;
        std::optional<Outcome> outcome = carryOut(from, std::move(next));
        if (outcome && (!best || outcome->plan.peak < best->plan.peak))
          best = std::move(outcome);
      };
      SmallVector<int64_t> aims{0};
      if (best && budget > best->plan.peak - budget)
        aims.insert(aims.begin(), 2 * budget - best->plan.peak);
      for (int64_t aim : aims)
        for (int levels : {2, 1}) {
          attempt(function, search, aim, levels);
          if (other)
            attempt(*loosened, *otherSearch, aim, levels);
        }
      attempt(function, search, std::numeric_limits<int64_t>::max(), 1);
    }
    if (!best)
      return function.emitError() << "internal fault: not even the program as it stands can be carried out";
    figures.unchunkedTime += unchunkedTime;
    figures.time += best->plan.time;
    figures.lb1 = std::max(figures.lb1, bound.wholeOps);
    figures.lb2 = std::max(figures.lb2, bound.chunked);
    figures.ops += best->plan.ops;
    figures.blocks += best->plan.blocks;
    figures.distinctBlocks += best->plan.distinctBlocks;
    figures.candidates += candidates;
    if (activationBudget >= 0 && best->plan.peak > activationBudget)
      return mlir::emitError(best->peakLocation)
             << "cannot chunk to " << activationBudget.getValue() << " bytes: the least peak that can be reached is "
             << best->plan.peak << " bytes, here in '" << best->peakName << "'; give at least that much";
    if (best->report.empty())
      return success();
    for (const Outcome::Remark &remark : best->remarks) {
      InFlightDiagnostic said = mlir::emitRemark(remark.location) << remark.text;
      if (remark.level == 1)
        said << "; peak " << unchunkedPeak << " -> " << best->plan.peak << " bytes";
    }
    report.append(best->report);
    if (Attribute reassociates = (*best->function)->getAttr(kReassociates))
      function->setAttr(kReassociates, reassociates);
    function.getBody().takeBody(best->function->getBody());
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
    for (auto function : getOperation().getOps<func::FuncOp>())
      separateInits(function);
    SmallVector<Attribute> report;
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isDeclaration() && failed(chunk(function, report)))
        return signalPassFailure();
    getOperation()->setAttr("snug.chunk_report", ArrayAttr::get(&getContext(), report));
    getOperation()->setAttr("snug.chunk_figures", describeFigures());
  }
};
} // namespace
