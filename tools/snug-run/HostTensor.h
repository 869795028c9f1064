// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_TOOLS_SNUG_RUN_HOST_TENSOR_H
#define SNUG_TOOLS_SNUG_RUN_HOST_TENSOR_H

#include "snug/Runtime.h"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace snug {

// A dense row-major tensor that owns its data, 64-byte aligned and zeroed (so its pages are resident).
class HostTensor {
public:
  HostTensor() = default;
  HostTensor(snug_dtype dtype, std::vector<int64_t> shape); // throws CommandFailure when it is too large

  uint8_t *data() { return memory.get(); }
  const uint8_t *data() const { return memory.get(); }
  uint64_t bytes() const { return numBytes; }
  int64_t elements() const { return numElements; }

  // Makes it one of less elements, those at its start.
  void shrink(std::vector<int64_t> to);
  // A view, valid as long as the tensor is neither moved nor destroyed.
  DLTensor view();

  std::vector<char> text; // bytes of strings, where the tensor owns them
  snug_dtype dtype{};
  std::vector<int64_t> shape;

private:
  struct Free {
    void operator()(uint8_t *address) const { free(address); }
  };
  std::unique_ptr<uint8_t, Free> memory;
  uint64_t numBytes = 0;
  int64_t numElements = 0;
};

// Text of a shape as "1x4096", "()" for a scalar.
std::string shapeText(const std::vector<int64_t> &shape);

// Fills with values that depend on `seed` alone, the same on every machine: floats uniform in [-1, 1), integers and
// bools 0 or 1 (which are valid token ids and masks), or integers uniform in lo..hi where `range` is given.
void fillRandom(HostTensor &tensor, uint64_t seed, const std::pair<int64_t, int64_t> *range);

} // namespace snug

#endif
