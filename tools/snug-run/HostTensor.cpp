// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/HostTensor.h"
#include "tools/snug-run/CommandFailure.h"

#include <cstring>
#include <string>

using namespace snug;

HostTensor::HostTensor(snug_dtype type, std::vector<int64_t> extents) : dtype(type), shape(std::move(extents)) {
  int64_t count = 1, size = 0;
  bool tooLarge = false, isEmpty = false;
  for (int64_t extent : shape)
    isEmpty |= extent == 0;
  for (int64_t extent : shape)
    tooLarge |= extent < 0 || (!isEmpty && __builtin_mul_overflow(count, extent, &count));
  count = isEmpty ? 0 : count;
  tooLarge |= __builtin_mul_overflow(count, int64_t(dtype.bits < 8 ? 8 : dtype.bits) * dtype.lanes, &size) || size > INT64_MAX - 1024;
  numElements = count;
  numBytes = (uint64_t(size) + 7) / 8;
  uint64_t padded = numBytes / 64 * 64 + 64; // never 0, so that data() is a pointer
  if (!tooLarge)
    memory.reset(static_cast<uint8_t *>(aligned_alloc(64, padded)));
  if (!memory)
    throw CommandFailure(SNUG_EXIT_MACHINE, "cannot get memory for a tensor of shape " + shapeText(shape));
  memset(memory.get(), 0, padded);
}

void HostTensor::shrink(std::vector<int64_t> to) {
  HostTensor less(dtype, std::move(to));
  shape = less.shape;
  numElements = less.numElements;
  numBytes = less.numBytes;
}

DLTensor HostTensor::view() {
  DLTensor tensor{};
  tensor.data = memory.get();
  tensor.device = {kDLCPU, 0};
  tensor.ndim = int(shape.size());
  tensor.dtype = {dtype.code, dtype.bits, dtype.lanes};
  tensor.shape = shape.data();
  return tensor;
}

std::string snug::shapeText(const std::vector<int64_t> &shape) {
  std::string text;
  for (int64_t extent : shape)
    text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text.empty() ? "()" : text;
}

namespace {
// SplitMix64 (Steele, Lea, Flood 2014): the standard library's distributions differ between implementations.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double unit() { return double(next() >> 11) * 0x1p-53; } // [0, 1)
};
} // namespace

template <typename T> static void store(HostTensor &tensor, int64_t index, T value) {
  memcpy(tensor.data() + index * sizeof(T), &value, sizeof(T));
}

// The bits of units * 2^-8 in a 16-bit float. Half holds all of them in [-1, 1], bfloat16 the even ones, so that
// nothing has to be rounded.
static uint16_t smallFloatBits(int units, int exponentBias, int mantissaBits) {
  if (units == 0)
    return 0;
  int magnitude = units < 0 ? -units : units, top = 0;
  while (magnitude >> (top + 1))
    ++top;
  int exponent = top - 8 + exponentBias;
  int mantissa = (magnitude - (1 << top)) << mantissaBits >> top;
  return uint16_t((units < 0 ? 0x8000 : 0) | exponent << mantissaBits | mantissa);
}

void snug::fillRandom(HostTensor &tensor, uint64_t seed, const std::pair<int64_t, int64_t> *range) {
  Random random{seed};
  int bits = tensor.dtype.bits;
  switch (tensor.dtype.code) {
  case kDLFloat:
  case kDLComplex: {
    int64_t count = tensor.dtype.code == kDLComplex ? 2 * tensor.elements() : tensor.elements();
    int part = tensor.dtype.code == kDLComplex ? bits / 2 : bits;
    for (int64_t i = 0; i < count; ++i) {
      double value = 2 * random.unit() - 1;
      if (part == 64)
        store(tensor, i, value);
      else if (part == 32)
        store(tensor, i, float(int64_t(value * 0x1p23)) * 0x1p-23f); // exact, so never rounded up to 1
      else
        store(tensor, i, smallFloatBits(int(value * 256), 15, 10));
    }
    return;
  }
  case kDLBfloat: // 7 bits of mantissa: multiples of 2^-7
    for (int64_t i = 0; i < tensor.elements(); ++i)
      store(tensor, i, smallFloatBits(2 * int((2 * random.unit() - 1) * 128), 127, 7));
    return;
  default:
    break;
  }
  uint64_t lo = 0, span = 2;
  if (range) {
    lo = uint64_t(range->first);
    span = uint64_t(range->second) - lo + 1;
  }
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    uint64_t value = lo + (span ? random.next() % span : random.next());
    memcpy(tensor.data() + i * (bits / 8), &value, size_t(bits / 8)); // little-endian
  }
}
