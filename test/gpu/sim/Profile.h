// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How well accesses to memory use it, counted as hardware does it: for each op and warp, lane by lane what they do at the same
// time. Global memory comes in sectors of 32 bytes. Shared memory has 32 banks of 4 bytes: what the lanes want of one bank takes a
// turn a word; 32 lanes go together for accesses of up to 4 bytes, 16 for 8 bytes, 8 for 16 bytes.
#ifndef SNUG_TEST_GPU_SIM_PROFILE_H
#define SNUG_TEST_GPU_SIM_PROFILE_H

#include "test/gpu/sim/Machine.h"

namespace snug::sim {

// Reads the environment: is this launch counted?
void beginProfile();
void countAccess(const Thread &thread, const Site *site, uintptr_t address, uint32_t bytes, bool isShared, bool writes);
void endBlockOfProfile();
// Appends the launch's line to the file.
void endProfile();

} // namespace snug::sim
#endif
