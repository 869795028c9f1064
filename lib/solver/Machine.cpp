// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/Machine.h"
#include "lib/solver/JsonReader.h"

#include <algorithm>
#include <cmath>

namespace snug {

static constexpr int64_t kVersion = 2;

Machine builtinMachine(int vectorBits) {
  // A core of about 3 GHz with two units for multiply-add, in a server with several memory channels.
  Machine m;
  m.vector_bits = vectorBits >= 512 ? 512 : vectorBits >= 256 ? 256 : 128;
  double lanes = m.vector_bits / 32.0;
  m.name = "built-in, vectors of " + std::to_string(m.vector_bits) + " bits";
  m.contraction_per_s = lanes * (m.vector_bits == 128 ? 5e9 : 9e9);
  m.attention_per_s = 0.8 * m.contraction_per_s;
  m.narrow_contraction_per_s = m.contraction_per_s; // in f32
  m.narrow_attention_per_s = m.attention_per_s;
  m.transcendental_per_s = lanes * 0.2e9;
  m.elementwise_per_s = lanes * 2e9;
  m.reduction_per_s = lanes * 0.15e9;
  m.strided_per_s = m.vector_bits == 512 ? 1.5e9 : 0.5e9;
  m.caches = {{1 << 20, false, lanes * 4e9}, {32 << 20, true, 20e9}};
  m.memory_bytes_per_s = {12e9, 22e9, 30e9, 38e9, 44e9, 50e9, 55e9, 60e9};
  m.panel_bytes_per_s = 8e9;
  m.launch_s = 2e-8;
  m.fork_s = 3e-6;
  m.iteration_s = 2e-8;
  return m;
}

Machine builtinGpu(int capability, bool inTf32) {
  // Peaks in f32, in tf32 and in f16 or bf16 (dense), and of memory: A100 80 GB SXM (2021), H100 SXM (2023), B200 (2025); a special function
  // unit does a quarter of a multiprocessor's multiply-adds. What kernels reach of them: products 0.7, attention half (of tensor cores 0.3, as
  // its mma.sync is not their fastest instruction from sm_90 on), rows 0.6 of memory's rate.
  struct Chip {
    int capability, processors;
    double flops, tf32, half, memory, l2;
    int64_t l2Bytes;
  };
  static const Chip chips[] = {{80, 108, 19.5e12, 156e12, 312e12, 2.04e12, 5e12, 40 << 20},
                               {90, 132, 67e12, 494e12, 989e12, 3.35e12, 7e12, 50 << 20},
                               {100, 148, 75e12, 1125e12, 2250e12, 8e12, 14e12, 126 << 20}};
  Chip chip = chips[0];
  for (const Chip &known : chips)
    if (known.capability <= capability)
      chip = known;
  Machine m;
  m.name = "built-in, GPU of compute capability " + std::to_string(capability / 10) + "." + std::to_string(capability % 10) + (inTf32 ? ", tf32" : "");
  m.processors = chip.processors;
  m.vector_bits = 32; // a thread's
  double each = 1.0 / chip.processors;
  m.contraction_per_s = each * 0.7 * (inTf32 ? chip.tf32 : chip.flops);
  m.attention_per_s = each * (inTf32 ? 0.3 * chip.tf32 : 0.5 * chip.flops);
  m.narrow_contraction_per_s = each * 0.7 * chip.half;
  m.narrow_attention_per_s = each * 0.3 * chip.half;
  m.transcendental_per_s = each * chip.flops / 16;
  m.elementwise_per_s = each * chip.flops / 4;
  m.reduction_per_s = each * 0.6 * chip.memory / 4;
  m.strided_per_s = each * 0.4 * chip.memory / 4;
  m.caches = {{chip.l2Bytes, true, each * chip.l2}};
  // Half of the multiprocessors have enough loads under way for all that memory gives.
  for (int busy = 1; busy <= chip.processors; ++busy)
    m.memory_bytes_per_s.push_back(0.85 * chip.memory * std::min(1.0, 2.0 * busy * each));
  m.panel_bytes_per_s = m.memory_bytes_per_s.front();
  m.launch_s = 3e-6;   // kernels follow each other in a stream
  m.iteration_s = 1e-6;
  return m;
}

namespace {
// One row a number of the file: the one place that knows its key, unit and which values a machine can have.
struct Number {
  const char *key;
  double Machine::*member;
  double unit, least, most; // in the file's unit
};
const Number kNumbers[] = {
    {"contraction_gops", &Machine::contraction_per_s, 1e9, 0.01, 1e6},
    {"attention_gops", &Machine::attention_per_s, 1e9, 0.01, 1e6},
    {"narrow_contraction_gops", &Machine::narrow_contraction_per_s, 1e9, 0.01, 1e6},
    {"narrow_attention_gops", &Machine::narrow_attention_per_s, 1e9, 0.01, 1e6},
    {"transcendental_gops", &Machine::transcendental_per_s, 1e9, 0.001, 1e5},
    {"elementwise_gops", &Machine::elementwise_per_s, 1e9, 0.01, 1e6},
    {"reduction_gops", &Machine::reduction_per_s, 1e9, 0.001, 1e5},
    {"strided_gops", &Machine::strided_per_s, 1e9, 0.001, 1e5},
    {"panel_gbps", &Machine::panel_bytes_per_s, 1e9, 0.01, 1e5},
    {"launch_us", &Machine::launch_s, 1e-6, 0, 1e4},
    {"fork_us", &Machine::fork_s, 1e-6, 0, 1e4},
    {"iteration_us", &Machine::iteration_s, 1e-6, 0, 1e4},
};
constexpr double kLeastBandwidth = 0.01, kMostBandwidth = 1e5; // GB/s
constexpr size_t kMostLevels = 8, kMostThreads = 1024;

// Written with four digits: more would only be the noise of a measurement.
double rounded(double value) {
  if (!(value > 0))
    return 0;
  double scale = std::pow(10.0, 3 - std::floor(std::log10(value)));
  return std::round(value * scale) / scale;
}

class Reader : JsonReader {
public:
  using JsonReader::JsonReader;

