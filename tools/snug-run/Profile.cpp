// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Profile.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <numeric>
#include <string>
#include <tuple>

void snug::printProfile(const snug_model *model, const std::vector<uint64_t> &launchNs,
                        const std::vector<double> &runMs) {
  struct Entry {
    double ms = 0;
    uint32_t launches = 0;
    std::string kernel, nodes;
  };
  double runs = double(runMs.size()), total = std::accumulate(runMs.begin(), runMs.end(), 0.0) / runs, known = 0;
  std::map<std::string, Entry> byKernel;
  for (uint32_t i = 0; const snug_launch_info *launch = snug_model_launch(model, i); ++i) {
    Entry &entry = byKernel[launch->kernel];
    if (entry.launches++ == 0) {
      entry.kernel = launch->kernel;
      entry.nodes = launch->nodes;
    }
    entry.ms += double(launchNs[i]) / 1e6 / runs;
  }
  std::vector<Entry> entries;
  for (const auto &[kernel, entry] : byKernel) {
    entries.push_back(entry);
    known += entry.ms;
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry &a, const Entry &b) { return std::tie(b.ms, a.kernel) < std::tie(a.ms, b.kernel); });
  entries.push_back({total - known, 0, "(host)", "between launches"});
  printf("%10s %6s %8s  %-16s %s\n", "ms a run", "share", "launches", "kernel", "nodes (of the first launch)");
  for (const Entry &entry : entries)
    printf("%10.3f %5.1f%% %8u  %-16s %s\n", entry.ms, 100 * entry.ms / total, entry.launches, entry.kernel.c_str(),
           entry.nodes.c_str());
}
