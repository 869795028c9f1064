// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cpu/Arena.h"
#include "runtime/core/Error.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace snug;

cpu::Arena::~Arena() {
  if (mapping)
    munmap(mapping, mappingBytes);
}

uint8_t *cpu::Arena::allocate(uint64_t bytes, uint64_t alignment) {
  if (bytes == 0)
    return nullptr;
  uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
  uint64_t touched = (bytes + page - 1) / page * page;
  // A mapping starts at a page; what a larger alignment needs is address space that is never touched.
  mappingBytes = touched + (alignment > page ? alignment - page : 0);
  void *address = mmap(nullptr, mappingBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED)
    throw Failure(SNUG_EXIT_MACHINE,
                  "cannot get " + std::to_string(bytes) + " bytes for the arena: " + strerror(errno));
  mapping = address;
  uintptr_t start = (reinterpret_cast<uintptr_t>(address) + alignment - 1) / alignment * alignment;
  auto *arena = reinterpret_cast<uint8_t *>(start);
  // Touched here, so that no run grows the process or pays for page faults.
  memset(arena, 0, touched);
  return arena;
}
