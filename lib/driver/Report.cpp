// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Report.h"
#include "lib/solver/MeshPlanText.h"
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

using namespace snug;
using Json = nlohmann::ordered_json;

static Json orNull(int64_t value) { return value < 0 ? Json() : Json(value); }
static Json orNull(double value) { return value < 0 ? Json() : Json(value); }

// A fixed dim as a number, a bounded one as it was given.
static Json dimsJson(const std::vector<std::string> &definitions) {
  Json dims = Json::object();
  for (const std::string &definition : definitions) {
    size_t equals = definition.find('=');
    if (equals == std::string::npos)
      continue;
    std::string text = definition.substr(equals + 1);
    int64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    bool fixed = error == std::errc() && end == text.data() + text.size();
    dims[definition.substr(0, equals)] = fixed ? Json(value) : Json(text);
  }
  return dims;
}

static Json namesJson(const std::vector<std::string> &names) { return names.empty() ? Json::array() : Json(names); }

static Json bucketsJson(const std::vector<PlanBucket> &buckets) {
  Json all = Json::array();
  for (const PlanBucket &bucket : buckets) {
    Json dims = Json::object();
    for (const auto &[name, bound] : bucket.dims)
      dims[name] = bound;
    all.push_back({{"dims", dims}, {"arena", bucket.arena}});
  }
  return all;
}

static Json meshJson(const MeshReport &mesh, const std::vector<MeshReport::Candidate> &considered) {
  Json candidates = Json::array(), traffic = Json::array(), replicated = Json::array(), overlap = Json::array(), parts = Json::array();
  for (const MeshReport::Candidate &one : considered.empty() ? mesh.candidates : considered)
    candidates.push_back({{"mesh", one.mesh},
                          {"family", nameOf(one.family)},
                          {"ms", one.share.value_or(0) <= 1 ? Json(one.seconds * 1e3) : Json()},
                          {"share", one.share ? Json(*one.share) : Json()}});
  for (const MeshReport::Traffic &one : mesh.traffic)
    traffic.push_back({{"collective", one.kind}, {"axes", one.axes}, {"calls", one.calls}, {"bytes", one.bytes}});
  for (const MeshReport::Replicated &one : mesh.replicated)
    replicated.push_back({{"weight", one.weight}, {"bytes", one.bytes}});
  for (const MeshReport::Overlap &one : mesh.overlap) {
    Json collectives = Json::array();
    for (const auto &[kind, axes] : one.collectives)
      collectives.push_back({{"collective", kind}, {"axes", axes}});
    overlap.push_back({{"nodes", namesJson(one.kernels)},
                       {"collectives", collectives},
                       {"pieces", one.pieces},
                       {"alone_ms", one.alone_ms},
                       {"ms", one.ms},
                       {"hidden_ms", one.hidden_ms}});
  }
  auto dim = [](int64_t cut) { return cut < 0 ? Json() : Json(cut); };
  for (const MeshReport::Part &one : mesh.parts)
    parts.push_back({{one.isInput ? "input" : "output", one.name}, {"dims", {dim(one.dims[0]), dim(one.dims[1])}}});
  return {{"mesh", mesh.mesh},         {"family", nameOf(mesh.family)}, {"outside", mesh.outside}, {"topology", mesh.topology},
          {"candidates", candidates}, {"collectives", traffic},        {"replicated", replicated}, {"overlap", overlap},
          {"parts", parts},
          {"plan", mesh.plan ? Json::parse(meshPlanJson(mesh.setting, *mesh.plan)) : Json()}};
}

static Json pictureJson(const MemoryPicture &picture) {
  Json steps = Json::array(), buffers = Json::array(), loops = Json::array(), at = Json::array();
  for (const PictureStep &step : picture.steps)
    steps.push_back({{"op", step.op}, {"nodes", namesJson(step.nodes)}});
  for (const PictureBuffer &buffer : picture.buffers) {
    if (buffer.begin <= picture.peakStep && picture.peakStep < buffer.end)
      at.push_back(buffers.size());
    buffers.push_back({{"nodes", namesJson(buffer.nodes)},
                       {"op", buffer.op},
                       {"type", buffer.type},
                       {"bytes", buffer.bytes},
                       {"offset", buffer.offset},
                       {"begin", buffer.begin},
                       {"end", buffer.end}});
  }
  for (const PictureLoop &loop : picture.loops)
    loops.push_back(
        {{"begin", loop.begin}, {"end", loop.end}, {"level", loop.level}, {"chunk_loop", orNull(loop.chunkLoop)}});
  Json peak;
  if (picture.peakStep >= 0 && picture.live[picture.peakStep] > 0)
    peak = {{"bytes", picture.live[picture.peakStep]}, {"step", picture.peakStep}, {"buffers", at}};
  return {{"arena", picture.arena}, {"peak", peak},   {"live", picture.live},
          {"steps", steps},         {"loops", loops}, {"buffers", buffers}};
}

