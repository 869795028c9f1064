// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Run.h"
#include "tools/snug-run/AllocationCount.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/Info.h"
#include "tools/snug-run/Inputs.h"
#include "tools/snug-run/Measure.h"
#include "tools/snug-run/NpyFile.h"
#include "tools/snug-run/NpzFile.h"
#include "tools/snug-run/PbFile.h"
#include "tools/snug-run/Profile.h"
#include "tools/snug-run/WholeFile.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

using namespace snug;

namespace {
using ModelHandle = std::unique_ptr<snug_model, void (*)(snug_model *)>;
using ContextHandle = std::unique_ptr<snug_context, void (*)(snug_context *)>;

struct Measurement {
  uint64_t arenaHighWater = 0, allocations = 0, rssGrowth = 0, libraryGrowth = 0;
  uint32_t threads = 0;
  std::vector<double> milliseconds; // of the timed runs
};
} // namespace

static ContextHandle createContext(snug_model *model, const RunOptions &options, const std::vector<int64_t> &dims,
                                   const WatchedArena *arena, std::vector<uint64_t> &launchNs) {
  snug_context_options contextOptions = SNUG_CONTEXT_OPTIONS_INIT;
  contextOptions.num_threads = options.threads;
  contextOptions.max_dims = dims.data(); // there are no other runs
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
static Measurement measure(const snug_model *model, snug_context *context, RunTensors &tensors,
                           const RunOptions &options, const WatchedArena *arena, std::vector<uint64_t> &launchNs) {
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
  uint64_t rssBefore = arena ? residentAnonymousBytes() : 0;
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
  for (uint32_t i = 0; const snug_value_info *info = snug_model_output(model, i); ++i)
    if (info->flags & SNUG_VALUE_DATA_SHAPE) {
      std::vector<int64_t> shape(size_t(info->rank) + 1);
      check(snug_context_output_shape(context, i, shape.data()));
      shape.pop_back();
      tensors.outputs[i].shrink(std::move(shape));
    }
  if (arena) {
    uint64_t rssAfter = residentAnonymousBytes();
    result.rssGrowth = rssAfter > rssBefore ? rssAfter - rssBefore : 0;
    result.arenaHighWater = arena->highWater();
  }
  return result;
}

static double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

static void writeStats(const std::string &path, const snug_model *model, const RunTensors &tensors,
                       const Measurement &measured) {
  snug_memory_need need, here; // at the largest dims, as the compiler's report has it, and at these
  check(snug_model_memory(model, nullptr, &need));
  check(snug_model_memory(model, tensors.dims.data(), &here));
  nlohmann::ordered_json stats, dims = nlohmann::ordered_json::object();
  for (uint32_t i = 0; const snug_dim_info *dim = snug_model_dim(model, i); ++i)
    dims[dim->name] = tensors.dims[i];
  stats["snug"] = snug_version();
  stats["model"] = snug_model_name(model);
  stats["target"] = snug_model_target(model);
  stats["dims"] = dims;
  stats["planned"] = {{"weights", need.weights}, {"arena", need.arena},   {"total", need.total},
                      {"library", need.library}, {"inputs", need.inputs}, {"outputs", need.outputs},
                      {"arena_at_dims", here.arena}};
  stats["measured"] = {{"arena_high_water", measured.arenaHighWater},
                       {"allocations_in_run", measured.allocations},
                       {"rss_growth", measured.rssGrowth},
                       {"library_growth", measured.libraryGrowth}};
  stats["threads"] = measured.threads;
  stats["latency_ms"] = {{"min", *std::min_element(measured.milliseconds.begin(), measured.milliseconds.end())},
                         {"median", median(measured.milliseconds)},
                         {"all", measured.milliseconds}};
  // Names come from the model's file and may be no UTF-8: replaced, never an exception.
  std::string text = stats.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  WholeFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

static void writeOutputs(const snug_model *model, const RunTensors &tensors, const RunOptions &options) {
  std::map<std::string, const HostTensor *> all;
  for (uint32_t i = 0; const snug_value_info *info = snug_model_output(model, i); ++i) {
    all[info->name] = &tensors.outputs[i];
    auto wanted = options.outputs.find(info->name);
    if (wanted != options.outputs.end())
      isPbFile(wanted->second) ? writePbFile(wanted->second, info->name, tensors.outputs[i])
                               : writeNpyFile(wanted->second, tensors.outputs[i]);
  }
  if (!options.outputArchive.empty())
    writeNpzFile(options.outputArchive, all);
}

void snug::runModel(const RunOptions &options) {
  snug_model *loaded = nullptr;
  check(snug_model_load(options.model.c_str(), &loaded));
  ModelHandle model(loaded, &snug_model_release);
  if (options.info) {
    printInfo(loaded);
    return;
  }
  RunTensors tensors = makeTensors(loaded, options);
  // With --stats the arena is ours, so that it can be watched; it has exactly the planned size either way.
  std::unique_ptr<WatchedArena> arena;
  snug_memory_need need;
  check(snug_model_memory(loaded, tensors.dims.data(), &need));
  if (!options.stats.empty())
    arena = std::make_unique<WatchedArena>(need.arena, need.arena_alignment);
  uint64_t rssBefore = arena ? residentAnonymousBytes() : 0;
  std::vector<uint64_t> launchNs;
  ContextHandle context = createContext(loaded, options, tensors.dims, arena.get(), launchNs);
  uint64_t rssCreated = arena ? residentAnonymousBytes() : 0;
  Measurement measured = measure(loaded, context.get(), tensors, options, arena.get(), launchNs);
  measured.libraryGrowth = std::max(rssCreated, rssBefore) - rssBefore; // the arena was resident before
  writeOutputs(loaded, tensors, options);
  if (!options.stats.empty())
    writeStats(options.stats, loaded, tensors, measured);
  if (options.profile)
    printProfile(loaded, launchNs, measured.milliseconds);
  for (uint32_t i = 0; const snug_value_info *info = snug_model_output(loaded, i); ++i)
    printf("%s: %s %s\n", info->name, dtypeText(info->dtype).c_str(), shapeText(tensors.outputs[i].shape).c_str());
  printf("%zu run(s) on %u thread(s): median %.3f ms\n", measured.milliseconds.size(), measured.threads,
         median(measured.milliseconds));
}
