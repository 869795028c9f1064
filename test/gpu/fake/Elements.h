// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What stands in for libraries reads and writes elements one by one.
#ifndef SNUG_TEST_GPU_FAKE_ELEMENTS_H
#define SNUG_TEST_GPU_FAKE_ELEMENTS_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace snug::fake {

enum class Element { F32, F64, F16, BF16 };

inline size_t bytesOf(Element type) { return type == Element::F64 ? 8 : type == Element::F32 ? 4 : 2; }

inline double load(Element type, const uint8_t *at) {
  if (type == Element::F64 || type == Element::F32) {
    double wide;
    float narrow;
    memcpy(&narrow, at, 4);
    if (type == Element::F32)
      return narrow;
    memcpy(&wide, at, 8);
    return wide;
  }
  uint16_t bits;
  memcpy(&bits, at, 2);
  if (type == Element::BF16) {
    uint32_t wide = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
  }
  _Float16 half;
  memcpy(&half, &bits, 2);
  return float(half);
}

// Rounded to nearest, ties to even.
inline void store(Element type, double value, uint8_t *at) {
  float single = float(value);
  if (type == Element::F64) {
    memcpy(at, &value, 8);
  } else if (type == Element::F32) {
    memcpy(at, &single, 4);
  } else if (type == Element::F16) {
    auto half = _Float16(single);
    memcpy(at, &half, 2);
  } else {
    uint32_t bits;
    memcpy(&bits, &single, 4);
    uint16_t high = uint16_t(std::isnan(single) ? (bits >> 16) | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    memcpy(at, &high, 2);
  }
}

struct Span {
  const uint8_t *begin, *end;
  bool meets(const Span &other) const { return begin < other.end && other.begin < end; }
};

} // namespace snug::fake

#endif
