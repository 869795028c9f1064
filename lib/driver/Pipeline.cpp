// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The pipeline, top to bottom. Every deciding stage works on the program the stages before it left.
#include "lib/driver/Pipeline.h"
#include "codegen/Codegen.h"
#include "dialects/nn/TextOps.h"
#include "dialects/onnx/OnnxDialect.h"
#include "dialects/plan/Buckets.h"
#include "dialects/plan/PlanDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/NodeName.h"
#include "lib/driver/DrawMemory.h"
#include "lib/driver/InputValues.h"
#include "lib/driver/OutputFile.h"
#include "lib/import/onnx/Importer.h"
#include "lib/solver/MeshPlanText.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/Passes.h"
#include "passes/canonicalize/Canonicalize.h"
#include "passes/canonicalize/DimSymbols.h"
#include "passes/canonicalize/ExpandInputs.h"
#include "passes/canonicalize/InferDims.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/chunk/ChunkProgram.h"
#include "passes/chunk/Passes.h"
#include "passes/fuse/Passes.h"
#include "passes/memory/Passes.h"
#include "passes/schedule/Passes.h"
#include "passes/shard/Passes.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
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
      // Before fusion, as a collective may stand within what would be one kernel.
      {Stage::Shard, &Pipeline::shard},
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
    options.console.showProgress(stageName(step.stage));
    // The line is cleared before anything else is said.
    ScopedDiagnosticHandler clear(&context, [&](Diagnostic &) { return options.console.showProgress(nullptr), failure(); });
    int code = (this->*step.function)();
    options.console.showProgress(nullptr);
    if (code)
      return code;
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    report.timing.push_back({stageName(step.stage), took.count()});
    if (step.stage == Stage::Shard)
      sayMesh();
    if (int failed = saveProgram(step.stage))
      return failed;
    if (step.stage == options.emit || (options.dryRun && step.stage == Stage::Memory) ||
        (options.check && step.stage == Stage::Schedule))
      return SNUG_EXIT_DONE;
  }
  return SNUG_EXIT_DONE;
}

int Pipeline::runPasses(ModuleOp target, int exitCode, llvm::function_ref<void(OpPassManager &)> build) {
  PassManager manager(&context);
  build(manager);
  return failed(manager.run(target)) ? exitCode : SNUG_EXIT_DONE;
}

OnnxSource Pipeline::source() const {
  return options.modelBytes ? OnnxSource(options.model, StringRef(*options.modelBytes)) : OnnxSource(options.model);
}

int Pipeline::import() {
  ImportError error;
  auto isLowered = [](StringRef domain, StringRef opType, int64_t opset) {
    return LoweringTable::get().find(domain, opType, opset) != nullptr;
  };
  TensorPins pins = options.pins;
  auto imported = importOnnx(context, source(), error, /*dataMayBeMissing=*/options.dryRun || options.check, isLowered, &pins);
  if (failed(imported)) {
    return options.console.fail(error.exitCode, printable(error.message));
  }
  program = std::move(*imported);
  recordFiles();
  return checkPins(pins);
}

int Pipeline::checkPins(const TensorPins &unknown) {
  auto main = program->lookupSymbol<func::FuncOp>("main");
  auto names = [](unsigned count, llvm::function_ref<DictionaryAttr(unsigned)> attributes) {
    std::string all;
    for (unsigned i = 0; i < count; ++i)
      if (auto name = attributes(i).getAs<StringAttr>("snug.name"))
        all += (all.empty() ? "" : ", ") + name.str();
    return all;
  };
  if (!unknown.empty())
    return options.console.fail(
        SNUG_EXIT_USAGE,
        "--shard: the model's graph has no value '" + printable(unknown.begin()->first) + "'; its inputs are " +
            printable(names(main.getNumArguments(), [&](unsigned i) { return main.getArgAttrDict(i); })) + ", its outputs " +
            printable(names(main.getNumResults(), [&](unsigned i) { return main.getResultAttrDict(i); })) +
            ", and any weight or result of a node that is not in a loop, branch or function can be named");
  for (auto initializer : program->getOps<onnx::InitializerOp>())
    if (initializer->hasAttr(onnx::kTensorPin) && initializer.getValueAttr())
      return options.console.fail(SNUG_EXIT_UNSUPPORTED, "--shard: '" + printable(initializer.getSymName().str()) +
                                                             "' has so few elements that they are part of the program, which all devices have");
  return SNUG_EXIT_DONE;
}

