// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Stage "chunk": what the budgets leave for the arena, chunk loops until it fits, and what can be said where it does
// not.
#include "codegen/Codegen.h"
#include "dialects/nn/NnDialect.h"
#include "lib/analysis/Liveness.h"
#include "lib/analysis/NodeName.h"
#include "lib/driver/Pipeline.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/canonicalize/DimSymbols.h"
#include "passes/chunk/ChunkProgram.h"
#include "passes/chunk/Passes.h"
#include "snug/ExitCodes.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace snug;

int64_t Pipeline::planCopy(ModuleOp original) {
  OwningOpRef<ModuleOp> copy(original.clone());
  if (runPasses(*copy, SNUG_EXIT_FAULT, addMemoryPasses))
    return -1;
  auto bytes = (*copy)->getAttrOfType<IntegerAttr>("snug.arena_bytes");
  return bytes ? bytes.getInt() : 0;
}

void Pipeline::measureFixed() {
  report.library = libraryBytes(threads());
  llvm::SmallDenseSet<std::pair<Attribute, Attribute>> seen;
  auto bytesOf = [&](Type type, std::optional<ArrayAttr> texts) {
    auto shaped = cast<ShapedType>(type);
    int64_t bytes = std::max(8u, shaped.getElementTypeBitWidth()) / 8;
    DimSymbols symbols(&context);
    for (const std::string &definition : options.dims) {
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
    if (seen.insert({weight.getDataAttr(), weight.getRecipe()}).second)
      report.weights += llvm::alignTo(bytesOf(weight.getType(), std::nullopt), 64);
  });
  auto main = program->lookupSymbol<func::FuncOp>("main");
  for (BlockArgument argument : main.getArguments()) {
    auto texts = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims");
    int64_t bytes = bytesOf(argument.getType(), texts ? std::optional<ArrayAttr>(texts) : std::nullopt);
    (main.getArgAttr(argument.getArgNumber(), "snug.output") ? report.outputs : report.inputs) += bytes;
  }
}

int Pipeline::chunk() {
  measureFixed();
  report.unchunkedArena = planCopy(*program);
  if (report.unchunkedArena < 0)
    return SNUG_EXIT_FAULT;
  if (Operation *op = peakWitness(*program))
    report.peakNode = nodeName(op->getLoc());
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
  if (options.dryRun)
    whatFits();
  // Without a limit there are no loops, but the time model's figures.
  return selectChunks();
}

// Chunks a copy to `peak` bytes (-1: as few as can be reached) and plans it. Returns the arena's bytes, or -1 where the
// search finds no loops that reach the peak.
int64_t Pipeline::tryChunks(int64_t peak, OwningOpRef<ModuleOp> &chunked) {
  // What the search says of a peak that it cannot reach is said once, by selectChunks, in terms of the arena.
  ScopedDiagnosticHandler quiet(&context, [](Diagnostic &) { return success(); });
  chunked = OwningOpRef<ModuleOp>(program->clone());
  SelectChunksOptions select;
  select.activationBudget = peak;
  select.threads = threads();
  auto start = std::chrono::steady_clock::now();
  if (runPasses(*chunked, SNUG_EXIT_BUDGET, [&](OpPassManager &pm) { pm.addPass(createSelectChunks(select)); }))
    return -1;
  std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  report.search.ms = std::max(report.search.ms, 0.0) + took.count();
  return planCopy(*chunked);
}

int64_t Pipeline::leastArena(OwningOpRef<ModuleOp> &chunked) {
  int64_t least = tryChunks(-1, chunked);
  // Packing luck: without loops it may be as small.
  if (OwningOpRef<ModuleOp> whole; least < 0 || least >= report.unchunkedArena) {
    least = tryChunks(INT64_MAX, whole);
    chunked = std::move(whole);
  }
  return report.leastArena = least < 0 ? report.unchunkedArena : least;
}

