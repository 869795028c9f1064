// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The pipeline, top to bottom. Every deciding stage works on the program the stages before it left.
#include "lib/driver/Pipeline.h"
#include "codegen/Codegen.h"
#include "dialects/nn/NnDialect.h"
#include "lib/import/onnx/Importer.h"
#include "lib/analysis/Liveness.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/Passes.h"
#include "passes/canonicalize/DimSymbols.h"
#include "passes/canonicalize/InferDims.h"
#include "passes/canonicalize/Passes.h"
#include "passes/chunk/ChunkProgram.h"
#include "passes/chunk/Passes.h"
#include "passes/fuse/Passes.h"
#include "passes/memory/Passes.h"
#include "passes/schedule/Passes.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

using namespace mlir;
using namespace snug;

int Pipeline::run() {
  struct Step {
    Stage stage;
    int (Pipeline::*function)();
  };
  const Step line[] = {
      {Stage::Import, &Pipeline::import},
      {Stage::Canonicalize, &Pipeline::canonicalize},
      // Only after fusion is a value a buffer, so what follows can count memory exactly.
      {Stage::Fuse, &Pipeline::fuse},
      // Order and destinations are decided on whole kernels, before loops are put around some of them.
      {Stage::Schedule, &Pipeline::schedule},
      {Stage::Chunk, &Pipeline::chunk},
      {Stage::Memory, &Pipeline::memory},
      {Stage::Library, &Pipeline::library},
  };
  for (const Step &step : line) {
    auto start = std::chrono::steady_clock::now();
    if (int code = (this->*step.function)())
      return code;
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    report.timing.push_back({stageName(step.stage), took.count()});
    if (step.stage == options.emit || (options.dryRun && step.stage == Stage::Memory))
      return SNUG_EXIT_DONE;
  }
  return SNUG_EXIT_DONE;
}

int Pipeline::runPasses(ModuleOp target, int exitCode, llvm::function_ref<void(OpPassManager &)> build) {
  PassManager manager(&context);
  build(manager);
  return failed(manager.run(target)) ? exitCode : SNUG_EXIT_DONE;
}

int Pipeline::import() {
  ImportError error;
  auto imported = importOnnx(context, options.model, error);
  if (failed(imported)) {
    llvm::errs() << "snugc: error: " << error.message << "\n";
    return error.exitCode;
  }
  program = std::move(*imported);
  return SNUG_EXIT_DONE;
}

