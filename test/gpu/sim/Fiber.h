// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Stacks to switch between. By hand, because the C library's swapcontext makes a system call each time: 15 times slower.
#ifndef SNUG_TEST_GPU_SIM_FIBER_H
#define SNUG_TEST_GPU_SIM_FIBER_H

#include <cstddef>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace snug::sim {

struct Fiber {
#ifdef __x86_64__
  void *stackPointer = nullptr;
#else
  ucontext_t context;
#endif
};

// Stack number `index`, with a page behind it that no one may touch. All are made at once, on first use.
// The next switch to the fiber calls `run`, which never returns.
void prepareFiber(Fiber &fiber, size_t index, void (*run)());
void switchFiber(Fiber &from, Fiber &to);

} // namespace snug::sim
#endif
