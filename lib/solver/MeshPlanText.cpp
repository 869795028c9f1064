// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/MeshPlanText.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace snug {

using Json = nlohmann::ordered_json;

namespace {
constexpr double kMilli = 1e-3, kMicro = 1e-6, kGiga = 1e9;

template <typename... Args> std::string format(const char *pattern, Args... args) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, pattern, args...);
  return buffer;
}

std::string meshText(const MeshShape &mesh) { return std::to_string(mesh.d1) + "x" + std::to_string(mesh.d2); }
std::string nameOf(const MeshCandidate &c) { return meshText(c.mesh) + " " + nameOf(c.family); }
std::string milliseconds(double seconds) { return format("%.4g", seconds / kMilli); }
std::string gigabytes(double bandwidth) { return std::isinf(bandwidth) ? "-" : format("%.4g", bandwidth / kGiga); }

// Rows of cells, each column as wide as its widest cell; numbers to the right, the others to the left.
std::string table(const std::vector<std::vector<std::string>> &rows, size_t leftColumns) {
  std::vector<size_t> widths;
  for (const auto &row : rows)
    for (size_t i = 0; i < row.size(); ++i) {
      widths.resize(std::max(widths.size(), i + 1));
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string text;
  for (const auto &row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      std::string space(widths[i] - row[i].size(), ' ');
      line += "  " + (i < leftColumns ? row[i] + space : space + row[i]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string flipKey(const BandwidthFlip &flip) {
  return "levels[" + std::to_string(flip.level) + "]." + (flip.isGroup ? "group_gbps" : "p2p_gbps");
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }
Json meshJson(const MeshShape &mesh) { return Json::array({mesh.d1, mesh.d2}); }

Json layoutJson(const LayoutPrice &layout) {
  Json json = {{"layout", layout.layout}};
  if (!layout.refused.empty()) {
    json["refused"] = layout.refused;
    return json;
  }
  json["time_ms"] = layout.time() / kMilli;
  json["compute_ms"] = layout.compute_s / kMilli;
  json["hidden_ms"] = layout.hidden_s / kMilli;
  json["traffic"] = Json::array();
  for (const AxisTraffic &traffic : layout.traffic)
    json["traffic"].push_back({{"collectives", traffic.collectives},
                               {"bytes", traffic.bytes},
                               {"latency_ms", traffic.latency_s / kMilli},
                               {"transfer_ms", traffic.transfer_s / kMilli}});
  json["overlaps"] = Json::array();
  for (const OverlapPrice &overlap : layout.overlaps)
    json["overlaps"].push_back({{"kernel", overlap.what}, {"runs", overlap.count}, {"pieces", overlap.pieces}});
  return json;
}
} // namespace

std::string meshPlanText(const MeshSetting &setting, const MeshPlan &plan) {
  if (!plan.problem.empty())
    return "no plan: " + plan.problem + "\n";
  const auto &all = plan.candidates;
  std::string text =
      "mesh of " + std::to_string(setting.topology.size()) + " devices (" + setting.topology.name + "): ";
  if (plan.admissible == 0)
    text += "none, the model cannot be cut for so many\n";
  else
    text += nameOf(all[0]) + ", " + milliseconds(all[0].time_s) + " ms";
  if (plan.admissible > 1)
    text += "; second best: " + nameOf(all[1]) + ", " + milliseconds(all[1].time_s) + " ms";
  if (plan.admissible > 0) {
    text += "\n";
    std::vector<std::vector<std::string>> rows{{"mesh", "family", "phase", "layout", "runs", "ms a run", "compute",
                                                "latency", "transfer", "hidden", "GB/s axis 1", "axis 2", "total ms"}};
    for (size_t c = 0; c < plan.admissible; ++c)
      for (size_t p = 0; p < all[c].phases.size(); ++p) {
        const LayoutPrice &price = all[c].phases[p].price();
        rows.push_back({meshText(all[c].mesh), nameOf(all[c].family), setting.phases[p].name, price.layout,
                        format("%g", setting.phases[p].runs), milliseconds(price.time()), milliseconds(price.compute_s),
                        milliseconds(price.latency_s), milliseconds(price.transfer_s), milliseconds(price.hidden_s),
                        gigabytes(all[c].rings[0].bandwidth), gigabytes(all[c].rings[1].bandwidth),
                        p == 0 ? milliseconds(all[c].time_s) : ""});
      }
    text += table(rows, 4);
  }
  if (plan.admissible < all.size()) {
    text += "dropped:\n";
    std::vector<std::vector<std::string>> rows;
    for (size_t c = plan.admissible; c < all.size(); ++c)
      rows.push_back({meshText(all[c].mesh), nameOf(all[c].family), all[c].refused});
    text += table(rows, 3);
  }
  if (!plan.flips.empty()) {
    text += "the choice flips, all else the same, where\n";
    for (const BandwidthFlip &flip : plan.flips)
      text += "  " + flipKey(flip) + " (" + gigabytes(flip.now) + ") is " + (flip.at < flip.now ? "below " : "above ") +
              gigabytes(flip.at) + ": " + nameOf(all[flip.candidate]) + "\n";
  }
  return text;
}

std::string meshPlanJson(const MeshSetting &setting, const MeshPlan &plan) {
  Json json = {{"topology", setting.topology.name}, {"devices", setting.topology.size()}};
  if (!plan.problem.empty())
    json["problem"] = plan.problem;
  json["phases"] = Json::array();
  for (const MeshPhase &phase : setting.phases)
    json["phases"].push_back({{"name", phase.name}, {"runs", phase.runs}});
  json["candidates"] = json["dropped"] = json["flips"] = Json::array();
  for (const MeshCandidate &c : plan.candidates) {
    Json one = {{"mesh", meshJson(c.mesh)}, {"family", nameOf(c.family)}};
    if (!c.refused.empty()) {
      one["reason"] = c.refused;
      json["dropped"].push_back(one);
      continue;
    }
    one["time_ms"] = c.time_s / kMilli;
    one["rings"] = one["phases"] = Json::array();
    for (const MeshRing &ring : c.rings)
      one["rings"].push_back({{"gbps", number(ring.bandwidth / kGiga)}, {"latency_us", ring.latency / kMicro}});
    for (const PhasePrice &phase : c.phases) {
      Json layouts = Json::array();
      for (const LayoutPrice &layout : phase.layouts)
        layouts.push_back(layoutJson(layout));
      one["phases"].push_back({{"layout", phase.price().layout}, {"layouts", layouts}});
    }
    json["candidates"].push_back(one);
  }
  for (const BandwidthFlip &flip : plan.flips) {
    const MeshCandidate &to = plan.candidates[flip.candidate];
    json["flips"].push_back({{"level", flip.level},
                             {"key", flip.isGroup ? "group_gbps" : "p2p_gbps"},
                             {"now", flip.now / kGiga},
                             {"at", number(flip.at / kGiga)},
                             {"mesh", meshJson(to.mesh)},
                             {"family", nameOf(to.family)}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

} // namespace snug