OwningOpRef<ModuleOp> Pipeline::fit(int64_t limit) {
  // The search works on live bytes, the arena adds what packing wastes: where it does not fit, ask for that much less.
  OwningOpRef<ModuleOp> chunked;
  int64_t peak = limit;
  for (int attempt = 0; attempt < 4 && peak > 0; ++attempt) {
    int64_t arena = tryChunks(peak, chunked);
    if (arena < 0)
      break;
    if (arena <= limit)
      return chunked;
    peak -= arena - limit;
  }
  return {};
}

static double modelledMs(ModuleOp module, StringRef key) {
  auto times = module->getAttrOfType<DictionaryAttr>("snug.time_model");
  auto ms = times ? times.getAs<FloatAttr>(key) : nullptr;
  return ms ? ms.getValueAsDouble() : -1;
}

void Pipeline::whatFits() {
  auto point = [&](int64_t budget, ModuleOp chunked) {
    double before = modelledMs(chunked, "unchunked_ms"), after = modelledMs(chunked, "chunked_ms");
    report.fits.push_back({budget, before > 0 && after > 0 ? after / before : 1});
  };
  report.fits.push_back({report.unchunkedArena, 1});
  OwningOpRef<ModuleOp> smallest;
  int64_t least = leastArena(smallest);
  for (int quarter = 3; quarter > 0; --quarter) {
    int64_t budget = least + (report.unchunkedArena - least) / 4 * quarter;
    if (budget > least && budget < report.unchunkedArena)
      if (OwningOpRef<ModuleOp> chunked = fit(budget))
        point(budget, *chunked);
  }
  if (least < report.unchunkedArena)
    point(least, *smallest);
}

int Pipeline::selectChunks() {
  int64_t limit = arenaLimit.value_or(INT64_MAX);
  OwningOpRef<ModuleOp> chunked = fit(limit);
  if (!chunked) {
    OwningOpRef<ModuleOp> least; // the smallest peak may pack where larger ones did not
    if (leastArena(least) > limit)
      return cannotFit(*least);
    chunked = std::move(least);
  }
  program = std::move(chunked);
  recordPlanOf(*program);
  return SNUG_EXIT_DONE;
}

// Says what can be reached instead, which budget to give, and where the peak stays.
int Pipeline::cannotFit(ModuleOp least) {
  int64_t arena = report.leastArena, memory = arena + report.fixed();
  bool activation = report.activationBudget >= 0 && arena > report.activationBudget;
  bool whole = report.memoryBudget >= 0 && memory > report.memoryBudget;
  report.leastReachable = activation ? arena : memory;
  report.arena = arena; // the report is about the plan that can be had
  recordPlanOf(least);
  llvm::raw_ostream &os = llvm::errs();
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
    os << ", and no plan of single-level chunk loops needs less than " << printBytes(report.lb2);
  if (report.lb0 >= 0)
    os << ", no program of these ops less than " << printBytes(report.lb0);
  os << "; give" << (activation ? " --activation-budget " + std::to_string(arena) + "B" : "")
     << (whole ? " --memory-budget " + std::to_string(memory) + "B" : "") << "\n";
  if (Operation *witness = peakWitness(least))
    emitError(witness->getLoc()) << "stands in the way: with the least arena, most bytes are live here";
  return SNUG_EXIT_BUDGET;
}

Operation *Pipeline::peakWitness(ModuleOp target) {
  auto main = target.lookupSymbol<func::FuncOp>("main");
  IndexBounds bounds(target);
  auto liveness = Liveness::compute(main, [&](Value value) { return tensorBytes(value, bounds); });
  return failed(liveness) ? nullptr : liveness->peakOp;
}

void Pipeline::recordPlanOf(ModuleOp target) {
  report.unchunkedMs = modelledMs(target, "unchunked_ms");
  report.chunkedMs = modelledMs(target, "chunked_ms");
  if (auto search = target->getAttrOfType<DictionaryAttr>("snug.search")) {
    auto number = [&](StringRef key) { return search.getAs<IntegerAttr>(key).getInt(); };
    report.search.ops = number("ops");
    report.search.blocks = number("blocks");
    report.search.distinctBlocks = number("distinct_blocks");
    report.search.candidates = number("candidates");
  }
  auto loops = target->getAttrOfType<ArrayAttr>("snug.chunk_report");
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
