// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What memrefs are allocated with, counting the bytes live at one time. Sizes are rounded up to 64 bytes, as plans do.
#include <stdint.h>
#include <stdlib.h>

enum { kHead = 64 };

static int64_t live, most;

void *_mlir_memref_to_llvm_alloc(uint64_t size) {
  char *memory = malloc(size + kHead);
  if (!memory)
    abort();
  *(uint64_t *)memory = size;
  live += (size + 63) / 64 * 64;
  most = live > most ? live : most;
  return memory + kHead;
}

void _mlir_memref_to_llvm_free(void *memory) {
  if (!memory)
    return;
  char *start = (char *)memory - kHead;
  live -= (*(uint64_t *)start + 63) / 64 * 64;
  free(start);
}

void forget_allocations(void) { live = most = 0; }

int64_t most_allocated(void) { return most; }
