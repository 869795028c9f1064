// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/Topology.h"
#include "lib/solver/JsonReader.h"

#include <cstdio>
#include <cstdlib>

namespace snug {

static constexpr int64_t kVersion = 1;
static constexpr double kGiga = 1e9, kMicro = 1e-6;
static constexpr double kLeastBandwidth = 1e-6, kMostBandwidth = 1e6; // GB/s
static constexpr double kMostLatency = 1e7;                           // us

int64_t Topology::size() const {
  int64_t devices = 1;
  for (const LinkLevel &level : levels) {
    if (level.fanout < 1 || level.fanout > kMostDevices / devices)
      return 0;
    devices *= level.fanout;
  }
  return devices;
}

static std::string text(double value) { return Json(value).dump(); }

// The shortest number of the file's unit that reads back as the same value.
static double inUnit(double value, double unit) {
  char shortest[40];
  for (int digits = 1; digits < 17; ++digits) {
    std::snprintf(shortest, sizeof shortest, "%.*g", digits, value / unit);
    if (std::atof(shortest) * unit == value)
      return std::atof(shortest);
  }
  return value / unit;
}

static std::string outOf(const std::string &key, double value, double least, double most) {
  return "'" + key + "' is " + text(value) + ", not a number from " + text(least) + " to " + text(most);
}

std::string topologyProblem(const Topology &t) {
  if (t.levels.empty() || t.levels.size() > kMostTopologyLevels)
    return "'levels' is no list of 1 to " + std::to_string(kMostTopologyLevels) + " levels";
  for (size_t i = 0; i < t.levels.size(); ++i) {
    const LinkLevel &level = t.levels[i];
    std::string at = "levels[" + std::to_string(i) + "].";
    double p2p = inUnit(level.p2p_bytes_per_s, kGiga), group = inUnit(level.group_bytes_per_s, kGiga);
    double latency = inUnit(level.latency_s, kMicro);
    if (level.fanout < 1 || level.fanout > kMostDevices)
      return "'" + at + "fanout' is " + std::to_string(level.fanout) + ", not a whole number from 1 to " +
             std::to_string(kMostDevices);
    if (!(p2p >= kLeastBandwidth && p2p <= kMostBandwidth))
      return outOf(at + "p2p_gbps", p2p, kLeastBandwidth, kMostBandwidth);
    if (!(group >= kLeastBandwidth && group <= kMostBandwidth))
      return outOf(at + "group_gbps", group, kLeastBandwidth, kMostBandwidth);
    if (!(latency >= 0 && latency <= kMostLatency))
      return outOf(at + "latency_us", latency, 0, kMostLatency);
    if (level.group_bytes_per_s < level.p2p_bytes_per_s)
      return "'" + at + "group_gbps' is " + text(group) + ", less than the " + text(p2p) +
             " of 'p2p_gbps': all flows of a unit together are no slower than one of them";
  }
  if (t.size() == 0)
    return "the product of all 'fanout' is more than " + std::to_string(kMostDevices) + " devices";
  if (t.devices.empty())
    return "";
  if (static_cast<int64_t>(t.devices.size()) != t.size())
    return "'devices' has " + std::to_string(t.devices.size()) + " entries, the levels have " +
           std::to_string(t.size()) + " places";
  std::vector<bool> seen(t.devices.size());
  for (int64_t device : t.devices) {
    if (device < 0 || device >= t.size() || seen[device])
      return "'devices' does not have each number from 0 to " + std::to_string(t.size() - 1) + " once";
    seen[device] = true;
  }
  return "";
}

std::string topologyText(const Topology &t) {
  Json json = {{"version", kVersion}, {"name", t.name}, {"rails", t.rails}, {"levels", Json::array()}};
  for (const LinkLevel &level : t.levels)
    json["levels"].push_back({{"fanout", level.fanout},
                              {"p2p_gbps", inUnit(level.p2p_bytes_per_s, kGiga)},
                              {"group_gbps", inUnit(level.group_bytes_per_s, kGiga)},
                              {"latency_us", inUnit(level.latency_s, kMicro)}});
  if (!t.devices.empty())
    json["devices"] = t.devices;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

namespace {
class Reader : JsonReader {
public:
  using JsonReader::JsonReader;

  std::optional<Topology> read(const std::string &text) {
    std::optional<Json> parsed = object(text);
    if (!parsed)
      return std::nullopt;
    Json &json = *parsed;
    bool isMatrix = json.contains("p2p_gbps");
    if (isMatrix == json.contains("levels"))
      return fail(std::string("it has ") + (isMatrix ? "both" : "neither") + " 'levels' " + (isMatrix ? "and" : "nor") +
                  " 'p2p_gbps': one of them says what connects the devices");
    if (!(isMatrix ? keysAre(json, "", {"version", "name", "rails", "p2p_gbps", "latency_us"}, {"contended_gbps"})
                   : keysAre(json, "", {"version", "name", "rails", "levels"}, {"devices"})))
      return std::nullopt;
    if (!json["version"].is_number_integer() || json["version"] != kVersion)
      return fail("'version' is not " + std::to_string(kVersion) + ", the one that this snugc reads");
    if (!json["name"].is_string())
      return fail("'name' is no text");
    if (!json["rails"].is_boolean())
      return fail("'rails' is neither true nor false");
    std::optional<Topology> t = isMatrix ? matrix(json) : levels(json);
    if (!t)
      return std::nullopt;
    t->name = json["name"].get<std::string>();
    t->rails = json["rails"].get<bool>();
    std::string problem = topologyProblem(*t);
    if (!problem.empty())
      return fail(problem);
    return t;
  }

private:
  // Only whether values are numbers is judged here; topologyProblem has the ranges.
  bool value(const Json &json, const std::string &key, double unit, double &result) {
    if (!json.is_number())
      return fail("'" + key + "' is " + text(json) + ", not a number"), false;
    result = json.get<double>() * unit;
    return true;
  }

  std::optional<Topology> levels(const Json &json) {
    Topology t;
    const Json &list = json["levels"];
    if (!list.is_array() || list.empty() || list.size() > kMostTopologyLevels)
      return fail("'levels' is no list of 1 to " + std::to_string(kMostTopologyLevels) + " levels");
    for (size_t i = 0; i < list.size(); ++i) {
      std::string at = "levels[" + std::to_string(i) + "]";
      if (!list[i].is_object())
        return fail("'" + at + "' is no object");
      at += ".";
      LinkLevel level;
      if (!keysAre(list[i], at, {"fanout", "p2p_gbps", "group_gbps", "latency_us"}) ||
          !integer(list[i]["fanout"], at + "fanout", 1, kMostDevices, level.fanout) ||
          !value(list[i]["p2p_gbps"], at + "p2p_gbps", kGiga, level.p2p_bytes_per_s) ||
          !value(list[i]["group_gbps"], at + "group_gbps", kGiga, level.group_bytes_per_s) ||
          !value(list[i]["latency_us"], at + "latency_us", kMicro, level.latency_s))
        return std::nullopt;
      t.levels.push_back(level);
    }
    if (!json.contains("devices"))
      return t;
    if (!json["devices"].is_array())
      return fail("'devices' is no list of device numbers");
    for (const Json &device : json["devices"]) {
      if (!device.is_number_integer() || !(device.get<double>() >= 0 && device.get<double>() < kMostDevices))
        return fail("'devices' has " + text(device) + ", which is no device number");
      t.devices.push_back(device.get<int64_t>());
    }
    if (t.devices.empty())
      return fail("'devices' is empty: leave the key out where each device is at the place of its number");
    return t;
  }

  // All entries but those of the diagonal are within the range.
  bool square(const Json &json, const std::string &key, size_t size, double least, double most, double unit,
              std::vector<std::vector<double>> &rows) {
    auto shape = [&] {
      return fail("'" + key + "' is no matrix of " + std::to_string(size) + " lists of " + std::to_string(size) +
                  " numbers each"),
             false;
    };
    if (!json.is_array() || json.size() != size)
      return shape();
    for (size_t a = 0; a < size; ++a) {
      if (!json[a].is_array() || json[a].size() != size)
        return shape();
      rows.emplace_back(size);
      for (size_t b = 0; b < size; ++b)
        if (a != b && !number(json[a][b], key + "[" + std::to_string(a) + "][" + std::to_string(b) + "]", least, most,
                              unit, rows[a][b]))
          return false;
    }
    return true;
  }

  std::optional<Topology> matrix(const Json &json) {
    const Json &p2p = json["p2p_gbps"];
    if (!p2p.is_array() || p2p.empty() || p2p.size() > kMostMatrixDevices)
      return fail("'p2p_gbps' is no matrix of 1 to " + std::to_string(kMostMatrixDevices) +
                  " lists, one a device, of what it sends to each device");
    LinkMatrix m;
    size_t n = p2p.size();
    if (!square(p2p, "p2p_gbps", n, kLeastBandwidth, kMostBandwidth, kGiga, m.p2p_bytes_per_s) ||
        !square(json["latency_us"], "latency_us", n, 0, kMostLatency, kMicro, m.latency_s) ||
        (json.contains("contended_gbps") && !square(json["contended_gbps"], "contended_gbps", n, kLeastBandwidth,
                                                    kMostBandwidth, kGiga, m.contended_bytes_per_s)))
      return std::nullopt;
    return clusterLinks(m);
  }
};
} // namespace

std::optional<Topology> parseTopology(const std::string &text, std::string &error) { return Reader(error).read(text); }

std::optional<Topology> firstDevices(const Topology &topology, int64_t count) {
  if (count == topology.size())
    return topology;
  if (count < 1 || count > topology.size() || !topology.devices.empty())
    return std::nullopt;
  Topology part = topology;
  part.levels.clear();
  for (size_t level = topology.levels.size(); level-- > 0 && count > 1;) {
    LinkLevel units = topology.levels[level];
    if (count < units.fanout)
      units.fanout = count; // some of them
    else if (count % units.fanout != 0)
      return std::nullopt;
    count /= units.fanout;
    part.levels.insert(part.levels.begin(), units);
  }
  if (part.levels.empty())
    part.levels.push_back({1, topology.levels.back().p2p_bytes_per_s, topology.levels.back().group_bytes_per_s, topology.levels.back().latency_s});
  return part;
}

} // namespace snug
