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
#include "passes/chunk/CarryOut.h"
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

  // The first op in the block, or in bodies of loops and branches there, that makes or carries a tensor without a bound.
  static Operation *unbounded(Block &block, IndexBounds &bounds) {
    auto isUnbounded = [&](Value value) {
      auto type = dyn_cast<RankedTensorType>(value.getType());
      return type && !type.hasStaticShape() && !tensorBytes(value, bounds);
    };
    for (Operation &op : block) {
      if (llvm::any_of(op.getResults(), isUnbounded))
        return &op;
      for (Block *body : bodiesOf(&op)) {
        if (llvm::any_of(body->getArguments(), isUnbounded))
          return &op;
        if (Operation *inner = unbounded(*body, bounds))
          return inner;
      }
    }
    return nullptr;
  }

  LogicalResult chunk(func::FuncOp function, SmallVectorImpl<Attribute> &report) {
    ChunkSettings settings{getOperation(), timeMachine, threads, exact, static_cast<int64_t>(report.size())};
    auto leave = [&](Location where, const Twine &why) {
      mlir::emitRemark(where) << "'" << function.getName() << "' is left as it is: " << why;
      return success();
    };
    if (!llvm::hasSingleElement(function.getBody()))
      return leave(function.getLoc(),
                   "it has control flow between blocks; structure it with scf ops for chunk loops in it");
    IndexBounds bounds(getOperation());
    if (Operation *op = unbounded(function.front(), bounds))
      return leave(op->getLoc(), "a tensor of '" + op->getName().getStringRef() +
                                     "' has no upper bound; bound its dims by snug.dims for chunk loops in it");
    FailureOr<ChunkProgram> program = buildChunkProgram(function, function.front(), bounds, exact);
    if (failed(program))
      return failure();
    int64_t budget = std::max<int64_t>(activationBudget, 0);
    LowerBounds bound = lowerBounds(program->problem);
    FailureOr<ChunkPlan> searched = searchBlock(function, *program, budget, settings);
    if (failed(searched))
      return failure();
    ChunkPlan plan = std::move(*searched);
    func::FuncOp source = function;
    // Where loops cost much or are not enough, a program that shares less may do better.
    OwningOpRef<func::FuncOp> loosened;
    std::optional<ChunkProgram> other;
    if (loosen && (plan.peak > budget || plan.time > kNoticeable * plan.unchunkedTime)) {
      loosened = function.clone();
      IndexBounds itsBounds(getOperation());
      FailureOr<ChunkProgram> built = failure();
      if (loosenSharing(*loosened, exact))
        built = buildChunkProgram(*loosened, loosened->front(), itsBounds, exact);
      if (succeeded(built)) {
        other = std::move(*built);
        bound.chunked = std::min(bound.chunked, lowerBounds(other->problem).chunked);
        FailureOr<ChunkPlan> found = searchBlock(*loosened, *other, budget, settings);
        if (failed(found))
          return failure();
        ChunkPlan looser = std::move(*found);
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
    std::optional<CarriedOut> best = carryOut(source, std::move(plan), budget, settings);
    auto fits = [&](const CarriedOut &outcome) { return outcome.plan.peak <= budget; };
    if (!best || (!best->keepsPlan && !fits(*best))) {
      // The model was wrong: other plans, by what they come to.
      ++figures.broken;
      auto attempt = [&](func::FuncOp from, const ChunkProgram &of, int64_t aim, int levels) {
        if (best && fits(*best))
          return;
        FailureOr<ChunkPlan> next = searchBlock(from, of, aim, settings, levels);
        if (failed(next))
          return;
        candidates += next->candidates;
        std::optional<CarriedOut> outcome = carryOut(from, std::move(*next), aim, settings);
        if (outcome && (!best || outcome->plan.peak < best->plan.peak))
          best = std::move(outcome);
      };
      SmallVector<int64_t> aims{0};
      if (best && budget > best->plan.peak - budget)
        aims.insert(aims.begin(), 2 * budget - best->plan.peak);
      for (int64_t aim : aims)
        for (int levels : {2, 1}) {
          attempt(function, *program, aim, levels);
          if (other)
            attempt(*loosened, *other, aim, levels);
        }
      attempt(function, *program, std::numeric_limits<int64_t>::max(), 1);
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
    for (const CarriedOut::Remark &remark : best->remarks) {
      InFlightDiagnostic said = mlir::emitRemark(remark.location) << remark.text;
      if (remark.level == 1)
        said << "; peak " << unchunkedPeak << " -> " << best->plan.peak << " bytes";
    }
    report.append(best->report);
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
