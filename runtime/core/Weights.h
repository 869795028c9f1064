// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model's weights: read-only, mapped once, shared by all contexts.
#ifndef SNUG_RUNTIME_CORE_WEIGHTS_H
#define SNUG_RUNTIME_CORE_WEIGHTS_H

#include "snug/ModelABI.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace snug {

class Weights {
public:
  Weights() = default;
  Weights(const Weights &) = delete;
  Weights &operator=(const Weights &) = delete;
  ~Weights();

  // Finds the weights that device `rank` has by `header` (0 where it is for one device): embedded, or in a file below
  // `folder`. Throws when they are missing, damaged or another model's. Call once.
  void map(const snug_model_header &header, uint32_t rank, const std::string &folder);

  const uint8_t *data() const { return blob; }

private:
  const uint8_t *blob = nullptr;
  void *mapping = nullptr;
  size_t mappingBytes = 0;
};

} // namespace snug

#endif
