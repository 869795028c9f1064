// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How elements of several ranks become one, by type and snug_reduction; every transport combines in this way. Sums and
// products of integers wrap around. The larger or smaller of a NaN and anything is a NaN, as in NumPy and ONNX. A sum of
// bools is their disjunction, a product their conjunction.
#ifndef SNUG_RUNTIME_COMM_COMBINE_H
#define SNUG_RUNTIME_COMM_COMBINE_H

#include "snug/ModelABI.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace snug::comm {

// Element types as stored, and as computed with.
template <class T> struct Plain {
  using Stored = T;
  using Wide = T;
  static Wide widen(Stored x) { return x; }
  static Stored round(Wide x) { return x; }
};

struct Half {
  using Stored = uint16_t;
  using Wide = float;
  static float widen(uint16_t x) {
    _Float16 half;
    memcpy(&half, &x, sizeof(half));
    return float(half);
  }
  static uint16_t round(float x) {
    auto half = _Float16(x);
    uint16_t bits;
    memcpy(&bits, &half, sizeof(bits));
    return bits;
  }
};

struct BFloat {
  using Stored = uint16_t;
  using Wide = float;
  static float widen(uint16_t x) {
    uint32_t bits = uint32_t(x) << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
  }
  // To nearest, ties to even; a NaN stays one.
  static uint16_t round(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    if (x != x)
      return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};

struct Bool {
  using Stored = uint8_t;
  using Wide = bool;
  static bool widen(uint8_t x) { return x != 0; }
  static uint8_t round(bool x) { return x; }
};

template <class T> T combineTwo(uint32_t reduction, T a, T b) {
  if constexpr (std::is_same_v<T, bool>) {
    return reduction == SNUG_REDUCE_SUM || reduction == SNUG_REDUCE_MAX ? a || b : a && b;
  } else {
    // b where that is a NaN. Of zeros +0 is the larger one, so that the order of a and b never shows.
    bool isPositive = true;
    if constexpr (std::is_floating_point_v<T>)
      isPositive = !std::signbit(a);
    if (reduction == SNUG_REDUCE_MAX)
      return a != a || a > b || (a == b && isPositive) ? a : b;
    if (reduction == SNUG_REDUCE_MIN)
      return a != a || a < b || (a == b && !isPositive) ? a : b;
    if constexpr (std::is_integral_v<T>) {
      // Unsigned and at least as wide as int, where nothing overflows.
      using Modular = std::conditional_t<sizeof(T) < 4, uint32_t, std::make_unsigned_t<T>>;
      return T(reduction == SNUG_REDUCE_SUM ? Modular(a) + Modular(b) : Modular(a) * Modular(b));
    } else {
      return reduction == SNUG_REDUCE_SUM ? a + b : a * b;
    }
  }
}

// result[i] = parts[0][i] with parts[1][i] with ..., in that order, widened in between and rounded once. `result` may be
// one of the parts.
using CombineFn = void (*)(const void *const *parts, uint32_t numParts, void *result, int64_t count);

template <class Type, uint32_t reduction>
void combine(const void *const *parts, uint32_t numParts, void *result, int64_t count) {
  using Stored = typename Type::Stored;
  constexpr int64_t kBlock = 256;
  typename Type::Wide block[kBlock];
  auto *out = static_cast<Stored *>(result);
  for (int64_t at = 0; at < count; at += kBlock) {
    int64_t size = std::min(kBlock, count - at);
    for (uint32_t p = 0; p < numParts; ++p) {
      const Stored *part = static_cast<const Stored *>(parts[p]) + at;
      for (int64_t i = 0; i < size; ++i)
        block[i] = p == 0 ? Type::widen(part[i]) : combineTwo(reduction, block[i], Type::widen(part[i]));
    }
    for (int64_t i = 0; i < size; ++i)
      out[at + i] = Type::round(block[i]);
  }
}

// Calls visitor(Type{}) for the type of these elements; false where they are not combined.
template <class Visitor> bool visitType(snug_dtype dtype, Visitor &&visitor) {
  if (dtype.lanes != 1)
    return false;
  switch (dtype.code << 8 | dtype.bits) {
  case 0 << 8 | 8: return visitor(Plain<int8_t>()), true;
  case 0 << 8 | 16: return visitor(Plain<int16_t>()), true;
  case 0 << 8 | 32: return visitor(Plain<int32_t>()), true;
  case 0 << 8 | 64: return visitor(Plain<int64_t>()), true;
  case 1 << 8 | 8: return visitor(Plain<uint8_t>()), true;
  case 1 << 8 | 16: return visitor(Plain<uint16_t>()), true;
  case 1 << 8 | 32: return visitor(Plain<uint32_t>()), true;
  case 1 << 8 | 64: return visitor(Plain<uint64_t>()), true;
  case 2 << 8 | 16: return visitor(Half()), true;
  case 2 << 8 | 32: return visitor(Plain<float>()), true;
  case 2 << 8 | 64: return visitor(Plain<double>()), true;
  case 4 << 8 | 16: return visitor(BFloat()), true;
  case 6 << 8 | 8: return visitor(Bool()), true;
  default: return false;
  }
}

// Null where such elements are not combined, or there is no such reduction.
inline CombineFn combineFn(snug_dtype dtype, uint32_t reduction) {
  CombineFn found = nullptr;
  visitType(dtype, [&](auto type) {
    using Type = decltype(type);
    static const CombineFn functions[] = {&combine<Type, SNUG_REDUCE_SUM>, &combine<Type, SNUG_REDUCE_MAX>,
                                          &combine<Type, SNUG_REDUCE_MIN>, &combine<Type, SNUG_REDUCE_PROD>};
    found = reduction <= SNUG_REDUCE_PROD ? functions[reduction] : nullptr;
  });
  return found;
}

// Bytes of an element; those of less than 8 bits take a byte.
inline uint64_t elementBytes(snug_dtype dtype) { return (uint64_t(dtype.bits) * dtype.lanes + 7) / 8; }

inline bool combines(uint32_t kind) { return kind == SNUG_ALL_REDUCE || kind == SNUG_REDUCE_SCATTER; }

} // namespace snug::comm

#endif