void Pipeline::recordFiles() {
  if (!options.modelBytes)
    report.files = {options.model};
  if (!options.machineFile.empty())
    report.files.push_back(options.machineFile);
  if (llvm::sys::fs::exists(options.topologyFile)) // it may be a preset's name
    report.files.push_back(options.topologyFile);
  std::string folder = llvm::sys::path::parent_path(options.model).str();
  llvm::StringSet<> seen;
  seen.insert(llvm::sys::path::filename(options.model));
  program->walk([&](onnx::InitializerOp op) {
    if (op.getFile() && !options.modelBytes && seen.insert(*op.getFile()).second) {
      llvm::SmallString<256> path(folder);
      llvm::sys::path::append(path, *op.getFile());
      report.files.push_back(path.str().str());
    }
  });
}

int Pipeline::saveProgram(Stage stage) {
  if (options.saveTemps.empty() || stage == Stage::Library) // code generation writes its own
    return SNUG_EXIT_DONE;
  std::string path = options.saveTemps + "/" + std::to_string(int(stage)) + "-" + stageName(stage) + ".mlir", text,
              problem;
  llvm::raw_string_ostream os(text);
  program->print(os, OpPrintingFlags().enableDebugInfo(true).useLocalScope());
  if (writeOutput(path, text + "\n", problem))
    return SNUG_EXIT_DONE;
  return options.console.fail(SNUG_EXIT_MACHINE, "cannot write '" + path + "': " + problem);
}

int Pipeline::checkDims() {
  auto usage = [&](const Twine &message) { return options.console.fail(SNUG_EXIT_USAGE, message); };
  auto main = program->lookupSymbol<func::FuncOp>("main");
  DimSymbols none(&context), given(&context);
  SmallVector<std::string> known, missing;
  for (const std::string &definition : dims) {
    std::string problem;
    if (!given.add(definition, problem))
      return usage(problem);
  }
  for (BlockArgument argument : main.getArguments())
    if (auto texts = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims"))
      for (StringRef text : texts.getAsValueRange<StringAttr>())
        none.parse(text, known);
  for (BlockArgument argument : main.getArguments())
    if (auto names = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), kValueDims))
      for (StringRef name : names.getAsValueRange<StringAttr>())
        known.push_back(name.str());
  for (const std::string &definition : dims) {
    std::string name = StringRef(definition).split('=').first.trim().str();
    if (!llvm::is_contained(known, name))
      return usage("the model has no dim '" + name + "'" +
                   (known.empty() ? std::string("; all its dims are fixed") : "; its dims are " + llvm::join(known, ", ")));
  }
  inferDims(*program, dims, missing);
  // What is supported does not depend on the size of a dim that nobody stated; a small one is as good as any.
  while (options.check && !missing.empty()) {
    dims.push_back(missing.front() + "=8");
    missing.clear();
    inferDims(*program, dims, missing);
  }
  if (missing.empty())
    return SNUG_EXIT_DONE;
  std::string command = commandText(options);
  for (const std::string &name : missing)
    command += " --dim " + shellWord(printable(name) + "=1");
  return usage("dim" + std::string(missing.size() == 1 ? " '" : "s '") + printable(llvm::join(missing, "', '")) +
               (missing.size() == 1 ? "' has" : "' have") + " no value; for example:\n  " + command);
}

