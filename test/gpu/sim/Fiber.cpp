// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "test/gpu/sim/Fiber.h"
#include "test/gpu/sim/Machine.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

using namespace snug::sim;

namespace {
constexpr size_t kStack = 128 << 10, kGuard = 4096;

char *stacks() {
  static char *all = [] {
    void *memory = mmap(nullptr, kMaxThreads * kStack, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      perror("snug-sim: no memory for the threads' stacks");
      exit(70);
    }
    char *begin = static_cast<char *>(memory);
    for (size_t i = 0; i < kMaxThreads; ++i)
      mprotect(begin + i * kStack, kGuard, PROT_NONE);
    return begin;
  }();
  return all;
}
} // namespace

#ifdef __x86_64__
// Registers that a function keeps for its caller (System V ABI) are on the stack while another fiber runs.
extern "C" __attribute__((visibility("hidden"))) void snug_sim_swap(void **save, void *to);
asm(R"(
.text
.hidden snug_sim_swap
.globl snug_sim_swap
.type snug_sim_swap,@function
snug_sim_swap:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size snug_sim_swap,.-snug_sim_swap
)");

void snug::sim::prepareFiber(Fiber &fiber, size_t index, void (*run)()) {
  // Tops are spread: at equal offsets they would share a few sets of the cache.
  char *top = stacks() + (index + 1) * kStack - index % 61 * 128;
  void **place = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15));
  *--place = nullptr; // where `run` would return to; also the alignment that a call leaves
  *--place = reinterpret_cast<void *>(run);
  place -= 6;
  memset(place, 0, 6 * sizeof *place);
  fiber.stackPointer = place;
}

void snug::sim::switchFiber(Fiber &from, Fiber &to) { snug_sim_swap(&from.stackPointer, to.stackPointer); }
#else
void snug::sim::prepareFiber(Fiber &fiber, size_t index, void (*run)()) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stacks() + index * kStack + kGuard;
  fiber.context.uc_stack.ss_size = kStack - kGuard;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run, 0);
}

void snug::sim::switchFiber(Fiber &from, Fiber &to) { swapcontext(&from.context, &to.context); }
#endif
