// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The pipeline, top to bottom. Every deciding stage works on the program the stages before it left.
#include "lib/driver/Pipeline.h"
#include "codegen/Codegen.h"
#include "dialects/nn/TextOps.h"
#include "dialects/plan/PlanDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/driver/DrawMemory.h"
#include "lib/driver/OutputFile.h"
#include "lib/driver/RecordPlan.h"
#include "lib/import/onnx/Importer.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/Passes.h"
#include "passes/canonicalize/Canonicalize.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/chunk/Passes.h"
#include "passes/fuse/Passes.h"
#include "passes/memory/Passes.h"
#include "passes/schedule/Passes.h"
#include "passes/shard/Passes.h"
#include "snug/ExitCodes.h"
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
      sayMesh(options, report);
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
  recordFiles(*program, options, report);
  return checkPins(pins);
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
  recordLibraries(*program, options.gpuCapability != 0, wanted, report);
  return code;
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
  recordBuckets(*program, report);
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