int Pipeline::expandInputs() {
  dims.assign(options.dims.begin(), options.dims.end());
  std::string problem;
  if (succeeded(snug::expandInputs(*program, dims, problem)))
    return SNUG_EXIT_DONE;
  return options.console.fail(SNUG_EXIT_USAGE, printable(problem));
}

int Pipeline::markValues() {
  std::vector<std::string> bounded;
  int code = markInputValues(*program, options, bounded);
  dims.append(bounded.begin(), bounded.end());
  return code;
}

int Pipeline::markDonated() {
  auto main = program->lookupSymbol<func::FuncOp>("main");
  llvm::StringMap<unsigned> inputs;
  std::string names;
  for (unsigned i = 0; i < main.getNumArguments(); ++i)
    if (auto name = main.getArgAttrOfType<StringAttr>(i, "snug.name")) {
      inputs[name] = i;
      names += (names.empty() ? "" : ", ") + name.str();
    }
  for (const std::string &name : options.donated) {
    auto found = inputs.find(name);
    if (found == inputs.end()) {
      return options.console.fail(SNUG_EXIT_USAGE, "--donate: the model has no input '" + printable(name) +
                                                       "'; its inputs are " + printable(names));
    }
    main.setArgAttr(found->second, kDonatedArgument, UnitAttr::get(&context));
  }
  return SNUG_EXIT_DONE;
}

int Pipeline::canonicalize() {
  if (int code = expandInputs())
    return code;
  if (failed(checkTypes(*program)))
    return SNUG_EXIT_UNSUPPORTED;
  for (auto check : {&Pipeline::markValues, &Pipeline::checkDims, &Pipeline::markDonated})
    if (int code = (this->*check)())
      return code;
  if (options.gpuCapability) {
    // Its products read matrices as they are; those of few rows have kernels of their own.
    (*program)->setAttr("snug.panel_columns", Builder(&context).getI64IntegerAttr(0));
    (*program)->setAttr("snug.few_rows", Builder(&context).getI64IntegerAttr(16));
    // Two on each of an H100's processors. The same for all chips, as results are to be.
    (*program)->setAttr("snug.blocks", Builder(&context).getI64IntegerAttr(2 * 132));
  }
  if (options.precision != "f32")
    (*program)->setAttr(kPrecision, StringAttr::get(&context, options.precision));
  (*program)->setAttr("snug.text_pieces", Builder(&context).getI64IntegerAttr(options.textPieces));
  if (!options.imageSize.empty())
    (*program)->setAttr("snug.image_size", DenseI64ArrayAttr::get(&context, options.imageSize));
  return runPasses(*program, SNUG_EXIT_UNSUPPORTED, [&](OpPassManager &pm) { addCanonicalizePasses(pm, dims); });
}

void Pipeline::sayMesh() {
  if (!report.mesh)
    return;
  const MeshReport &mesh = *report.mesh;
  if (mesh.plan && (options.anyMesh || options.verbose)) {
    MeshSetting said = mesh.setting;
    said.topology.name = printable(said.topology.name);
    for (MeshPhase &phase : said.phases)
      phase.name = printable(phase.name);
    options.console.messages() << meshPlanText(said, *mesh.plan);
  }
  double beyond = 0;
  std::string names;
  for (const MeshReport::Replicated &one : mesh.replicated) {
    beyond += one.bytes;
    names += (names.empty() ? "'" : ", '") + printable(one.weight) + "'";
  }
  if (beyond > 0)
    options.console.messages() << "snugc: warning: each device holds " << printBytes(static_cast<int64_t>(beyond))
                               << " of weights beyond its share, which do not divide by " << mesh.mesh[0] << "x" << mesh.mesh[1]
                               << " devices or are read as a whole: " << names << "\n";
  if (mesh.outside > 0)
    options.console.messages() << "snugc: warning: " << mesh.outside << (mesh.outside == 1 ? " product" : " products")
                               << " with matrices of weights cannot be cut as '" << nameOf(mesh.family) << "' says, and "
                               << (mesh.outside == 1 ? "is" : "are") << " cut freely\n";
}

