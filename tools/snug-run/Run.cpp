// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Run.h"
#include "tools/snug-run/AllocationCount.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/Info.h"
#include "tools/snug-run/Inputs.h"
#include "tools/snug-run/Links.h"
#include "tools/snug-run/Measure.h"
#include "tools/snug-run/NpyFile.h"
#include "tools/snug-run/NpzFile.h"
#include "tools/snug-run/Parts.h"
#include "tools/snug-run/PbFile.h"
#include "tools/snug-run/Profile.h"
#include "tools/snug-run/Ranks.h"
#include "tools/snug-run/Stats.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>

using namespace snug;

namespace {
struct ModelRelease {
  void operator()(snug_model *model) const { snug_model_release(model); }
};
using ModelHandle = std::unique_ptr<snug_model, ModelRelease>;
using ContextHandle = std::unique_ptr<snug_context, void (*)(snug_context *)>;
} // namespace

static ModelHandle loadModel(const RunOptions &options) {
  snug_model *loaded = nullptr;
  check(snug_model_load(options.model.c_str(), &loaded));
  return ModelHandle(loaded);
}

static void checkDevice(const snug_model *model, const RunOptions &options) {
  if ((options.device || options.cudaGraph || options.tune) && snug_model_device(model) == SNUG_DEVICE_CPU)
    throw CommandFailure(SNUG_EXIT_USAGE, "--device, --cuda-graph and --tune are for models that compute on a GPU, and this one was compiled for " +
                                              std::string(snug_model_target(model)));
}

// The number of the device that the rank takes: of those on a machine each another one, as long as there are any.
static uint32_t deviceOf(const snug_model *model, const RunOptions &options, const snug_comm *comm) {
  if (options.device || !comm || snug_model_device(model) == SNUG_DEVICE_CPU)
    return options.device.value_or(0);
  uint32_t count = 0;
  check(snug_device_count(snug_model_device(model), &count));
  return localRank(comm) % std::max(count, 1u);
}

static ContextHandle createContext(snug_model *model, const RunOptions &options, uint32_t device, const std::vector<int64_t> &dims,
                                   snug_comm *comm, const WatchedArena *arena, std::vector<uint64_t> &launchNs) {
  snug_context_options contextOptions = SNUG_CONTEXT_OPTIONS_INIT;
  contextOptions.comm = comm;
  contextOptions.num_threads = options.threads;
  contextOptions.max_dims = dims.data(); // there are no other runs
  contextOptions.device = device;
  contextOptions.flags = (options.cudaGraph ? SNUG_CONTEXT_GRAPH : 0) | (options.tune ? SNUG_CONTEXT_TUNE : 0);
  if (arena && arena->bytes() > 0) {
    contextOptions.workspace = arena->data();
    contextOptions.workspace_bytes = arena->bytes();
  }
  if (options.profile) {
    launchNs.resize(snug_model_num_launches(model) + 1); // never empty, so that data() is a pointer
    contextOptions.launch_ns = launchNs.data();
  }
  snug_context *context = nullptr;
  check(snug_context_create(model, &contextOptions, &context));
  ContextHandle handle(context, &snug_context_destroy);
  for (const auto &[name, value] : options.dims)
    check(snug_context_set_dim(context, name.c_str(), value));
  return handle;
}

// Inputs that the model overwrites, and what each run is to find in them.
static std::vector<std::pair<HostTensor *, std::vector<uint8_t>>> overwrittenInputs(const snug_model *model,
                                                                                    RunTensors &tensors) {
  std::vector<std::pair<HostTensor *, std::vector<uint8_t>>> kept;
  for (uint32_t i = 0; const snug_value_info *info = snug_model_input(model, i); ++i)
    if (HostTensor &tensor = tensors.inputs[i]; info->flags & SNUG_VALUE_OVERWRITTEN)
      kept.emplace_back(&tensor, std::vector<uint8_t>(tensor.data(), tensor.data() + tensor.bytes()));
  return kept;
}

