// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cpu/ParallelFor.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <omp.h>

using namespace snug;

// Ranges that a thread gets on average. One would leave a thread that was disturbed, or that got the long rows of a
// causal mask, to be waited for; many would split what a kernel prepares once for each range.
static constexpr int64_t kRangesPerThread = 4;
// The same while messages are in flight: a ring of ranks needs a hand from each for each of its steps.
static constexpr int64_t kPolledRangesPerThread = 32;

// What a kernel may use of its thread's stack.
static constexpr size_t kKernelStackBytes = 64 << 10;

void cpu::parallelFor(void *state, snug_kernel_fn kernel, const int64_t *args, int64_t extent, int64_t grain) {
  if (extent <= 0)
    return;
  const Team &team = *static_cast<const Team *>(state);
  int64_t threads = team.threads;
  bool isPolled = team.poll && team.poll(team.pollState);
  grain = std::max<int64_t>(grain, 1);
  int64_t blocks = extent / grain + (extent % grain != 0);
  if ((threads == 1 && !isPolled) || blocks == 1) {
    kernel(args, 0, extent, 0);
    return;
  }
  int64_t ranges = std::min(blocks, threads * (isPolled ? kPolledRangesPerThread : kRangesPerThread));
  int64_t perRange = blocks / ranges, longer = blocks % ranges; // the first `longer` ranges have one block more
  std::atomic<int64_t> left{ranges};
  // The team always has its full size: OpenMP rearranges its workers whenever the size changes. The ranges are handed
  // out from the last, which is the longest under a causal mask and the one most recently written.
#pragma omp parallel num_threads(int(threads)) if (threads > 1)
  {
    int64_t thread = omp_get_thread_num();
    bool polls = isPolled && thread == 0;
    for (int64_t i; (i = left.fetch_sub(1, std::memory_order_relaxed) - 1) >= 0;) {
      int64_t first = i * perRange + std::min(i, longer);
      int64_t last = first + perRange + (i < longer);
      kernel(args, first * grain, std::min(last * grain, extent), thread);
      polls = polls && team.poll(team.pollState);
    }
  }
}

void cpu::startThreads(uint32_t numThreads) {
#pragma omp parallel num_threads(int(numThreads))
  {
    // Makes the stack that kernels may use resident, so that runs do not.
    volatile char stack[kKernelStackBytes];
    for (size_t i = 0; i < sizeof(stack); i += 1024)
      stack[i] = 0;
  }
}
