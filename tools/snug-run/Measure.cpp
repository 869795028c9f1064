// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Measure.h"
#include "tools/snug-run/CommandFailure.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace snug;

static uint8_t pattern(uint64_t offset) { return uint8_t((offset * 0x9e3779b97f4a7c15u) >> 56); }

WatchedArena::WatchedArena(uint64_t bytes, uint64_t alignment) : numBytes(bytes) {
  uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
  uint64_t inner = (bytes + page - 1) / page * page;
  uint64_t slack = std::max(alignment, page);
  mappingBytes = inner + 2 * slack + 2 * page; // its start and its end are both rounded down
  void *address = mmap(nullptr, mappingBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED)
    throw CommandFailure(SNUG_EXIT_MACHINE,
                  "cannot get " + std::to_string(bytes) + " bytes for the arena: " + strerror(errno));
  mapping = address;
  // The last multiple of both alignment and page that leaves a page behind it; the start follows from the end.
  uint64_t ends = reinterpret_cast<uintptr_t>(mapping) + mappingBytes - page;
  ends = ends / slack * slack;
  uint64_t starts = (ends - bytes) / alignment * alignment;
  arena = reinterpret_cast<uint8_t *>(starts);
  uint64_t first = starts / page * page;
  if (ends > first && mprotect(reinterpret_cast<void *>(first), ends - first, PROT_READ | PROT_WRITE) != 0)
    throw CommandFailure(SNUG_EXIT_MACHINE, std::string("cannot make the arena writable: ") + strerror(errno));
  for (uint64_t i = 0; i < bytes; ++i)
    arena[i] = pattern(i);
}

WatchedArena::~WatchedArena() { munmap(mapping, mappingBytes); }

uint64_t WatchedArena::highWater() const {
  uint64_t end = numBytes;
  while (end > 0 && arena[end - 1] == pattern(end - 1))
    --end;
  return end;
}

// The value in KiB that follows `key` at the start of a line of a /proc file, or false.
static bool readKiB(const char *path, const char *key, uint64_t &kib) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return false;
  char text[8192];
  size_t size = 0;
  for (ssize_t got; size < sizeof(text) - 1 && (got = read(file, text + size, sizeof(text) - 1 - size)) > 0;)
    size += size_t(got);
  close(file);
  text[size] = 0;
  const char *line = strstr(text, key);
  if (!line)
    return false;
  kib = strtoull(line + strlen(key), nullptr, 10);
  return true;
}

uint64_t snug::residentAnonymousBytes() {
  uint64_t kib = 0;
  // The first counts pages, the second may lag behind by some pages a thread.
  if (!readKiB("/proc/self/smaps_rollup", "\nAnonymous:", kib) && !readKiB("/proc/self/status", "\nRssAnon:", kib))
    throw CommandFailure(SNUG_EXIT_MACHINE, "cannot measure: neither /proc/self/smaps_rollup nor /proc/self/status tells the "
                                     "resident anonymous memory");
  return kib * 1024;
}
