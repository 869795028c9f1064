// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "test/gpu/sim/Profile.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

using namespace snug::sim;

namespace {
// What the lanes of a warp do together: the n-th time that each of them comes to the op.
struct Request {
  std::map<uint32_t, uintptr_t> lanes; // which come in any order
  std::vector<uintptr_t> addresses() const {
    std::vector<uintptr_t> all;
    for (auto [lane, address] : lanes)
      all.push_back(address);
    return all;
  }
};
struct Counts {
  bool writes = false;
  uint32_t bytes = 0;
  uint64_t requests = 0, units = 0, least = 0; // sectors, or turns of banks; and as few as these bytes could take
  std::vector<uint32_t> times;                 // of each thread of the block
  std::vector<std::vector<Request>> warps;     // of the block
};
std::map<std::pair<const Site *, bool /*isShared*/>, Counts> all;

void countSectors(Counts &counts, const Request &request) {
  std::vector<uintptr_t> each = request.addresses();
  std::set<uintptr_t> sectors, addresses(each.begin(), each.end());
  for (uintptr_t address : addresses)
    for (uintptr_t sector = address / 32; sector <= (address + counts.bytes - 1) / 32; ++sector)
      sectors.insert(sector);
  counts.units += sectors.size();
  counts.least += (addresses.size() * counts.bytes + 31) / 32;
}

void countTurns(Counts &counts, const Request &request) {
  size_t together = counts.bytes <= 4 ? 32 : std::max<size_t>(1, 128 / counts.bytes);
  std::vector<uintptr_t> addresses = request.addresses();
  for (size_t first = 0; first < addresses.size(); first += together) {
    std::set<uintptr_t> words;
    for (size_t i = first; i < std::min(first + together, addresses.size()); ++i)
      for (uintptr_t word = addresses[i] / 4; word <= (addresses[i] + counts.bytes - 1) / 4; ++word)
        words.insert(word);
    uint64_t banks[32] = {};
    for (uintptr_t word : words)
      ++banks[word % 32];
    counts.units += *std::max_element(std::begin(banks), std::end(banks));
    counts.least += (words.size() + 31) / 32;
  }
}

std::string quoted(std::string text) {
  for (char &c : text)
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < ' ')
      c = '\'';
  return "\"" + text + "\"";
}
} // namespace

void snug::sim::beginProfile() {
  all.clear();
  const char *file = getenv("SNUG_SIM_PROFILE");
  machine.isProfiled = file && *file;
}

void snug::sim::countAccess(const Thread &thread, const Site *site, uintptr_t address, uint32_t bytes, bool isShared,
                            bool writes) {
  Counts &counts = all[{site, isShared}];
  counts.writes = writes;
  counts.bytes = bytes;
  counts.times.resize(machine.threads.size());
  counts.warps.resize(thread.warps);
  std::vector<Request> &requests = counts.warps[thread.warp];
  uint32_t time = counts.times[thread.linear]++;
  if (requests.size() <= time)
    requests.resize(time + 1);
  requests[time].lanes[thread.linear] = address;
}

void snug::sim::endBlockOfProfile() {
  for (auto &[key, counts] : all) {
    for (std::vector<Request> &requests : counts.warps)
      for (Request &request : requests) {
        ++counts.requests;
        key.second ? countTurns(counts, request) : countSectors(counts, request);
      }
    counts.times.clear();
    counts.warps.clear();
  }
}

void snug::sim::endProfile() {
  FILE *file = fopen(getenv("SNUG_SIM_PROFILE"), "a");
  if (!file) {
    fprintf(stderr, "snug-sim: cannot write the file that SNUG_SIM_PROFILE names\n");
    return;
  }
  std::string line = "{\"kernel\": " + quoted(machine.kernel->name) + ", \"accesses\": [";
  const char *comma = "";
  for (auto &[key, counts] : all) {
    line += comma + ("{\"at\": " + quoted(key.first->location)) + ", \"space\": " + (key.second ? "\"shared\"" : "\"global\"") +
            ", \"writes\": " + (counts.writes ? "true" : "false") + ", \"bytes\": " + std::to_string(counts.bytes) +
            ", \"requests\": " + std::to_string(counts.requests) + ", \"units\": " + std::to_string(counts.units) +
            ", \"least\": " + std::to_string(counts.least) + "}";
    comma = ", ";
  }
  fputs((line + "]}\n").c_str(), file);
  fclose(file);
}