int Pipeline::shard() {
  if (options.anyMesh || options.mesh[0] * options.mesh[1] > 1) {
    // Devices share the rows, heads or keys of an attention, not each op that it is spelled out in.
    if (int code = runPasses(*program, SNUG_EXIT_FAULT,
                             [&](OpPassManager &pm) { pm.addNestedPass<func::FuncOp>(createFuseAttention()); }))
      return code;
    MeshMix mix;
    if (int code = readMeshMix(*program, options, mix))
      return code;
    auto chosen = chooseMesh(*program, options, threads(), mix);
    if (failed(chosen)) // what was asked for may be what cannot be had
      return options.meshFamily || !options.pins.empty() ? SNUG_EXIT_UNSUPPORTED : SNUG_EXIT_FAULT;
    report.mesh = *chosen;
    if (!chosen->refused.empty())
      return options.triesMeshes ? SNUG_EXIT_UNSUPPORTED : options.console.fail(SNUG_EXIT_UNSUPPORTED, printable(chosen->refused));
    int code = runPasses(*program, SNUG_EXIT_FAULT, [&](OpPassManager &pm) {
      pm.addPass(createPartition());
      pm.addPass(createVerifyPartition());
      pm.addPass(createCanonicalizerPass());
      pm.addPass(createCSEPass());
    });
    if (code)
      return code;
    report.mesh->traffic = trafficOf(*program);
    report.mesh->parts = partsOf(*program);
  }
  if (options.emit >= Stage::Chunk)
    report.eagerArena = eagerArena(*program);
  return SNUG_EXIT_DONE;
}

int Pipeline::threads() const {
  if (options.gpuCapability)
    return 1; // which starts kernels
  return options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
}

int Pipeline::fuse() {
  return runPasses(*program, SNUG_EXIT_FAULT, [&](OpPassManager &pm) {
    pm.addNestedPass<func::FuncOp>(createFuse());
    pm.addPass(createSelectForms());
    pm.addNestedPass<func::FuncOp>(createVerifyKernels());
  });
}

int Pipeline::schedule() {
  Builder builder(&context);
  (*program)->setAttr("snug.threads", builder.getI64IntegerAttr(threads()));
  (*program)->setAttr("snug.machine", builder.getStringAttr(machineText(options.machine)));
  (*program)->setAttr("snug.model_name", builder.getStringAttr(llvm::sys::path::stem(options.model)));
  bool makesStrings = program->walk([](nn::TextOp op) {
    return nn::TextOp::makesStrings(op.getKind()) ? WalkResult::interrupt() : WalkResult::advance();
  }).wasInterrupted();
  if (makesStrings)
    (*program)->setAttr(kTextBytes, builder.getI64IntegerAttr(options.textBytes));
  auto addSchedule = [&](OpPassManager &pm) { pm.addPass(createSchedule()); };
  if (!options.donated.empty() && options.emit >= Stage::Chunk) {
    undonated = OwningOpRef<ModuleOp>(program->clone());
    auto main = undonated->lookupSymbol<func::FuncOp>("main");
    for (unsigned i = 0; i < main.getNumArguments(); ++i)
      main.removeArgAttr(i, kDonatedArgument);
  }
  int code = runPasses(*program, SNUG_EXIT_FAULT, addSchedule);
  if (code == SNUG_EXIT_DONE)
    return undonated ? runPasses(*undonated, SNUG_EXIT_FAULT, addSchedule) : code;
  // A size that nothing bounds is the model's, not Snug's fault. The pass has named it.
  IndexBounds bounds(*program);
  bool bounded = true;
  program->walk([&](Operation *op) {
    for (Value result : op->getResults())
      bounded &= !isa<RankedTensorType>(result.getType()) || tensorBytes(result, bounds).has_value();
  });
  return bounded ? code : SNUG_EXIT_UNSUPPORTED;
}

