// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Common machines, by their data sheets: peaks, so what is measured there is less. docs/topology.md lists them.
#include "lib/solver/Topology.h"

namespace snug {

namespace {
// Bytes/s per direction of one device. NVLink: 25 GB/s a link, from the 5th generation on 50 (B200 data sheet: 1.8 TB/s in both
// directions together). PCI Express 4.0, 16 lanes: 16 GT/s with 128 of 130 bits
// payload. Network cards: 200 or 400 Gbit/s.
constexpr double kNvlink3 = 12 * 25e9, kNvlink4 = 18 * 25e9, kNvlink5 = 18 * 50e9, kPcie4 = 16 * 16e9 * 128 / 130 / 8;
constexpr double kHdr = 200e9 / 8, kNdr = 400e9 / 8;

// NCCL's own table (src/graph/tuning.cc, version 2.30): a ring of protocol LL starts in 6.6 us and takes so long a
// step. In tenths of a microsecond.
constexpr int64_t kStart = 66, kNvlinkStep = 6, kPcieStep = 10, kNetworkStep = 27;

LinkLevel level(int64_t fanout, double p2p, double group, int64_t step) {
  return {fanout, p2p, group, static_cast<double>(kStart + (fanout - 1) * step) / 10 * 1e-6};
}

std::vector<TopologyPreset> presets() {
  LinkLevel a100 = level(8, kNvlink3, kNvlink3, kNvlinkStep), h100 = level(8, kNvlink4, kNvlink4, kNvlinkStep);
  const char *ofA100 = "NVIDIA, A100 data sheet: 12 NVLinks of 3rd generation, 600 GB/s in both directions together; "
                       "DGX A100 user guide: 8 cards of 200 Gbit/s for the compute network";
  const char *ofH100 = "NVIDIA, H100 data sheet: 18 NVLinks of 4th generation, 900 GB/s in both directions together; "
                       "DGX H100 user guide: 8 cards of 400 Gbit/s for the compute network";
  const char *ofPcie = "PCI Express base specification 4.0: 16 GT/s a lane, 128b/130b";
  std::vector<TopologyPreset> result;
  auto add = [&](const char *name, std::vector<LinkLevel> levels, bool rails, std::string source) {
    result.push_back({Topology{name, std::move(levels), rails, {}}, std::move(source)});
  };
  add("dgx-a100", {a100}, true, ofA100);
  add("dgx-a100-x2", {level(2, kHdr, 8 * kHdr, kNetworkStep), a100}, true, ofA100);
  add("dgx-a100-x4", {level(4, kHdr, 8 * kHdr, kNetworkStep), a100}, true, ofA100);
  add("dgx-h100", {h100}, true, ofH100);
  add("dgx-h100-x2", {level(2, kNdr, 8 * kNdr, kNetworkStep), h100}, true, ofH100);
  add("dgx-h100-x4", {level(4, kNdr, 8 * kNdr, kNetworkStep), h100}, true, ofH100);
  add("dgx-h100-x8", {level(8, kNdr, 8 * kNdr, kNetworkStep), h100}, true, ofH100);
  add("a100-pcie-pairs", {level(4, kPcie4, 2 * kPcie4, kPcieStep), level(2, kNvlink3, kNvlink3, kNvlinkStep)}, false,
      std::string("NVIDIA, A100 data sheet: an NVLink bridge joins two cards with 600 GB/s in both directions "
                  "together; ") +
          ofPcie);
  add("pcie4-x8", {level(8, kPcie4, kPcie4, kPcieStep)}, false, ofPcie);
  add("pcie4-x4", {level(4, kPcie4, kPcie4, kPcieStep)}, false, ofPcie);
  return result;
}
} // namespace

const std::vector<TopologyPreset> &topologyPresets() {
  static const std::vector<TopologyPreset> all = presets();
  return all;
}

Topology uniformTopology(int64_t devices, int gpuCapability) {
  Topology topology;
  topology.name = "uniform";
  topology.levels.push_back({devices, 10e9, 10e9, 10e-6});
  if (gpuCapability == 0)
    return topology;
  // The chips with NVLink between all of a machine's; others have PCI Express.
  struct Chip {
    int capability;
    double bandwidth;
  };
  static const Chip chips[] = {{80, kNvlink3}, {90, kNvlink4}, {100, kNvlink5}, {103, kNvlink5}};
  topology.levels = {level(devices, kPcie4, kPcie4, kPcieStep)};
  for (const Chip &chip : chips)
    if (chip.capability == gpuCapability)
      topology.levels = {level(devices, chip.bandwidth, chip.bandwidth, kNvlinkStep)};
  return topology;
}

} // namespace snug
