// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_RUNTIME_CUDA_LIBRARY_CALLS_H
#define SNUG_RUNTIME_CUDA_LIBRARY_CALLS_H

#include "runtime/cuda/Driver.h"
#include "snug/ModelABI.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <string>

namespace snug::cuda {

// The contractions of a context that a library does. How it does one is chosen when its shape is met for the first time, which a
// rehearsal sees to before the first run, and stays so: another choice may give other bits. In the device's context.
class LibraryCalls {
public:
  LibraryCalls() = default;
  LibraryCalls(const LibraryCalls &) = delete;
  LibraryCalls &operator=(const LibraryCalls &) = delete;
  virtual ~LibraryCalls() = default;

  virtual const char *name() const = 0; // as messages have it
  // Whether the library does that contraction of snug_model_header.contractions in that shape; else a kernel has to. Chooses how.
  virtual bool has(int64_t contraction, const void *shape) = 0;
  // Starts it; only what it has. Returns a status of the library's, 0 of success.
  virtual int run(int64_t contraction, const void *shape, Stream stream) = 0;
  virtual std::string errorText(int status) const = 0;
};

// Of an address, no more than all tensors have: the choice is the same wherever a caller's lie.
inline uint32_t alignmentOf(int64_t address) {
  int64_t lowest = address & -address;
  return lowest ? uint32_t(std::min<int64_t>(lowest, SNUG_GPU_TENSOR_ALIGNMENT)) : SNUG_GPU_TENSOR_ALIGNMENT;
}

// All that a choice depends on: the contraction, its shape, and how addresses are aligned, and whether c is d. Of both kinds of shapes the last six
// numbers are addresses, the very last one that of the workspace, which is always the same.
template <class Shape> using ShapeKey = std::array<int64_t, 1 + sizeof(Shape) / sizeof(int64_t)>;
template <class Shape> ShapeKey<Shape> keyOf(int64_t contraction, const Shape &shape) {
  static_assert(sizeof(Shape) - offsetof(Shape, a) == 6 * sizeof(int64_t));
  ShapeKey<Shape> key{contraction};
  memcpy(&key[1], &shape, sizeof shape);
  for (size_t i = key.size() - 6; i < key.size(); ++i)
    key[i] = alignmentOf(key[i]);
  if (shape.c == shape.d) // it is added to
    key[1 + offsetof(Shape, c) / sizeof(int64_t)] = 0;
  return key;
}

} // namespace snug::cuda

#endif