void Pipeline::addMemoryPasses(OpPassManager &pm, bool overlaps) {
  PlanArenaOptions plan;
  plan.buckets = 64; // what a run reads of them is one row of a table
  pm.addPass(createPlaceParts());
  pm.addPass(createBufferize());
  if (overlaps) {
    OverlapCollectivesOptions overlap;
    overlap.pieces = options.overlap;
    overlap.limit = arenaLimit ? std::max<int64_t>(*arenaLimit, 0) : -1;
    overlap.links = llvm::to_vector(linksOf(options.topology, report.mesh->mesh));
    pm.addPass(createOverlapCollectives(overlap));
  }
  pm.addPass(createPlanArena(plan));
}

// Whether libraries do the same with chunk loops and without: of slices, and in less workspace than they would like, they may choose
// another order of sums.
static bool librariesAreExact(ModuleOp program, int64_t wantedWorkspace) {
  bool isExact = workspaceBytes(program) == wantedWorkspace;
  program.walk([&](Operation *op) {
    for (Operation *around = op; op->hasAttr(kLibrary) && around; around = around->getParentOp())
      isExact &= !around->hasAttr("snug.chunk_loop");
  });
  return isExact;
}

// Neither loops that make sums in parts nor sums that are made for loops.
static bool isExact(ModuleOp program) {
  auto loops = program->getAttrOfType<ArrayAttr>("snug.chunk_report");
  bool accumulates = loops && llvm::any_of(loops.getAsRange<DictionaryAttr>(), [](DictionaryAttr loop) {
    auto kind = loop.getAs<StringAttr>("kind");
    return kind && kind.getValue() == "accumulate";
  });
  return !accumulates && llvm::none_of(program.getOps<func::FuncOp>(),
                                       [](func::FuncOp function) { return function->hasAttr(kReassociates); });
}

int Pipeline::planMemory(bool overlaps) {
  if (int code = runPasses(*program, SNUG_EXIT_FAULT, [&](OpPassManager &pm) { addMemoryPasses(pm, overlaps); }))
    return code;
  int64_t wanted = assignLibraries(*program, options.target, options.march == "native" ? "" : options.march, options.gpuLibraries);
  int code = runPasses(*program, SNUG_EXIT_FAULT, [&](OpPassManager &pm) {
    ReserveWorkspaceOptions workspace;
    workspace.bytes = wanted;
    workspace.limit = arenaLimit ? std::max<int64_t>(*arenaLimit, 0) : -1;
    if (wanted)
      pm.addPass(createReserveWorkspace(workspace));
    pm.addPass(createVerifyPlan());
  });
  report.exact = isExact(*program) && librariesAreExact(*program, wanted);
  return code;
}

void Pipeline::recordLibraries() {
  report.workspace = workspaceBytes(*program);
  program->walk([&](Operation *op) {
    if (auto library = op->getAttrOfType<StringAttr>(kLibrary)) {
      SmallVector<std::string> nodes = nodeNames(op->getLoc());
      report.libraryKernels.push_back({library.str(), {nodes.begin(), nodes.end()}});
    }
  });
}

void Pipeline::recordBuckets() {
  std::optional<Buckets> buckets = Buckets::read(*program);
  auto named = (*program)->getAttrOfType<ArrayAttr>("snug.dims");
  for (size_t i = 0; buckets && i < buckets->size(); ++i) {
    PlanBucket bucket;
    for (auto [dim, bound] : llvm::zip_equal(named.getAsRange<DictionaryAttr>(), buckets->boundsOf(i)))
      bucket.dims.push_back({dim.getAs<StringAttr>("name").str(), bound});
    bucket.arena = buckets->arenas[i];
    report.buckets.push_back(std::move(bucket));
  }
}

