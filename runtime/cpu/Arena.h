// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_RUNTIME_CPU_ARENA_H
#define SNUG_RUNTIME_CPU_ARENA_H

#include <cstddef>
#include <cstdint>

namespace snug {
namespace cpu {

// Anonymous memory of a context, given back to the system when it goes.
class Arena {
public:
  Arena() = default;
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;
  ~Arena();

  // `bytes` rounded up to a page, at `alignment` (a power of two), all of it resident. Throws when there is too little
  // memory. Call once.
  uint8_t *allocate(uint64_t bytes, uint64_t alignment);

private:
  void *mapping = nullptr;
  size_t mappingBytes = 0;
};

} // namespace cpu
} // namespace snug

#endif