  std::optional<Machine> read(const std::string &text) {
    std::optional<Json> parsed = object(text);
    if (!parsed || !keysAre(*parsed, "", keys()))
      return std::nullopt;
    Json &json = *parsed;
    Machine m;
    if (!json["version"].is_number_integer() || json["version"] != kVersion)
      return fail("'version' is not " + std::to_string(kVersion) + ", the one that this snugc reads");
    if (!json["name"].is_string())
      return fail("'name' is no text");
    m.name = json["name"].get<std::string>();
    int64_t bits = 0;
    if (!integer(json["vector_bits"], "vector_bits", 32, 65536, bits))
      return std::nullopt;
    m.vector_bits = static_cast<int>(bits);
    int64_t processors = 0;
    if (!integer(json["processors"], "processors", 0, kMostThreads, processors))
      return std::nullopt;
    m.processors = static_cast<int>(processors);
    for (const Number &n : kNumbers)
      if (!number(json[n.key], n.key, n.least, n.most, n.unit, m.*n.member))
        return std::nullopt;
    if (!json["caches"].is_array() || json["caches"].size() > kMostLevels)
      return fail("'caches' is no list of at most " + std::to_string(kMostLevels) + " levels");
    for (size_t i = 0; i < json["caches"].size(); ++i) {
      Json &level = json["caches"][i];
      std::string at = "caches[" + std::to_string(i) + "]";
      CacheLevel cache;
      if (!level.is_object())
        return fail("'" + at + "' is no object");
      if (!keysAre(level, at + ".", {"bytes", "shared", "gbps"}))
        return std::nullopt;
      if (!level["shared"].is_boolean())
        return fail("'" + at + ".shared' is neither true nor false");
      cache.shared = level["shared"].get<bool>();
      if (!integer(level["bytes"], at + ".bytes", 1024, int64_t(1) << 40, cache.bytes) ||
          !number(level["gbps"], at + ".gbps", kLeastBandwidth, kMostBandwidth, 1e9, cache.bytes_per_s))
        return std::nullopt;
      if (!m.caches.empty() && cache.bytes <= m.caches.back().bytes)
        return fail("'" + at + ".bytes' is no more than that of the level inside of it");
      m.caches.push_back(cache);
    }
    Json &memory = json["memory_gbps"];
    if (!memory.is_array() || memory.empty() || memory.size() > kMostThreads)
      return fail("'memory_gbps' is no list of 1 to " + std::to_string(kMostThreads) + " numbers, one a thread count");
    for (size_t i = 0; i < memory.size(); ++i) {
      double bandwidth = 0;
      if (!number(memory[i], "memory_gbps[" + std::to_string(i) + "]", kLeastBandwidth, kMostBandwidth, 1e9, bandwidth))
        return std::nullopt;
      m.memory_bytes_per_s.push_back(bandwidth);
    }
    return m;
  }

private:
  static std::vector<std::string> keys() {
    std::vector<std::string> result{"version", "name", "processors", "vector_bits", "caches", "memory_gbps"};
    for (const Number &n : kNumbers)
      result.push_back(n.key);
    return result;
  }
};
} // namespace

std::string machineText(const Machine &m) {
  Json json = {{"version", kVersion}, {"name", m.name}, {"processors", m.processors}, {"vector_bits", m.vector_bits}};
  for (const Number &n : kNumbers)
    json[n.key] = rounded(m.*n.member / n.unit);
  json["caches"] = Json::array();
  for (const CacheLevel &cache : m.caches)
    json["caches"].push_back(
        {{"bytes", cache.bytes}, {"shared", cache.shared}, {"gbps", rounded(cache.bytes_per_s / 1e9)}});
  json["memory_gbps"] = Json::array();
  for (double bandwidth : m.memory_bytes_per_s)
    json["memory_gbps"].push_back(rounded(bandwidth / 1e9));
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<Machine> parseMachine(const std::string &text, std::string &error) { return Reader(error).read(text); }

} // namespace snug
