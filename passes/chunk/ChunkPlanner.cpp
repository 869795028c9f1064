// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/chunk/ChunkPlanner.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Liveness.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "llvm/Support/Debug.h"
#include "llvm/Support/MemoryBuffer.h"

#include <chrono>
#include <limits>

#define DEBUG_TYPE "snug-select-chunks"

using namespace mlir;
using namespace snug;

// What a plan may cost before others are tried.
static constexpr double kNoticeable = 1.02;

/// The function, or a copy of it that shares less.
struct ChunkPlanner::Variant {
  OwningOpRef<func::FuncOp> copy;
  func::FuncOp function;
  std::unique_ptr<BlockSearch> search;
};

struct ChunkPlanner::Function {
  std::string name;
  std::map<Sharing, std::unique_ptr<Variant>> variants; ///< null: there is none. Without any it is left as it is
  LowerBounds bound;
};

// What the search did, summed over the module's functions.
struct ChunkPlanner::Figures {
  double unchunkedTime = 0, time = 0; // seconds
  int64_t lb1 = 0, lb2 = 0;
  int64_t ops = 0, blocks = 0, distinctBlocks = 0, candidates = 0;
  int64_t broken = 0; // functions whose first plan the program did not keep

  DictionaryAttr describe(MLIRContext *context) const {
    Builder b(context);
    auto number = [&](StringRef name, int64_t value) { return b.getNamedAttr(name, b.getI64IntegerAttr(value)); };
    auto ms = [&](StringRef name, double time) { return b.getNamedAttr(name, b.getF64FloatAttr(1e3 * time)); };
    return b.getDictionaryAttr({number("ops", ops), number("blocks", blocks), number("distinct_blocks", distinctBlocks),
                                number("candidates", candidates), number("lb1", lb1), number("lb2", lb2),
                                number("broken_plans", broken), ms("unchunked_ms", unchunkedTime),
                                ms("chunked_ms", time)});
  }
};

void ChunkPlanner::registerDialects(DialectRegistry &registry) {
  registry.insert<affine::AffineDialect, arith::ArithDialect, linalg::LinalgDialect, math::MathDialect, scf::SCFDialect,
                  tensor::TensorDialect>();
  registerNnDialect(registry);
  registerMeshDialect(registry);
  registerIndexRuleModels(registry);
  tensor::registerValueBoundsOpInterfaceExternalModels(registry);
  arith::registerValueBoundsOpInterfaceExternalModels(registry);
}

void ChunkPlanner::prepare(ModuleOp module) {
  // A padding is what it is bufferized to, a fill and a part of it written: these can be cut.
  MLIRContext *context = module.getContext();
  RewritePatternSet pads(context), sizes(context);
  linalg::populateDecomposePadPatterns(pads);
  (void)applyPatternsGreedily(module, std::move(pads));
  for (auto function : module.getOps<func::FuncOp>()) {
    separateInits(function);
    sayCopies(function);
  }
  // Sizes must come from where buffers come from, not from results that a loop may take in.
  tensor::DimOp::getCanonicalizationPatterns(sizes, context);
  tensor::EmptyOp::getCanonicalizationPatterns(sizes, context);
  (void)applyPatternsGreedily(module, std::move(sizes));
}

static FailureOr<Machine> findMachine(ModuleOp module, StringRef machineFile) {
  auto attribute = module->getAttrOfType<StringAttr>("snug.machine");
  if (machineFile.empty() && !attribute)
    return builtinMachine(256);
  std::string text = attribute ? attribute.str() : "", problem, from = "the attribute snug.machine";
  if (!machineFile.empty()) {
    from = "the machine file '" + machineFile.str() + "'";
    auto file = llvm::MemoryBuffer::getFile(machineFile, /*IsText=*/true);
    if (!file)
      return module.emitError() << "cannot read " << from << ": " << file.getError().message();
    text = (*file)->getBuffer().str();
  }
  std::optional<Machine> read = parseMachine(text, problem);
  if (!read)
    return module.emitError() << from << " is not valid: " << problem;
  return *read;
}