int Pipeline::memory() {
  OwningOpRef<ModuleOp> before;
  bool overlaps = report.mesh && options.overlap != 1;
  if (overlaps && arenaLimit)
    before = program->clone();
  if (int code = planMemory(overlaps))
    return code;
  // What is live fits, but packing is another matter: then without.
  auto arena = (*program)->getAttrOfType<IntegerAttr>("snug.arena_bytes");
  if (before && arena && arena.getInt() > *arenaLimit) {
    program = std::move(before);
    overlaps = false;
    if (int code = planMemory(overlaps))
      return code;
  }
  if (report.mesh)
    recordOverlap(*program, *report.mesh);
  // A dry run refuses what a compilation would.
  if (options.emit == Stage::Library && failed(checkKernels(*program, options.target, options.march == "native" ? "" : options.march)))
    return SNUG_EXIT_UNSUPPORTED;
  auto number = [&](StringRef name) {
    auto attribute = (*program)->getAttrOfType<IntegerAttr>(name);
    return attribute ? attribute.getInt() : 0;
  };
  report.arena = number("snug.arena_bytes");
  report.schedBound = number("snug.sched_bound");
  recordLibraries();
  recordBuckets();
  if (!options.reports.empty())
    report.planned = drawMemory(*program);
  if (arenaLimit && report.arena > *arenaLimit) {
    // The copy that was tried did fit: never pass a difference on silently.
    return options.console.fail(SNUG_EXIT_FAULT, "internal fault: the plan needs " + printBytes(report.arena) +
                                                     ", the arena may have " + printBytes(*arenaLimit));
  }
  return SNUG_EXIT_DONE;
}

int Pipeline::library() {
  // What is read is mapped while the library is written.
  std::vector<std::string> outputs = weightsPaths(options.output, *program);
  outputs.push_back(options.output);
  for (const std::string &file : report.files)
    for (const std::string &written : outputs)
      if (bool same = false; !llvm::sys::fs::equivalent(file, written, same) && same) {
        return options.console.fail(SNUG_EXIT_USAGE,
                                    "'" + written + "' would replace a file of the model; name another output");
      }
  for (const std::string &named : options.reports)
    if (llvm::is_contained(outputs, named))
      return options.console.fail(SNUG_EXIT_USAGE, "'" + named + "' is named for two things to write");
  if (llvm::is_contained(outputs, options.depfile))
    return options.console.fail(SNUG_EXIT_USAGE, "'" + options.depfile + "' is named for two things to write");
  CodegenOptions codegen;
  codegen.outputPath = options.output;
  codegen.modelDirectory = llvm::sys::path::parent_path(options.model).str();
  if (codegen.modelDirectory.empty())
    codegen.modelDirectory = ".";
  codegen.modelName = llvm::sys::path::filename(options.model).str();
  if (options.modelBytes)
    codegen.modelBytes = StringRef(*options.modelBytes);
  codegen.march = options.march == "native" ? "" : options.march;
  codegen.target = options.target;
  codegen.cudaToolkit = options.cudaToolkit;
  codegen.threads = threads();
  codegen.dumpDirectory = options.saveTemps;
  CodegenReport result;
  if (failed(compileToLibrary(*program, codegen, result))) // which has said why
    return result.exitCode ? result.exitCode : SNUG_EXIT_FAULT;
  if (report.memoryBudget >= 0 && static_cast<int64_t>(result.weightsBytes) > report.weights) {
    // The budget was kept with the weights' planned size.
    emitError(program->getLoc()) << "internal fault: the weights have " << result.weightsBytes << " bytes, planned were "
                                 << report.weights;
    for (const std::string &written : outputs)
      llvm::sys::fs::remove(written);
    return SNUG_EXIT_FAULT;
  }
  report.weights = result.weightsBytes;
  report.gpuKernels = std::move(result.gpuKernels);
  for (const KernelResources &one : report.gpuKernels)
    if (one.stackBytes)
      options.console.messages() << "snugc: warning: kernel '" << one.kernel << "' takes " << one.stackBytes << " bytes of a thread's own memory on "
                                 << one.chip << ", for which the driver keeps memory that is in no budget\n";
  return SNUG_EXIT_DONE;
}
