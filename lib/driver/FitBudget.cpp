// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Stage "chunk": what the budgets leave for the arena, chunk loops until it fits, and what can be said where it does
// not.
#include "codegen/Codegen.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/NodeName.h"
#include "lib/driver/Pipeline.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/canonicalize/DimSymbols.h"
#include "snug/ExitCodes.h"
#include "llvm/Support/raw_ostream.h"
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace snug;

void Pipeline::measureFixed() {
  report.library = libraryBytes(*program, threads(), options.gpuCapability != 0);
  llvm::SmallDenseSet<std::pair<Attribute, Attribute>> seen;
  auto bytesOf = [&](Type type, std::optional<ArrayAttr> texts) {
    auto shaped = cast<ShapedType>(type);
    int64_t bytes = std::max(8u, shaped.getElementTypeBitWidth()) / 8;
    DimSymbols symbols(&context);
    for (const std::string &definition : dims) {
      std::string ignored;
      symbols.add(definition, ignored);
    }
    for (int64_t dim = 0; dim < shaped.getRank(); ++dim) {
      int64_t size = shaped.getDimSize(dim);
      if (ShapedType::isDynamic(size) && texts) {
        SmallVector<std::string> missing;
        auto extent = symbols.parse(cast<StringAttr>((*texts)[dim]).getValue(), missing);
        size = extent ? symbols.upperBound(*extent).value_or(0) : 0;
      }
      bytes *= size;
    }
    return bytes;
  };
  program->walk([&](nn::WeightOp weight) {
    bool isString = cast<ShapedType>(weight.getType()).getElementType().isInteger(128); // part of the library
    if (!isString && seen.insert({weight.getDataAttr(), weight.getRecipe()}).second)
      report.weights += llvm::alignTo(bytesOf(weight.getType(), std::nullopt), 64);
  });
  auto main = program->lookupSymbol<func::FuncOp>("main");
  for (BlockArgument argument : main.getArguments()) {
    if (main.getArgAttr(argument.getArgNumber(), kShapeOf)) // some bytes of the context
      continue;
    auto texts = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims");
    int64_t bytes = bytesOf(argument.getType(), texts ? std::optional<ArrayAttr>(texts) : std::nullopt);
    (main.getArgAttr(argument.getArgNumber(), "snug.output") ? report.outputs : report.inputs) += bytes;
  }
}

void Pipeline::limitArena() {
  if (options.memoryBudget.isSet()) {
    report.memoryBudget = options.memoryBudget.bytes;
    arenaLimit = report.memoryBudget - report.fixed();
  }
  if (options.activationBudget.isSet()) {
    report.activationBudget =
        options.activationBudget.bytes >= 0
            ? options.activationBudget.bytes
            : static_cast<int64_t>(report.unchunkedArena * (options.activationBudget.percent / 100));
    arenaLimit = std::min(arenaLimit.value_or(report.activationBudget), report.activationBudget);
  }
  if (arenaLimit)
    report.arenaLimit = std::max<int64_t>(*arenaLimit, 0);
}

ActivationPlanner &Pipeline::betterPlanner() {
  if (!planner)
    planner = std::make_unique<ActivationPlanner>(*program, threads());
  if (!undonated)
    return *planner;
  if (!undonatedPlanner)
    undonatedPlanner = std::make_unique<ActivationPlanner>(*undonated, threads());
  const ActivationPlan *with = planner->least(), *without = undonatedPlanner->least();
  return without && (!with || without->arena < with->arena) ? *undonatedPlanner : *planner;
}

int Pipeline::need(double &share, double *seconds) {
  for (auto stage : {&Pipeline::canonicalize, &Pipeline::shard, &Pipeline::fuse, &Pipeline::schedule})
    if (int code = (this->*stage)())
      return code;
  measureFixed();
  limitArena();
  const ActivationPlan *least = betterPlanner().least();
  if (!least)
    return SNUG_EXIT_FAULT;
  auto shareOf = [](int64_t bytes, int64_t budget) { return budget < 0 ? 0.0 : double(bytes) / double(std::max<int64_t>(budget, 1)); };
  share = std::max(shareOf(least->arena, report.activationBudget), shareOf(least->arena + report.fixed(), report.memoryBudget));
  if (!seconds || share > 1)
    return SNUG_EXIT_DONE;
  const ActivationPlan *plan = betterPlanner().fit(arenaLimit.value_or(INT64_MAX));
  if (!plan)
    return SNUG_EXIT_FAULT;
  // Chunk loops take more time than none, in what a device computes.
  *seconds = (report.mesh ? report.mesh->candidates.front().seconds : 0) +
             (plan->figures.chunkedMs - (report.mesh ? plan->figures.unchunkedMs : 0)) / 1e3;
  return SNUG_EXIT_DONE;
}