// Warms up and times. All that this needs is made before the first byte is counted.
static Measurement measure(const snug_model *model, snug_context *context, snug_comm *comm, RunTensors &tensors,
                           const RunOptions &options, const WatchedArena *arena, std::vector<uint64_t> &launchNs) {
  bool watches = !options.stats.empty();
  auto overwritten = overwrittenInputs(model, tensors);
  std::vector<DLTensor> inputs, outputs;
  std::vector<const DLTensor *> inputPointers, outputPointers;
  for (HostTensor &tensor : tensors.inputs)
    inputs.push_back(tensor.view());
  for (HostTensor &tensor : tensors.outputs)
    outputs.push_back(tensor.view());
  for (const DLTensor &tensor : inputs)
    inputPointers.push_back(&tensor);
  for (const DLTensor &tensor : outputs)
    outputPointers.push_back(&tensor);

  Measurement result;
  result.threads = snug_context_num_threads(context);
  result.milliseconds.assign(options.repeat, 0.0);
  // Ranks may be threads of one process, whose preparations are not to be counted.
  auto meet = [comm] { check(comm ? snug_comm_agree(comm, SNUG_EXIT_DONE, nullptr) : nullptr); };
  meet();
  uint64_t rssBefore = watches ? residentAnonymousBytes() : 0;
  uint64_t allocationsBefore = allocationCount();
  for (uint64_t i = 0, runs = uint64_t(options.warmup) + options.repeat; i < runs; ++i) {
    if (i == options.warmup)
      std::fill(launchNs.begin(), launchNs.end(), 0);
    for (auto &[tensor, content] : overwritten)
      std::copy(content.begin(), content.end(), tensor->data());
    countAllocations(true);
    auto start = std::chrono::steady_clock::now();
    snug_error *error = snug_run(context, inputPointers.data(), uint32_t(inputPointers.size()), outputPointers.data(),
                                 uint32_t(outputPointers.size()));
    auto stop = std::chrono::steady_clock::now();
    countAllocations(false);
    check(error);
    if (i >= options.warmup)
      result.milliseconds[i - options.warmup] = std::chrono::duration<double, std::milli>(stop - start).count();
  }
  result.allocations = allocationCount() - allocationsBefore;
  meet();
  for (uint32_t i = 0; const snug_value_info *info = snug_model_output(model, i); ++i)
    if (info->flags & SNUG_VALUE_DATA_SHAPE) {
      std::vector<int64_t> shape(size_t(info->rank) + 1);
      check(snug_context_output_shape(context, i, shape.data()));
      shape.pop_back();
      tensors.outputs[i].shrink(std::move(shape));
    }
  if (watches) {
    uint64_t rssAfter = residentAnonymousBytes();
    result.rssGrowth = rssAfter > rssBefore ? rssAfter - rssBefore : 0;
  }
  if (arena)
    result.arenaHighWater = arena->highWater();
  result.isOnGpu = snug_model_device(model) != SNUG_DEVICE_CPU;
  check(snug_context_device_memory(context, &result.device));
  snug_context_tuning(context, &result.tuning);
  return result;
}

// `wholes`: of outputs that the rank has parts of, those that it writes as a whole.
static void writeOutputs(const snug_model *model, const RunTensors &tensors, const std::map<uint32_t, HostTensor> &wholes,
                         const RunOptions &options) {
  // The mask of new files is the process's, which whoever makes a file sets for a moment, libzip among them: ranks that are
  // threads write one after the other.
  static std::mutex one;
  std::lock_guard<std::mutex> lock(one);
  std::map<std::string, const HostTensor *> all;
  for (uint32_t i = 0; const snug_value_info *info = snug_model_output(model, i); ++i) {
    auto of = [&](const std::string &path) -> const HostTensor & {
      auto whole = wholes.find(i);
      return whole == wholes.end() || options.ownFiles.count(path) ? tensors.outputs[i] : whole->second;
    };
    all[info->name] = &of(options.outputArchive);
    auto wanted = options.outputs.find(info->name);
    if (wanted != options.outputs.end())
      isPbFile(wanted->second) ? writePbFile(wanted->second, info->name, of(wanted->second))
                               : writeNpyFile(wanted->second, of(wanted->second));
  }
  if (!options.outputArchive.empty())
    writeNpzFile(options.outputArchive, all);
}

