// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cpu/CpuDevice.h"
#include "runtime/comm/Mesh.h"
#include "runtime/core/Error.h"
#include "runtime/core/Model.h"

#include <chrono>
#include <string>

using namespace snug;

static uint32_t chooseThreads(const snug_model_header &header, uint32_t requested) {
  if (requested <= header.num_threads)
    return requested ? requested : header.num_threads;
  throw Failure(SNUG_EXIT_USAGE, std::to_string(requested) + " threads were asked for, but the model was planned for " +
                                     std::to_string(header.num_threads) +
                                     ", which its arena has scratch for: ask for fewer, or compile with --threads " +
                                     std::to_string(requested));
}

cpu::CpuDevice::CpuDevice(snug_model &model, const snug_context_options &options, uint64_t arenaBytes)
    : header(*model.header), team{chooseThreads(*model.header, options.num_threads)}, parallelFor(&cpu::parallelFor),
      parallelForState(&team), launchNs(options.launch_ns) {
  if (options.stream || options.flags || options.device || options.tune_file)
    throw Failure(SNUG_EXIT_USAGE, "stream, flags, device and tune_file of snug_context_options are for models that compute on a GPU, and this "
                                   "one was compiled for " + std::string(header.target) + ": leave them 0");
  if (options.workspace && reinterpret_cast<uintptr_t>(options.workspace) % header.memory.arena_alignment != 0)
    throw Failure(SNUG_EXIT_USAGE, "the workspace is not aligned to " + std::to_string(header.memory.arena_alignment) +
                                       " bytes, as the model needs");
  weightsStart = model.mapWeights(options.comm ? options.comm->rank() : 0);
  if (options.parallel_for) {
    parallelFor = options.parallel_for;
    parallelForState = options.parallel_for_state;
  } else {
    cpu::startThreads(numThreads());
  }
  arenaStart = options.workspace ? static_cast<uint8_t *>(options.workspace)
                                 : ownArena.allocate(arenaBytes, header.memory.arena_alignment);
}

void cpu::CpuDevice::timedParallelFor(void *state, snug_kernel_fn kernel, const int64_t *args, int64_t extent, int64_t grain) {
  auto &device = *static_cast<CpuDevice *>(state);
  auto start = std::chrono::steady_clock::now();
  device.parallelFor(device.parallelForState, kernel, args, extent, grain);
  std::chrono::nanoseconds took = std::chrono::steady_clock::now() - start;
  device.launchNs[args[-1]] += uint64_t(took.count());
}

void *cpu::CpuDevice::fill(snug_runtime_table &table) {
  table.parallel_for = launchNs ? &timedParallelFor : parallelFor;
  return launchNs ? this : parallelForState;
}

void cpu::CpuDevice::join(comm::Mesh &mesh, snug_runtime_table &table) {
  mesh.openGroups();
  table.collective = &comm::Mesh::collective;
  table.start = &comm::Mesh::start;
  table.wait = &comm::Mesh::wait;
  table.comm_state = &mesh;
  team.poll = &comm::Mesh::poll; // while it computes
  team.pollState = &mesh;
}
