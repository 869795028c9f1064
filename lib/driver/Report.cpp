// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Report.h"
#include <charconv>
#include <cstdio>
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

// From the largest budget to the least; one point where no loop makes it smaller.
static std::vector<FitPoint> fitPoints(const CompileReport &r) {
  std::vector<FitPoint> points;
  if (!r.fits)
    return points;
  points.push_back({r.fits->unchunked, 1});
  points.insert(points.end(), r.fits->between.begin(), r.fits->between.end());
  if (r.fits->least.arena < r.fits->unchunked)
    points.push_back(r.fits->least);
  return points;
}

std::string snug::reportText(const CompileOptions &options, const CompileReport &r) {
  Json timing = Json::object(), fits = Json::array();
  for (const auto &[stage, ms] : r.timing)
    timing[stage] = ms;
  for (const FitPoint &point : fitPoints(r))
    fits.push_back({{"activation", point.arena}, {"slowdown", point.slowdown}});
  ChunkFigures search = r.search.value_or(ChunkFigures{-1, -1, -1, -1, -1, -1, -1});
  Json report = {
      {"version", kReportVersion},
      {"snug", SNUG_VERSION},
      {"model", options.model},
      {"target", options.target},
      {"dims", dimsJson(options.dims)},
      {"machine", Json::parse(machineText(options.machine))},
      {"budget",
       {{"memory", orNull(r.memoryBudget)},
        {"activation", orNull(r.activationBudget)},
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
        {"unchunked_arena", r.unchunkedArena},
        {"eager_arena", orNull(r.eagerArena)}}},
      {"bounds",
       {{"sched", orNull(r.schedBound)}, {"lb0", orNull(r.lb0)}, {"lb1", orNull(r.lb1)}, {"lb2", orNull(r.lb2)}}},
      {"peak_node", r.peakNode.empty() ? Json() : Json(r.peakNode)},
      {"chunk_loops", Json::parse(r.chunkLoops)},
      {"time_model", {{"unchunked_ms", orNull(search.unchunkedMs)}, {"chunked_ms", orNull(search.chunkedMs)}}},
      {"fits", fits},
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

std::string snug::summaryText(const CompileReport &r, bool verbose) {
  std::string text = "arena " + printBytes(r.arena);
  if (r.arena != r.unchunkedArena)
    text += " (unchunked " + printBytes(r.unchunkedArena) + ")";
  text += ", weights " + printBytes(r.weights) + ", library " + printBytes(r.library) + ", inputs " +
          printBytes(r.inputs) + ", outputs " + printBytes(r.outputs) + ", total " + printBytes(r.total()) + "\n";
  if (verbose)
    text += loopsText(r);
  if (!r.fits)
    return text;
  text += "\nWhat fits (time as modelled, relative to unchunked):\n";
  std::vector<FitPoint> points = fitPoints(r);
  for (const FitPoint &point : points) {
    char line[160];
    const char *what = &point == &points.front() ? "  unchunked" : &point == &points.back() ? "  least" : "";
    std::snprintf(line, sizeof line, "  --activation-budget %13lldB  %10s  %6.2fx%s\n", (long long)point.arena,
                  printBytes(point.arena).c_str(), point.slowdown, what);
    text += line;
  }
  if (!r.peakNode.empty())
    text += "Unchunked, the peak is at node '" + printable(r.peakNode) + "'; node '" + printable(r.fits->leastNode) +
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
