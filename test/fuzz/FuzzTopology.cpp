// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reader of topology files: what it accepts can be written, read again, and used.
#include "lib/solver/MeshRings.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string error;
  auto topology = snug::parseTopology(std::string(reinterpret_cast<const char *>(data), size), error);
  if (!topology) {
    if (error.empty())
      abort();
    return 0;
  }
  if (!snug::topologyProblem(*topology).empty() || topology->size() < 1)
    abort();
  auto again = snug::parseTopology(snug::topologyText(*topology), error);
  if (!again || again->size() != topology->size())
    abort();
  int64_t devices = topology->size();
  if (devices <= 64)
    for (int64_t first = 1; first <= devices; ++first)
      if (devices % first == 0)
        for (int axis : {1, 2}) {
          auto use = snug::ringUse(*topology, {first, devices / first}, axis);
          if (!(snug::ringBandwidth(*topology, use) > 0) || !(snug::ringLatency(*topology, use) >= 0))
            abort();
        }
  return 0;
}
