// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_RUNTIME_CPU_PARALLEL_FOR_H
#define SNUG_RUNTIME_CPU_PARALLEL_FOR_H

#include "snug/ModelABI.h"

namespace snug {
namespace cpu {

struct Team {
  int64_t threads;
  // What the calling thread does between two ranges as long as it returns true: move on messages that are in flight, which not
  // every transport does by itself. NULL: nothing.
  bool (*poll)(void *state) = nullptr;
  void *pollState = nullptr;
};

// snug_runtime_table.parallel_for over OpenMP; `state` is a Team.
void parallelFor(void *state, snug_kernel_fn kernel, const int64_t *args, int64_t extent, int64_t grain);

// Has OpenMP make its workers for the calling thread, so that runs find them and allocate nothing.
void startThreads(uint32_t numThreads);

} // namespace cpu
} // namespace snug

#endif
