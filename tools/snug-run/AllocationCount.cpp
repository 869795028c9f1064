// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/AllocationCount.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static std::atomic<int> counting{0}; // by so many
static std::atomic<uint64_t> count{0};

void snug::countAllocations(bool on) { counting += on ? 1 : -1; }
uint64_t snug::allocationCount() { return count; }

static void note() {
  if (counting.load(std::memory_order_relaxed))
    count.fetch_add(1, std::memory_order_relaxed);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SNUG_SANITIZER_ALLOCATOR 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SNUG_SANITIZER_ALLOCATOR 1
#endif

#ifdef SNUG_SANITIZER_ALLOCATOR
// A sanitizer has its own allocator, which tells us of each allocation; mmap is not seen then.
extern "C" void __sanitizer_malloc_hook(const volatile void *, size_t) { note(); }
#else
extern "C" {
// The C library's own names for its allocator.
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t bytes) {
  note();
  return __libc_malloc(bytes);
}
void *calloc(size_t number, size_t bytes) {
  note();
  return __libc_calloc(number, bytes);
}
void *realloc(void *old, size_t bytes) {
  note();
  return __libc_realloc(old, bytes);
}
void *memalign(size_t alignment, size_t bytes) {
  note();
  return __libc_memalign(alignment, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes) {
  note();
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void **out, size_t alignment, size_t bytes) {
  note();
  if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
    return EINVAL;
  void *memory = __libc_memalign(alignment, bytes);
  if (!memory)
    return ENOMEM;
  *out = memory;
  return 0;
}
void *mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
  note();
  return reinterpret_cast<void *>(syscall(SYS_mmap, address, bytes, protection, flags, descriptor, offset));
}
}
#endif
