// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Plugin.h"
#include "passes/chunk/Passes.h"
#include "passes/shard/Passes.h"

void snug::registerPluginPasses() {
  registerChunkPasses();
  registerShardPasses();
}
