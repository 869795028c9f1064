// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the models written by hand have in common: one input and one output of [n, kWidth], which whoever includes this defines.
#ifndef SNUG_TEST_UNIT_CUDA_FIXTUREPARTS_H
#define SNUG_TEST_UNIT_CUDA_FIXTUREPARTS_H

#include <stdint.h>

static inline void shapesOfBoth(const int64_t *values, int64_t *extents) {
  for (int i = 0; i < 2; ++i) {
    extents[2 * i] = values[0];
    extents[2 * i + 1] = kWidth;
  }
}

static inline int64_t bitsOf(float value) {
  union {
    float value;
    int64_t bits;
  } both = {.bits = 0};
  both.value = value;
  return both.bits;
}

#ifndef FIXTURE_CHIP
#define FIXTURE_CHIP 90
#endif
// As fatbinary writes them: a header, and an empty cubin of that chip with its own.
static const struct {
  uint32_t magic;
  uint16_t version, header_bytes;
  uint64_t bytes;
  uint16_t kind, entry_version;
  uint32_t entry_header_bytes;
  uint64_t payload_bytes;
  uint32_t compressed[3], chip, rest[8];
} emptyImage = {.magic = 0xba55ed50, .version = 1, .header_bytes = 16, .bytes = 64, .kind = 2, .entry_header_bytes = 64, .chip = FIXTURE_CHIP};

#endif