// What one rank does; `comm` is NULL where there is one device. A model that is not loaded yet is.
static void runRank(const RunOptions &options, snug_comm *comm, ModelHandle &model) {
  bool speaks = !comm || snug_comm_rank(comm) == 0;
  RunTensors tensors;
  std::unique_ptr<WatchedArena> arena;
  uint32_t device = 0;
  together(comm, [&] {
    if (!model)
      model = loadModel(options);
    checkDevice(model.get(), options);
    device = deviceOf(model.get(), options, comm);
    tensors = makeTensors(model.get(), options, comm ? snug_comm_rank(comm) : 0);
    // With --stats the arena is ours, so that it can be watched; it has exactly the planned size either way.
    snug_memory_need need;
    check(snug_model_memory(model.get(), tensors.dims.data(), &need));
    if (!options.stats.empty() && snug_model_device(model.get()) == SNUG_DEVICE_CPU)
      arena = std::make_unique<WatchedArena>(need.arena, need.arena_alignment);
  });
  bool watches = !options.stats.empty();
  uint64_t rssBefore = watches ? residentAnonymousBytes() : 0;
  std::vector<uint64_t> launchNs;
  ContextHandle context = createContext(model.get(), options, device, tensors.dims, comm, arena.get(), launchNs);
  snug_tuning tuning;
  snug_context_tuning(context.get(), &tuning);
  if (speaks && *tuning.note)
    fprintf(stderr, "snug-run: warning: %s\n", tuning.note);
  if (speaks && options.tune)
    printf("%s: %u algorithm(s) timed\n", tuning.file, tuning.tuned);
  uint64_t rssCreated = watches ? residentAnonymousBytes() : 0;
  Measurement measured = measure(model.get(), context.get(), comm, tensors, options, arena.get(), launchNs);
  measured.libraryGrowth = std::max(rssCreated, rssBefore) - rssBefore; // the arena was resident before
  std::vector<RankStats> ranks(comm ? snug_comm_size(comm) : 0);
  if (comm) {
    RankStats own = rankStats(model.get(), measured);
    check(snug_comm_all_gather(comm, &own, ranks.data(), sizeof(own)));
  }
  std::map<uint32_t, HostTensor> wholes = joinOutputs(model.get(), comm, options, tensors);
  together(comm, [&] {
    writeOutputs(model.get(), tensors, wholes, options);
    if (!options.stats.empty() && speaks)
      writeStats(options.stats, model.get(), tensors, measured, ranks);
  });
  if (!speaks)
    return;
  if (options.profile)
    printProfile(model.get(), launchNs, measured.milliseconds);
  for (uint32_t i = 0; const snug_value_info *info = snug_model_output(model.get(), i); ++i) {
    std::string shape = shapeText(tensors.outputs[i].shape);
    if (snug_model_output_cut(model.get(), i))
      shape = shapeText(wholeShape(model.get(), i, tensors.dims)) + ", in parts of " + shape;
    printf("%s: %s %s\n", info->name, dtypeText(info->dtype).c_str(), shape.c_str());
  }
  std::string devices = comm ? " on " + std::to_string(ranks.size()) + " device(s)" : "";
  std::string memory = " with " + bytesText(measured.device.allocated) + " of memory";
  std::string where = !measured.isOnGpu ? devices + " on " + std::to_string(measured.threads) + " thread(s)"
                      : comm            ? " on " + std::to_string(ranks.size()) + " CUDA devices" + memory + " each"
                                        : " on CUDA device " + std::to_string(device) + memory;
  printf("%zu run(s)%s: median %.3f ms\n", measured.milliseconds.size(), where.c_str(), median(measured.milliseconds));
}

void snug::runModel(const RunOptions &options) {
  if (!options.links.empty())
    return overMpi([&](snug_comm *comm) { measureLinks(comm, options.links); });
  if (options.info) {
    if (launchedRank() == 0)
      printInfo(loadModel(options).get());
    return;
  }
  if (options.comm == CommKind::Mpi || (options.comm == CommKind::Unstated && launchedRanks() > 1))
    return overMpi([&](snug_comm *comm) {
      ModelHandle model;
      runRank(optionsOf(options, snug_comm_rank(comm)), comm, model);
    });
  ModelHandle model = loadModel(options);
  uint32_t mesh[2];
  snug_model_mesh(model.get(), mesh);
  uint32_t devices = mesh[0] * mesh[1];
  if (options.comm == CommKind::Unstated && devices == 0)
    return runRank(options, nullptr, model);
  if (options.comm == CommKind::Unstated && devices > 1)
    throw CommandFailure(SNUG_EXIT_USAGE, "the model is cut for " + std::to_string(mesh[0]) + " x " + std::to_string(mesh[1]) +
                                       " devices: start a process for each with mpirun -n " + std::to_string(devices) +
                                       " snug-run ..., or add --comm loopback to run them as threads of one process");
  uint32_t ranks = options.loopbackRanks ? options.loopbackRanks : std::max(devices, 1u);
  overLoopback(ranks, [&](snug_comm *comm) {
    snug_model_retain(model.get());
    ModelHandle shared(model.get());
    runRank(optionsOf(options, snug_comm_rank(comm)), comm, shared);
  });
}
