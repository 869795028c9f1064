// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "test/gpu/sim/Fragments.h"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

using namespace snug::sim;

namespace {
template <class T> T get(const void *from, int i) {
  T value;
  memcpy(&value, static_cast<const char *>(from) + i * sizeof(T), sizeof(T));
  return value;
}
template <class T> void put(void *to, int i, T value) {
  memcpy(static_cast<char *>(to) + i * sizeof(T), &value, sizeof(T));
}
float floatOf(uint32_t bits) { return get<float>(&bits, 0); }

float fromHalf(uint16_t half) {
  uint32_t bits = uint32_t(half & 0x7fff) << 13; // to be scaled by the difference of the exponents' biases
  float value = floatOf(bits) * 0x1p112f;
  if ((half & 0x7c00) == 0x7c00) // infinity or not a number
    value = floatOf(bits | 0x7f800000u);
  return half & 0x8000 ? -value : value;
}

uint16_t toHalf(float value) {
  _Float16 half = static_cast<_Float16>(value);
  return get<uint16_t>(&half, 0);
}

// Elements as they are computed with.
template <class Wide> Wide element(Element type, const void *fragment, int i) {
  switch (type) {
  case Element::F16:
    return static_cast<Wide>(fromHalf(get<uint16_t>(fragment, i)));
  case Element::BF16:
    return static_cast<Wide>(floatOf(uint32_t(get<uint16_t>(fragment, i)) << 16));
  case Element::TF32:
    return static_cast<Wide>(floatOf(get<uint32_t>(fragment, i) & 0xffffe000u)); // the other bits are not looked at
  case Element::S8:
    return static_cast<Wide>(get<int8_t>(fragment, i));
  case Element::U8:
    return static_cast<Wide>(get<uint8_t>(fragment, i));
  case Element::F64:
    return static_cast<Wide>(get<double>(fragment, i));
  case Element::F32:
    return static_cast<Wide>(get<float>(fragment, i));
  case Element::S32:
    return static_cast<Wide>(get<int32_t>(fragment, i));
  }
  return Wide();
}

// Elements of a register of 32 bits (f64: of 64).
int perRegister(Element type) {
  return type == Element::F16 || type == Element::BF16 ? 2 : type == Element::S8 || type == Element::U8 ? 4 : 1;
}

template <class Wide> void multiply(int k, Element typeA, Element typeB, Element typeC, bool saturate, const Fragments &f) {
  const int rows = typeA == Element::F64 ? 8 : 16, columns = 8;
  static thread_local Wide a[16][32], b[32][8], c[16][8];
  const int per = perRegister(typeA), blocks = k / (4 * per); // of columns of a: 4 lanes have one register each of a row
  for (int lane = 0; lane < 32; ++lane) {
    int group = lane / 4, member = lane % 4;
    for (int block = 0; block < blocks; ++block)
      for (int e = 0; e < per; ++e) {
        int column = (block * 4 + member) * per + e;
        for (int half = 0; half < rows / 8; ++half)
          a[group + 8 * half][column] = element<Wide>(typeA, f.a[lane], (block * (rows / 8) + half) * per + e);
        b[column][group] = element<Wide>(typeB, f.b[lane], block * per + e);
      }
    for (int half = 0; half < rows / 8; ++half)
      for (int e = 0; e < 2; ++e)
        c[group + 8 * half][2 * member + e] = element<Wide>(typeC, f.c[lane], 2 * half + e);
  }
  for (int i = 0; i < rows; ++i)
    for (int l = 0; l < k; ++l)
      for (int j = 0; j < columns; ++j) {
        if constexpr (std::is_same_v<Wide, double>)
          c[i][j] = std::fma(a[i][l], b[l][j], c[i][j]);
        else
          c[i][j] += a[i][l] * b[l][j];
      }
  for (int lane = 0; lane < 32; ++lane)
    for (int half = 0; half < rows / 8; ++half)
      for (int e = 0; e < 2; ++e) {
        Wide sum = c[lane / 4 + 8 * half][2 * (lane % 4) + e];
        int i = 2 * half + e;
        if constexpr (std::is_same_v<Wide, double>)
          put<double>(f.d[lane], i, sum);
        else if constexpr (std::is_same_v<Wide, int64_t>)
          put<int32_t>(f.d[lane], i,
                       static_cast<int32_t>(saturate ? std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX) : sum));
        else if (typeC == Element::F16)
          put<uint16_t>(f.d[lane], i, toHalf(sum));
        else
          put<float>(f.d[lane], i, sum);
      }
}
} // namespace

void snug::sim::multiplyMatrices(int k, Element a, Element b, Element sum, bool saturate, const Fragments &fragments) {
  if (sum == Element::F64)
    multiply<double>(k, a, b, sum, saturate, fragments);
  else if (sum == Element::S32)
    multiply<int64_t>(k, a, b, sum, saturate, fragments);
  else
    multiply<float>(k, a, b, sum, saturate, fragments);
}

void snug::sim::loadMatrices(int count, bool transposed, const void *const rows[32], void *const results[32]) {
  for (int matrix = 0; matrix < count; ++matrix)
    for (int lane = 0; lane < 32; ++lane)
      for (int e = 0; e < 2; ++e) {
        int row = lane / 4, column = 2 * (lane % 4) + e;
        if (transposed)
          std::swap(row, column);
        put<uint16_t>(results[lane], 2 * matrix + e, get<uint16_t>(rows[8 * matrix + row], column));
      }
}