int Pipeline::chunk() {
  measureFixed();
  report.lb0 = report.weights + report.inputs + report.outputs;
  report.unchunkedArena = plannedArena(*program, options.reports.empty() ? nullptr : &report.unchunked);
  if (report.unchunkedArena < 0)
    return SNUG_EXIT_FAULT;
  if (Operation *op = peakOp(*program))
    report.peakNode = nodeName(op->getLoc());
  limitArena();
  if (options.dryRun || options.budgetSweep) {
    // Each of these budgets can be met: where it takes that, without the donation.
    report.fits = betterPlanner().whatFits(options.budgetSweep ? FitSteps::Curve : FitSteps::Even);
    if (!report.fits)
      return SNUG_EXIT_FAULT;
    report.leastArena = report.fits->points.back().budget;
  }
  return selectChunks();
}

int Pipeline::selectChunks() {
  if (!planner)
    planner = std::make_unique<ActivationPlanner>(*program, threads());
  // Without a limit there are no loops, but the time model's figures.
  const int64_t limit = arenaLimit.value_or(INT64_MAX);
  const ActivationPlan *plan = planner->fit(limit);
  if (!plan)
    plan = betterPlanner().fit(limit);
  if (!plan)
    return cannotFit();
  recordPlan(*plan);
  OwningOpRef<ModuleOp> chosen(plan->program.get().clone());
  planner.reset();
  undonatedPlanner.reset();
  program = std::move(chosen);
  return SNUG_EXIT_DONE;
}

// Says what can be reached instead, which budget to give, and where the peak stays.
int Pipeline::cannotFit() {
  const ActivationPlan *least = betterPlanner().least();
  if (!least)
    return SNUG_EXIT_FAULT;
  report.leastArena = least->arena;
  int64_t arena = report.leastArena, memory = arena + report.fixed();
  bool activation = report.activationBudget >= 0 && arena > report.activationBudget;
  bool whole = report.memoryBudget >= 0 && memory > report.memoryBudget;
  report.leastReachable = activation ? arena : memory;
  report.arena = arena; // the report is about the plan that can be had
  recordPlan(*least);
  if (!options.reports.empty())
    plannedArena(*least->program, &report.planned);
  llvm::raw_ostream &os = options.console.messages();
  os << "snugc: error: the model cannot fit ";
  if (activation)
    os << "--activation-budget " << printBytes(report.activationBudget) << (whole ? " and " : "");
  if (whole)
    os << "--memory-budget " << printBytes(report.memoryBudget) << " (weights " << printBytes(report.weights)
       << ", inputs " << printBytes(report.inputs) << ", outputs " << printBytes(report.outputs) << " and library "
       << printBytes(report.library) << " alone take " << printBytes(report.fixed()) << ")";
  os << ": the least arena that can be reached is " << printBytes(arena) << " (unchunked "
     << printBytes(report.unchunkedArena) << ")";
  if (report.lb2 >= 0)
    os << ", and no plan that computes only cheap ops more than once needs less than " << printBytes(report.lb2);
  os << "; give" << (activation ? " --activation-budget " + std::to_string(arena) + "B" : "")
     << (whole ? " --memory-budget " + std::to_string(memory) + "B" : "") << "\n";
  if (Operation *witness = peakOp(*least->program))
    emitError(witness->getLoc()) << "stands in the way: with the least arena, most bytes are live here";
  return SNUG_EXIT_BUDGET;
}

void Pipeline::recordPlan(const ActivationPlan &plan) {
  report.search = plan.figures;
  for (const ActivationPlanner *asked : {planner.get(), undonatedPlanner.get()})
    report.search->searchMs += asked ? asked->searchMs() : 0;
  report.lb1 = plan.figures.lb1;
  report.lb2 = plan.figures.lb2;
  auto loops = (*plan.program)->getAttrOfType<ArrayAttr>("snug.chunk_report");
  nlohmann::json all = nlohmann::json::array();
  for (Attribute attribute : loops ? loops.getValue() : ArrayRef<Attribute>()) {
    nlohmann::json loop;
    for (NamedAttribute field : cast<DictionaryAttr>(attribute)) {
      auto name = field.getName().str();
      if (auto number = dyn_cast<IntegerAttr>(field.getValue()))
        loop[name] = number.getInt();
      else if (auto text = dyn_cast<StringAttr>(field.getValue()))
        loop[name] = text.str();
      else
        for (StringRef node : cast<ArrayAttr>(field.getValue()).getAsValueRange<StringAttr>())
          loop[name].push_back(node.str());
    }
    all.push_back(loop);
  }
  report.chunkLoops = all.dump();
}