static Json gpuKernelsJson(const std::vector<KernelResources> &kernels) {
  Json list = Json::array();
  for (const KernelResources &one : kernels)
    list.push_back({{"kernel", one.kernel},
                    {"chip", one.chip},
                    {"registers", one.registers},
                    {"shared", one.sharedBytes},
                    {"stack", one.stackBytes},
                    {"spilled", one.spillStoreBytes + one.spillLoadBytes}});
  return list;
}

static Json libraryKernelsJson(const std::vector<LibraryKernel> &kernels) {
  Json list = Json::array();
  for (const LibraryKernel &one : kernels)
    list.push_back({{"library", one.library}, {"nodes", namesJson(one.nodes)}});
  return list;
}

std::string snug::reportText(const CompileOptions &options, const CompileReport &r) {
  Json timing = Json::object(), fits = Json::array();
  for (const auto &[stage, ms] : r.timing)
    timing[stage] = ms;
  for (const FitPoint &point : r.fits ? r.fits->points : std::vector<FitPoint>())
    fits.push_back({{"activation", point.budget},
                    {"arena", point.arena},
                    {"ms", point.ms},
                    {"slowdown", point.slowdown},
                    {"measured_ms", orNull(point.measuredMs)},
                    {"measured_slowdown", orNull(point.measuredSlowdown)}});
  ChunkFigures search = r.search.value_or(ChunkFigures{-1, -1, -1, -1, -1, -1, -1});
  Json report = {
      {"version", kReportVersion},
      {"snug", SNUG_VERSION},
      {"model", options.model},
      {"target", options.target},
      {"dims", dimsJson(options.dims)},
      {"donated", namesJson(options.donated)},
      {"machine", Json::parse(machineText(options.machine))},
      {"budget",
       {{"memory", orNull(r.memoryBudget)},
        {"activation", orNull(r.activationBudget)},
        {"arena_limit", orNull(r.arenaLimit)},
        {"least_reachable", orNull(r.leastReachable)},
        {"least_activation", orNull(r.leastArena)},
        {"least_memory", orNull(r.leastArena < 0 ? -1 : r.leastArena + r.fixed())}}},
      {"memory",
       {{"weights", r.weights},
        {"arena", r.arena},
        {"library", r.library},
        {"inputs", r.inputs},
        {"outputs", r.outputs},
        {"total", r.total()},
        {"workspace", r.workspace},
        {"unchunked_arena", r.unchunkedArena},
        {"eager_arena", orNull(r.eagerArena)},
        {"buckets", bucketsJson(r.buckets)}}},
      {"bounds",
       {{"sched", orNull(r.schedBound)}, {"lb0", orNull(r.lb0)}, {"lb1", orNull(r.lb1)}, {"lb2", orNull(r.lb2)}}},
      {"peak_node", r.peakNode.empty() ? Json() : Json(r.peakNode)},
      {"chunk_loops", Json::parse(r.chunkLoops)},
      {"mesh", r.mesh ? meshJson(*r.mesh, r.consideredMeshes) : Json()},
      {"precision", options.precision},
      {"exact", r.exact ? Json(*r.exact) : Json()},
      {"time_model", {{"unchunked_ms", orNull(search.unchunkedMs)}, {"chunked_ms", orNull(search.chunkedMs)}}},
      {"fits", fits},
      {"schedule",
       {{"unchunked", r.unchunked ? pictureJson(*r.unchunked) : Json()},
        {"planned", r.planned ? pictureJson(*r.planned) : Json()}}},
      {"gpu_kernels", gpuKernelsJson(r.gpuKernels)},
      {"library_kernels", libraryKernelsJson(r.libraryKernels)},
      {"timing_ms", timing},
      {"search",
       {{"ops", orNull(search.ops)},
        {"blocks", orNull(search.blocks)},
        {"distinct_blocks", orNull(search.distinctBlocks)},
        {"candidates", orNull(search.candidates)},
        {"ms", orNull(search.searchMs)}}}};
  // Names come from the model and may be no UTF-8: replaced, never an exception.
  return report.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// One line a loop, for -v.
static std::string loopsText(const CompileReport &r) {
  std::string text;
  for (const Json &loop : Json::parse(r.chunkLoops)) {
    auto number = [&](const char *key) { return std::to_string(loop.value(key, int64_t(0))); };
    std::string nodes;
    for (const Json &node : loop.value("nodes", Json::array()))
      nodes += (nodes.empty() ? "'" : ", '") + printable(node.get<std::string>()) + "'";
    text += "chunk loop over " + nodes + ": dim " + number("dim") + " of extent " + number("extent") + ", " +
            number("iterations") + " iterations of " + number("size") + "\n";
  }
  return text;
}

// A line for all inputs and outputs that are cut alike, with the first of their names.
static std::string partsText(const MeshReport &mesh) {
  constexpr size_t mostNames = 6;
  std::map<std::array<int64_t, 2>, std::vector<std::string>> alike;
  for (const MeshReport::Part &one : mesh.parts)
    alike[one.dims].push_back(printable(one.name));
  std::string text;
  for (const auto &[dims, names] : alike) {
    text += "in parts";
    for (int axis = 0; axis < 2; ++axis)
      if (dims[axis] >= 0)
        text += (axis == 1 && dims[0] >= 0 ? ", of" : " of") + (" dim " + std::to_string(dims[axis])) + " along axis " + std::to_string(axis);
    for (size_t i = 0; i < std::min(names.size(), mostNames); ++i)
      text += (i ? ", '" : ": '") + names[i] + "'";
    text += (names.size() > mostNames ? " and " + std::to_string(names.size() - mostNames) + " more" : "") + "\n";
  }
  return text;
}

std::string snug::summaryText(const CompileReport &r, bool verbose) {
  std::string text = "arena " + printBytes(r.arena);
  if (r.arena < r.unchunkedArena) // what runs side by side may take more
    text += " (unchunked " + printBytes(r.unchunkedArena) + ")";
  text += ", weights " + printBytes(r.weights) + ", library " + printBytes(r.library) + ", inputs " +
          printBytes(r.inputs) + ", outputs " + printBytes(r.outputs) + ", total " + printBytes(r.total()) + "\n";
  if (r.mesh)
    text += partsText(*r.mesh);
  if (verbose)
    text += loopsText(r);
  return text;
}

std::string snug::fitsText(const WhatFits &fits) {
  bool measured = fits.points.front().measuredMs >= 0;
  std::string text = std::string("What fits (time as modelled") + (measured ? ", then as measured" : "") +
                     ", and relative to unchunked):\n";
  for (const FitPoint &point : fits.points) {
    char line[200];
    std::snprintf(line, sizeof line, "  --activation-budget %13lldB  %10s  %10.1f ms  %6.2fx", (long long)point.budget,
                  printBytes(point.arena).c_str(), point.ms, point.slowdown);
    text += line;
    if (measured) {
      std::snprintf(line, sizeof line, "  %10.1f ms  %6.2fx", point.measuredMs, point.measuredSlowdown);
      text += line;
    }
    text += &point == &fits.points.front() ? "  unchunked\n" : &point == &fits.points.back() ? "  least\n" : "\n";
  }
  if (!fits.peakNode.empty())
    text += "Unchunked, the peak is at node '" + printable(fits.peakNode) + "'; node '" + printable(fits.leastNode) +
            "' keeps the least from being less.\n";
  return text;
}

std::string snug::depfileText(const std::string &output, const CompileReport &report) {
  auto escape = [](const std::string &path) {
    std::string text;
    for (char c : path) {
      if (c == ' ' || c == '#')
        text += '\\';
      if (c == '$')
        text += '$';
      text += c;
    }
    return text;
  };
  std::string text = escape(output) + ":";
  for (const std::string &file : report.files)
    text += " \\\n  " + escape(file);
  return text + "\n";
}