ChunkPlanner::ChunkPlanner(ModuleOp module, Machine machine, int threads, bool exact)
    : module(module), machine(std::move(machine)), settings{module, this->machine, threads, exact} {}

ChunkPlanner::~ChunkPlanner() = default;

FailureOr<std::unique_ptr<ChunkPlanner>> ChunkPlanner::create(ModuleOp prepared, StringRef machineFile, int threads,
                                                              bool exact) {
  FailureOr<Machine> machine = findMachine(prepared, machineFile);
  if (failed(machine))
    return failure();
  std::unique_ptr<ChunkPlanner> planner(new ChunkPlanner(prepared, *machine, threads, exact));
  for (auto function : prepared.getOps<func::FuncOp>())
    if (!function.isDeclaration() && failed(planner->plan(function)))
      return failure();
  return planner;
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

LogicalResult ChunkPlanner::plan(func::FuncOp source) {
  Function &function = *functions.emplace_back(std::make_unique<Function>());
  function.name = source.getName().str();
  auto leave = [&](Location where, const Twine &why) {
    mlir::emitRemark(where) << "'" << function.name << "' is left as it is: " << why;
    return success();
  };
  if (!llvm::hasSingleElement(source.getBody()))
    return leave(source.getLoc(),
                 "it has control flow between blocks; structure it with scf ops for chunk loops in it");
  IndexBounds bounds(module);
  if (Operation *op = unbounded(source.front(), bounds))
    return leave(op->getLoc(), "a tensor of '" + op->getName().getStringRef() +
                                   "' has no upper bound; bound its dims by snug.dims for chunk loops in it");
  FailureOr<std::unique_ptr<BlockSearch>> search = BlockSearch::create(source, source.front(), settings);
  if (failed(search))
    return failure();
  function.bound = lowerBounds((*search)->program().problem);
  function.variants[Sharing::AsItIs].reset(new Variant{nullptr, source, std::move(*search)});
  return success();
}

ChunkPlanner::Variant *ChunkPlanner::variant(Function &function, Sharing sharing) {
  auto [entry, isNew] = function.variants.try_emplace(sharing);
  if (!isNew)
    return entry->second.get();
  OwningOpRef<func::FuncOp> copy(function.variants.at(Sharing::AsItIs)->function.clone());
  if (!loosenSharing(*copy, sharing, settings.exact))
    return nullptr;
  FailureOr<std::unique_ptr<BlockSearch>> search = BlockSearch::create(*copy, copy->front(), settings);
  if (failed(search))
    return nullptr;
  function.bound.chunked = std::min(function.bound.chunked, lowerBounds((*search)->program().problem).chunked);
  func::FuncOp loosened = *copy;
  entry->second.reset(new Variant{std::move(copy), loosened, std::move(*search)});
  return entry->second.get();
}

const ChunkPlan &ChunkPlanner::search(Variant &variant, int64_t budget, int levels) {
  const auto start = std::chrono::steady_clock::now();
  const ChunkPlan &plan = variant.search->plan(budget, levels);
  searching += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return plan;
}

LogicalResult ChunkPlanner::apply(Function &function, func::FuncOp target, int64_t limit, bool loosen,
                                  Figures &figures, SmallVectorImpl<Attribute> &report) {
  settings.loopsBefore = static_cast<int64_t>(report.size());
  int64_t budget = std::max<int64_t>(limit, 0);
  std::vector<Variant *> variants{variant(function, Sharing::AsItIs)};
  Variant *source = variants.front();
  ChunkPlan plan = search(*source, budget);
  int64_t candidates = plan.candidates;
  const int64_t unchunkedPeak = plan.unchunkedPeak;
  const double unchunkedTime = plan.unchunkedTime;
  // Where loops cost much or are not enough, a program that shares less may do better.
  for (Sharing sharing : {Sharing::Split, Sharing::EachItsOwn, Sharing::OneSum}) {
    bool fits = plan.peak <= budget;
    if (!loosen || (fits && (plan.time <= kNoticeable * unchunkedTime || sharing == Sharing::OneSum)))
      break;
    Variant *looser = variant(function, sharing);
    if (!looser)
      continue;
    variants.push_back(looser);
    const ChunkPlan &its = search(*looser, budget);
    candidates += its.candidates;
    LLVM_DEBUG(llvm::dbgs() << "loosened: peak " << its.peak << ", " << its.loops.size() << " loops\n"
                            << looser->function);
    bool itsFits = its.peak <= budget;
    if (fits == itsFits ? (fits ? its.time < plan.time : its.peak < plan.peak) : itsFits) {
      plan = its;
      source = looser;
    }
  }
  std::optional<CarriedOut> best = carryOut(source->function, std::move(plan), budget, settings);
  auto fits = [&](const CarriedOut &outcome) { return outcome.plan.peak <= budget; };
  if (!best || (!best->keepsPlan && !fits(*best))) {
    // The model was wrong: other plans, by what they come to.
    ++figures.broken;
    auto attempt = [&](Variant *from, int64_t aim, int levels) {
      if (best && fits(*best))
        return;
      const ChunkPlan &next = search(*from, aim, levels);
      candidates += next.candidates;
      std::optional<CarriedOut> outcome = carryOut(from->function, next, aim, settings);
      if (outcome && (!best || outcome->plan.peak < best->plan.peak))
        best = std::move(outcome);
    };
    SmallVector<int64_t> aims{0};
    if (best && budget > best->plan.peak - budget)
      aims.insert(aims.begin(), 2 * budget - best->plan.peak);
    for (int64_t aim : aims)
      for (int levels : {2, 1})
        for (Variant *from : variants)
          attempt(from, aim, levels);
    attempt(variants.front(), std::numeric_limits<int64_t>::max(), 1);
  }
  if (!best)
    return target.emitError() << "internal fault: not even the program as it stands can be carried out";
  figures.unchunkedTime += unchunkedTime;
  figures.time += best->plan.time;
  figures.lb1 = std::max(figures.lb1, function.bound.wholeOps);
  figures.lb2 = std::max(figures.lb2, function.bound.chunked);
  figures.ops += best->plan.ops;
  figures.blocks += best->plan.blocks;
  figures.distinctBlocks += best->plan.distinctBlocks;
  figures.candidates += candidates;
  if (limit >= 0 && best->plan.peak > limit)
    return mlir::emitError(best->peakLocation)
           << "cannot chunk to " << limit << " bytes: the least peak that can be reached is " << best->plan.peak
           << " bytes, here in '" << best->peakName << "'; give at least that much";
  if (best->report.empty())
    return success();
  for (const CarriedOut::Remark &remark : best->remarks) {
    InFlightDiagnostic said = mlir::emitRemark(remark.location) << remark.text;
    if (remark.level == 1)
      said << "; peak " << unchunkedPeak << " -> " << best->plan.peak << " bytes";
  }
  report.append(best->report);
  if (Attribute reassociates = (*best->function)->getAttr(kReassociates))
    target->setAttr(kReassociates, reassociates);
  target.getBody().takeBody(best->function->getBody());
  return success();
}

LogicalResult ChunkPlanner::apply(ModuleOp target, int64_t budget, bool loosen) {
  Figures figures;
  SmallVector<Attribute> report;
  for (std::unique_ptr<Function> &function : functions)
    if (!function->variants.empty() && failed(apply(*function, target.lookupSymbol<func::FuncOp>(function->name), budget, loosen,
                                         figures, report)))
      return failure();
  target->setAttr("snug.chunk_report", ArrayAttr::get(target.getContext(), report));
  target->setAttr("snug.chunk_figures", figures.describe(target.getContext()));
  return success();
}
