// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What --stats measures, from outside of the model.
#ifndef SNUG_TOOLS_SNUG_RUN_MEASURE_H
#define SNUG_TOOLS_SNUG_RUN_MEASURE_H

#include <cstddef>
#include <cstdint>

namespace snug {

// An arena that shows what was written: filled with a pattern, between two pages that nothing may touch (a write past
// its end ends the program at once, as long as the size is a multiple of the alignment).
class WatchedArena {
public:
  WatchedArena(uint64_t bytes, uint64_t alignment); // throws CommandFailure
  WatchedArena(const WatchedArena &) = delete;
  WatchedArena &operator=(const WatchedArena &) = delete;
  ~WatchedArena();

  void *data() const { return arena; }
  uint64_t bytes() const { return numBytes; }

  // Offset of the end of the last byte that differs from the pattern. A byte that was written with the pattern's own
  // value is not seen; as the pattern changes with the place, a neighbour is.
  uint64_t highWater() const;

private:
  void *mapping = nullptr;
  size_t mappingBytes = 0;
  uint8_t *arena = nullptr;
  uint64_t numBytes = 0;
};

// Bytes of anonymous memory of this process that are resident, from the kernel. Allocates nothing.
uint64_t residentAnonymousBytes();

} // namespace snug

#endif