int Pipeline::checkDims() {
  auto usage = [&](const Twine &message) {
    llvm::errs() << "snugc: error: " << message << "\n";
    return SNUG_EXIT_USAGE;
  };
  auto main = program->lookupSymbol<func::FuncOp>("main");
  DimSymbols none(&context), given(&context);
  SmallVector<std::string> known, missing;
  for (const std::string &definition : options.dims) {
    std::string problem;
    if (!given.add(definition, problem))
      return usage(problem);
  }
  for (BlockArgument argument : main.getArguments())
    if (auto texts = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims"))
      for (StringRef text : texts.getAsValueRange<StringAttr>())
        none.parse(text, known);
  for (const std::string &definition : options.dims) {
    std::string name = StringRef(definition).split('=').first.trim().str();
    if (!llvm::is_contained(known, name))
      return usage("the model has no dim '" + name + "'" +
                   (known.empty() ? std::string("; all its dims are fixed") : "; its dims are " + llvm::join(known, ", ")));
  }
  dims.assign(options.dims.begin(), options.dims.end());
  inferDims(*program, dims, missing);
  if (missing.empty())
    return SNUG_EXIT_DONE;
  std::string command = "snugc " + options.model + (options.output.empty() ? "" : " -o " + options.output);
  for (const std::string &definition : options.dims)
    command += " --dim " + definition;
  for (const std::string &name : missing)
    command += " --dim " + name + "=1";
  return usage("dim" + std::string(missing.size() == 1 ? " '" : "s '") + llvm::join(missing, "', '") +
               (missing.size() == 1 ? "' has" : "' have") + " no value; for example:\n  " + command);
}

int Pipeline::canonicalize() {
  if (int code = checkDims())
    return code;
  LowerOnnxOptions lower;
  for (const std::string &definition : dims)
    lower.dims.push_back(definition);
  return runPasses(*program, SNUG_EXIT_UNSUPPORTED, [&](OpPassManager &pm) {
    pm.addPass(createLowerOnnx(lower));
    pm.addPass(createVerifyCanonical());
  });
}

int Pipeline::threads() const {
  return options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
}

int Pipeline::fuse() {
  return runPasses(*program, SNUG_EXIT_FAULT, [&](OpPassManager &pm) {
    pm.addNestedPass<func::FuncOp>(createFuse());
    pm.addNestedPass<func::FuncOp>(createVerifyKernels());
  });
}

int Pipeline::schedule() {
  Builder builder(&context);
  (*program)->setAttr("snug.threads", builder.getI64IntegerAttr(threads()));
  (*program)->setAttr("snug.model_name", builder.getStringAttr(llvm::sys::path::stem(options.model)));
  return runPasses(*program, SNUG_EXIT_FAULT, [&](OpPassManager &pm) { pm.addPass(createSchedule()); });
}

static void addMemoryPasses(OpPassManager &pm) {
  pm.addPass(createBufferize());
  pm.addPass(createPlanArena());
  pm.addPass(createVerifyPlan());
}

int64_t Pipeline::planCopy(ModuleOp original) {
  OwningOpRef<ModuleOp> copy(original.clone());
  if (runPasses(*copy, SNUG_EXIT_FAULT, addMemoryPasses))
    return -1;
  auto bytes = (*copy)->getAttrOfType<IntegerAttr>("snug.arena_bytes");
  return bytes ? bytes.getInt() : 0;
}

void Pipeline::measureFixed() {
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
  report.memoryBudget = options.memoryBudget.bytes;
  int64_t fixed = report.weights + report.library + report.inputs + report.outputs;
  if (options.memoryBudget.isSet()) {
    arenaLimit = options.memoryBudget.bytes - fixed;
    if (arenaLimit < 0) {
      report.leastReachable = fixed;
      llvm::errs() << "snugc: error: weights (" << printBytes(report.weights) << "), inputs (" << printBytes(report.inputs)
                   << ") and outputs (" << printBytes(report.outputs) << ") alone need " << printBytes(fixed)
                   << ", the memory budget is " << printBytes(options.memoryBudget.bytes) << "\n";
      return SNUG_EXIT_BUDGET;
    }
  }
  if (options.activationBudget.isSet()) {
    int64_t bytes = options.activationBudget.bytes >= 0
                        ? options.activationBudget.bytes
                        : static_cast<int64_t>(report.unchunkedArena * (options.activationBudget.percent / 100));
    report.activationBudget = bytes;
    arenaLimit = arenaLimit < 0 ? bytes : std::min(arenaLimit, bytes);
  }
  if (arenaLimit < 0 || report.unchunkedArena <= arenaLimit)
    return SNUG_EXIT_DONE;
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
  if (runPasses(*chunked, SNUG_EXIT_BUDGET, [&](OpPassManager &pm) { pm.addPass(createSelectChunks(select)); }))
    return -1;
  return planCopy(*chunked);
}

int Pipeline::selectChunks() {
  // The search works on live bytes, the arena adds what packing wastes: where it does not fit, ask for that much less.
  OwningOpRef<ModuleOp> chunked;
  int64_t peak = arenaLimit;
  for (int attempt = 0; attempt < 4 && peak > 0; ++attempt) {
    int64_t arena = tryChunks(peak, chunked);
    if (arena < 0)
      break;
    if (arena <= arenaLimit) {
      program = std::move(chunked);
      recordLoops();
      return SNUG_EXIT_DONE;
    }
    peak -= arena - arenaLimit;
  }
  int64_t least = tryChunks(-1, chunked);
  if (least < 0)
    least = report.unchunkedArena;
  least = std::min(least, report.unchunkedArena);
  if (least <= arenaLimit) { // packing luck: the smallest peak packs where larger ones did not
    program = std::move(chunked);
    recordLoops();
    return SNUG_EXIT_DONE;
  }
  int64_t fixed = report.weights + report.library + report.inputs + report.outputs;
  bool whole = options.memoryBudget.isSet() && arenaLimit == options.memoryBudget.bytes - fixed;
  report.leastReachable = least + (whole ? fixed : 0);
  llvm::errs() << "snugc: error: the arena cannot fit " << printBytes(arenaLimit) << ": the least that can be reached is "
               << printBytes(least) << " (unchunked " << printBytes(report.unchunkedArena) << "); give "
               << (whole ? "--memory-budget " : "--activation-budget ") << report.leastReachable << "B\n";
  if (Operation *witness = peakWitness(*chunked))
    emitError(witness->getLoc()) << "stands in the way: most bytes are live here";
  return SNUG_EXIT_BUDGET;
}

Operation *Pipeline::peakWitness(ModuleOp target) {
  auto main = target.lookupSymbol<func::FuncOp>("main");
  IndexBounds bounds(target);
  auto liveness = Liveness::compute(main, [&](Value value) { return tensorBytes(value, bounds); });
  return failed(liveness) ? nullptr : liveness->peakOp;
}

void Pipeline::recordLoops() {
  auto loops = (*program)->getAttrOfType<ArrayAttr>("snug.chunk_report");
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

int Pipeline::memory() {
  if (int code = runPasses(*program, SNUG_EXIT_FAULT, addMemoryPasses))
    return code;
  auto number = [&](StringRef name) {
    auto attribute = (*program)->getAttrOfType<IntegerAttr>(name);
    return attribute ? attribute.getInt() : 0;
  };
  report.arena = number("snug.arena_bytes");
  report.schedBound = number("snug.sched_bound");
  if (arenaLimit >= 0 && report.arena > arenaLimit) {
    // The search promised a peak that the packing did not reach: never pass it on silently.
    llvm::errs() << "snugc: error: the plan needs " << printBytes(report.arena) << ", the arena may have "
                 << printBytes(arenaLimit) << "\n";
    report.leastReachable = report.arena;
    return SNUG_EXIT_BUDGET;
  }
  return SNUG_EXIT_DONE;
}

int Pipeline::library() {
  CodegenOptions codegen;
  codegen.outputPath = options.output;
  codegen.modelDirectory = llvm::sys::path::parent_path(options.model).str();
  if (codegen.modelDirectory.empty())
    codegen.modelDirectory = ".";
  codegen.march = options.march == "native" ? "" : options.march;
  codegen.target = options.target;
  codegen.threads = threads();
  CodegenReport result;
  if (failed(compileToLibrary(*program, codegen, result))) {
    llvm::errs() << "snugc: error: " << result.error << "\n";
    return result.exitCode ? result.exitCode : SNUG_EXIT_FAULT;
  }
  report.weights = result.weightsBytes;
  return SNUG_EXIT_DONE;
}
