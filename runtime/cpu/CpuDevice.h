// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_RUNTIME_CPU_CPU_DEVICE_H
#define SNUG_RUNTIME_CPU_CPU_DEVICE_H

#include "runtime/core/Device.h"
#include "runtime/cpu/Arena.h"
#include "runtime/cpu/ParallelFor.h"

namespace snug::cpu {

// The host's memory, and its threads: OpenMP's, or those of the caller.
class CpuDevice : public Device {
public:
  CpuDevice(snug_model &model, const snug_context_options &options, uint64_t arenaBytes);

  DLDevice place() const override { return {kDLCPU, 0}; }
  uint32_t numThreads() const override { return uint32_t(team.threads); }
  uint8_t *arena() const override { return arenaStart; }
  const uint8_t *weights() const override { return weightsStart; }
  void *fill(snug_runtime_table &table) override;
  void join(comm::Mesh &mesh, snug_runtime_table &table) override;
  void run(const snug_run_args &args, Binding &, uint64_t) override { header.run(&args); }
  void *shapePlace(int64_t *extents, uint64_t index) override { return extents + index; }
  void readShapes(int64_t *, uint64_t) override {}

private:
  static void timedParallelFor(void *state, snug_kernel_fn kernel, const int64_t *args, int64_t extent, int64_t grain);

  const snug_model_header &header;
  Arena ownArena;
  uint8_t *arenaStart;
  const uint8_t *weightsStart;
  Team team;
  snug_parallel_for_fn parallelFor;
  void *parallelForState;
  uint64_t *launchNs; // NULL without a profile
};

} // namespace snug::cpu

#endif
