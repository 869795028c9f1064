// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/TopologyFile.h"
#include "passes/shard/LayoutCosts.h"
#include "passes/shard/LinearLayers.h"
#include "snug/ExitCodes.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

using namespace snug;

static int readTopology(CompileOptions &options) {
  const Console &console = options.console;
  auto file = llvm::MemoryBuffer::getFile(options.topologyFile, /*IsText=*/true);
  if (!file) {
    std::string names;
    for (const TopologyPreset &preset : topologyPresets()) {
      names += (names.empty() ? "" : ", ") + preset.topology.name;
      if (preset.topology.name == options.topologyFile) {
        options.topology = preset.topology;
        return SNUG_EXIT_DONE;
      }
    }
    return console.fail(SNUG_EXIT_MACHINE, "cannot read '" + options.topologyFile + "': " + file.getError().message() +
                                               "; nor is it a preset, which are " + names);
  }
  std::string problem;
  std::optional<Topology> read = parseTopology((*file)->getBuffer().str(), problem);
  if (!read)
    return console.fail(SNUG_EXIT_INVALID, "the topology file '" + options.topologyFile + "' is not valid: " + printable(problem));
  options.topology = *read;
  return SNUG_EXIT_DONE;
}

int snug::chooseTopology(CompileOptions &options) {
  const Console &console = options.console;
  int64_t devices = options.mesh[0] * options.mesh[1];
  bool isOpen = options.anyMesh || options.leastMesh;
  const char *flag = options.meshFamily           ? "--mesh-family"
                     : !options.meshMix.empty()   ? "--mesh-mix"
                     : options.ringAttention      ? "--ring-attention"
                     : options.replicateWeights   ? "--replicate-weights"
                     : options.overlap > 1        ? "--overlap"
                                                  : nullptr;
  if (flag && !isOpen && devices == 1)
    return console.fail(SNUG_EXIT_USAGE, std::string(flag) +
                                             " says how a model is cut for a mesh, and no mesh was asked for; add --mesh AxB, or --mesh auto");
  if (options.meshFamily && !isOpen)
    if (std::string problem = familyProblem(*options.meshFamily, options.mesh); !problem.empty())
      return console.fail(SNUG_EXIT_USAGE, "--mesh-family: " + problem);
  if (options.topologyFile.empty()) {
    if (options.anyMesh)
      return console.fail(SNUG_EXIT_USAGE, "--mesh auto chooses a mesh for the links of a topology; add --topology FILE.json, or "
                                           "say which mesh, as in --mesh 2x4");
    options.topology = uniformTopology(devices, options.gpuCapability);
    return SNUG_EXIT_DONE;
  }
  if (int code = readTopology(options))
    return code;
  if (!isOpen && devices == 1 && options.topology.size() != 1)
    return console.fail(SNUG_EXIT_USAGE, "--topology is of " + std::to_string(options.topology.size()) +
                                             " devices, and no mesh was asked for; add --mesh auto, or --mesh AxB");
  if (!isOpen && devices != options.topology.size())
    return console.fail(SNUG_EXIT_USAGE, "--mesh has " + std::to_string(devices) + " devices, the topology '" +
                                             printable(options.topologyFile) + "' " + std::to_string(options.topology.size()));
  return SNUG_EXIT_DONE;
}
