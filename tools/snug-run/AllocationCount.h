// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Counts what all threads of the process ask the allocator and the system for, by defining malloc and its family in the
// executable, which every shared library in it then uses. Linked into snug-run and the runtime's tests.
#ifndef SNUG_TOOLS_SNUG_RUN_ALLOCATION_COUNT_H
#define SNUG_TOOLS_SNUG_RUN_ALLOCATION_COUNT_H

#include <cstdint>

namespace snug {

// Starts or stops counting. Any thread; of several users what all threads ask for is counted while one of them does.
void countAllocations(bool on);

// Calls of malloc, calloc, realloc, posix_memalign, aligned_alloc, memalign and mmap counted since the process started.
uint64_t allocationCount();

} // namespace snug

#endif
