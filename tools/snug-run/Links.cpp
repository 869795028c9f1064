// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Links.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/Ranks.h"
#include "tools/snug-run/WholeFile.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <unistd.h>
#include <vector>

using namespace snug;

// How long each pair, and then all at once, exchange messages: at least, and at most where so many messages take longer.
static constexpr uint32_t kProbeMs = 50, kPairMs = 200, kAllMs = 1000, kMostMs = 8000;
static constexpr double kMessages = 16;
// Messages that a link takes this long for; of that size latency does not matter.
static constexpr double kMessageSeconds = 0.02;
static constexpr uint64_t kLeastBytes = 64 << 10, kMostBytes = 8 << 20;

namespace {
struct Flow {
  double seconds; // that a message took on average
  double gbps(uint64_t bytes) const { return seconds > 0 ? double(bytes) / seconds / 1e9 : 0; }
};
} // namespace

static uint64_t messageBytes(double gbps) {
  double bytes = std::min(gbps * 1e9 * kMessageSeconds, double(kMostBytes));
  return std::max(uint64_t(bytes), kLeastBytes);
}

static uint32_t durationMs(uint32_t least, uint64_t bytes, double gbps) {
  double messages = kMessages * double(bytes) / (gbps * 1e6);
  return uint32_t(std::max(double(least), std::min(messages, double(kMostMs))));
}

// Of all ranks, by rank: what comes from each of `peers`.
static std::vector<Flow> exchange(snug_comm *comm, const std::vector<uint8_t> &peers, uint64_t bytes, uint32_t milliseconds) {
  std::vector<uint64_t> messages(peers.size());
  std::vector<double> seconds(peers.size());
  check(snug_comm_exchange(comm, peers.data(), bytes, milliseconds, messages.data(), seconds.data()));
  std::vector<Flow> flows(peers.size());
  for (size_t r = 0; r < peers.size(); ++r)
    flows[r].seconds = messages[r] ? seconds[r] / double(messages[r]) : 0;
  return flows;
}

void snug::measureLinks(snug_comm *comm, const std::string &path) {
  uint32_t size = snug_comm_size(comm), rank = snug_comm_rank(comm);
  if (size < 2)
    throw CommandFailure(SNUG_EXIT_USAGE, "--measure-links: one rank has no links; start one on each device, with mpirun -n N");
  // What comes to this rank: latencies, bandwidths alone, and together.
  std::vector<double> mine(3 * size_t(size));
  double slowest = INFINITY;
  for (uint32_t a = 0; a < size; ++a)
    for (uint32_t b = a + 1; b < size; ++b) {
      std::vector<uint8_t> peers(size);
      if (rank == a || rank == b)
        peers[rank == a ? b : a] = 1;
      uint32_t other = rank == a ? b : a;
      check(snug_comm_agree(comm, SNUG_EXIT_DONE, nullptr)); // one pair at a time
      double latency = exchange(comm, peers, 1, kProbeMs)[other].seconds;
      double probed = exchange(comm, peers, kLeastBytes, kProbeMs)[other].gbps(kLeastBytes);
      // Both have to send the same.
      std::vector<double> all(size);
      check(snug_comm_all_gather(comm, &probed, all.data(), sizeof(probed)));
      probed = std::min(all[a], all[b]);
      uint64_t bytes = messageBytes(probed);
      double gbps = exchange(comm, peers, bytes, durationMs(kPairMs, bytes, probed))[other].gbps(bytes);
      if (rank == a || rank == b) {
        mine[other] = latency * 1e6;
        mine[size + other] = gbps;
        slowest = std::min(slowest, gbps);
      }
    }
  std::vector<double> slow(size);
  check(snug_comm_all_gather(comm, &slowest, slow.data(), sizeof(slowest)));
  double share = *std::min_element(slow.begin(), slow.end()) / size;
  uint64_t bytes = messageBytes(share);
  std::vector<uint8_t> others(size, 1);
  others[rank] = 0;
  std::vector<Flow> together = exchange(comm, others, bytes, durationMs(kAllMs, bytes, share));
  for (uint32_t r = 0; r < size; ++r)
    mine[2 * size_t(size) + r] = together[r].gbps(bytes);
  std::vector<double> all(3 * size_t(size) * size);
  check(snug_comm_all_gather(comm, mine.data(), all.data(), mine.size() * sizeof(double)));
  snug::together(comm, [&] {
    if (rank != 0)
      return;
    // [from][to], of what came to each.
    auto matrix = [&](size_t which) {
      nlohmann::ordered_json rows = nlohmann::ordered_json::array();
      for (uint32_t from = 0; from < size; ++from) {
        nlohmann::ordered_json row = nlohmann::ordered_json::array();
        for (uint32_t to = 0; to < size; ++to)
          row.push_back(std::stod([&] {
            char text[32];
            snprintf(text, sizeof(text), "%.4g", all[(size_t(to) * 3 + which) * size + from]);
            return std::string(text);
          }()));
        rows.push_back(row);
      }
      return rows;
    };
    nlohmann::ordered_json topology;
    topology["version"] = 1;
    topology["name"] = "measured between " + std::to_string(size) + " processes";
    topology["rails"] = false;
    topology["p2p_gbps"] = matrix(1);
    topology["latency_us"] = matrix(0);
    topology["contended_gbps"] = matrix(2);
    std::string text = topology.dump(2) + "\n";
    WholeFile file(path);
    file.write(text.data(), text.size());
    file.commit();
    printf("%u links measured: %s\n", size * (size - 1), path.c_str());
  });
}
