// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Stats.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/WholeFile.h"

#include <algorithm>
#include <nlohmann/json.hpp>

using namespace snug;

double snug::median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

RankStats snug::rankStats(const snug_model *model, const Measurement &measured) {
  snug_memory_need need;
  check(snug_model_memory(model, nullptr, &need));
  return {need.weights,
          need.arena,
          need.total,
          measured.arenaHighWater,
          measured.allocations,
          measured.rssGrowth,
          measured.libraryGrowth,
          *std::min_element(measured.milliseconds.begin(), measured.milliseconds.end()),
          median(measured.milliseconds),
          measured.isOnGpu,
          measured.device};
}

// Into what was measured of a run on a GPU, whose memory nobody can look into from outside.
static void addDevice(nlohmann::ordered_json &measured, const snug_device_memory &device) {
  measured["arena_high_water"] = nullptr;
  measured["device"] = {{"allocated", device.allocated},
                        {"free_at_creation", device.free_at_creation},
                        {"free", device.free},
                        {"total", device.total},
                        {"mesh", device.mesh}};
}

void snug::writeStats(const std::string &path, const snug_model *model, const RunTensors &tensors,
                      const Measurement &measured, const std::vector<RankStats> &ranks) {
  snug_memory_need need, here; // at the largest dims, as the compiler's report has it, and at these
  check(snug_model_memory(model, nullptr, &need));
  check(snug_model_memory(model, tensors.dims.data(), &here));
  nlohmann::ordered_json stats, dims = nlohmann::ordered_json::object();
  for (uint32_t i = 0; const snug_dim_info *dim = snug_model_dim(model, i); ++i)
    dims[dim->name] = tensors.dims[i];
  stats["snug"] = snug_version();
  stats["model"] = snug_model_name(model);
  stats["target"] = snug_model_target(model);
  stats["precision"] = snug_model_precision(model);
  stats["dims"] = dims;
  stats["planned"] = {{"weights", need.weights}, {"arena", need.arena},   {"total", need.total},
                      {"library", need.library}, {"inputs", need.inputs}, {"outputs", need.outputs},
                      {"arena_at_dims", here.arena}};
  stats["measured"] = {{"arena_high_water", measured.arenaHighWater},
                       {"allocations_in_run", measured.allocations},
                       {"rss_growth", measured.rssGrowth},
                       {"library_growth", measured.libraryGrowth}};
  if (measured.isOnGpu)
    addDevice(stats["measured"], measured.device);
  if (measured.isOnGpu)
    stats["tuning"] = {{"choices", measured.tuning.choices},
                       {"tuned", measured.tuning.tuned},
                       {"file", measured.tuning.file},
                       {"note", measured.tuning.note}};
  stats["threads"] = measured.threads;
  stats["latency_ms"] = {{"min", *std::min_element(measured.milliseconds.begin(), measured.milliseconds.end())},
                         {"median", median(measured.milliseconds)},
                         {"all", measured.milliseconds}};
  if (!ranks.empty()) {
    uint32_t mesh[2];
    snug_model_mesh(model, mesh);
    stats["mesh"] = {mesh[0], mesh[1]};
  }
  for (const RankStats &rank : ranks) {
    stats["ranks"].push_back(
        {{"planned", {{"weights", rank.plannedWeights}, {"arena", rank.plannedArena}, {"total", rank.plannedTotal}}},
         {"measured",
          {{"arena_high_water", rank.arenaHighWater},
           {"allocations_in_run", rank.allocations},
           {"rss_growth", rank.rssGrowth},
           {"library_growth", rank.libraryGrowth}}},
         {"latency_ms", {{"min", rank.minMs}, {"median", rank.medianMs}}}});
    if (rank.isOnGpu)
      addDevice(stats["ranks"].back()["measured"], rank.device);
  }
  // Names come from the model's file and may be no UTF-8: replaced, never an exception.
  std::string text = stats.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  WholeFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}
