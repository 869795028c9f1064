// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Plugin.h"
#include "codegen/cuda/Passes.h"
#include "passes/chunk/Passes.h"
#include "passes/shard/Passes.h"

void snug::registerPluginPasses() {
  registerChunkPasses();
  registerShardPasses();
  registerCudaPasses();
}
