// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What contexts of a model share on a GPU: the device's primary context, the loaded kernels and the weights.
#ifndef SNUG_RUNTIME_CUDA_RESIDENT_H
#define SNUG_RUNTIME_CUDA_RESIDENT_H

#include "runtime/core/Model.h"
#include "runtime/cuda/Contractions.h"
#include "runtime/cuda/Driver.h"

#include <memory>
#include <utility>
#include <vector>

namespace snug::cuda {

// The primary context of a device, which the CUDA runtime and the libraries on it use as well.
class Primary {
public:
  explicit Primary(uint32_t ordinal); // throws
  Primary(const Primary &) = delete;
  Primary &operator=(const Primary &) = delete;
  ~Primary();

  const uint32_t ordinal;
  PrimaryContext context = nullptr;
  std::string chip; // "NVIDIA H200, sm_90"
  std::string name; // as messages have it: "CUDA device 0 (NVIDIA H200, sm_90)"
  DeviceUuid uuid{}; // which one it is of all in the world

private:
  DeviceNumber number = 0;
};

// Memory on a device, of exactly so many bytes; none is no allocation. The device's context is current.
class Memory {
public:
  Memory() = default;
  Memory(const Primary &primary, uint64_t bytes, const char *what); // throws
  Memory(Memory &&other) noexcept { *this = std::move(other); }
  Memory &operator=(Memory &&other) noexcept {
    std::swap(address, other.address);
    std::swap(size, other.size);
    std::swap(primary, other.primary);
    return *this;
  }
  ~Memory(); // in any context

  Address at() const { return address; }
  uint64_t bytes() const { return size; }

private:
  Address address = 0;
  uint64_t size = 0;
  const Primary *primary = nullptr;
};

class Resident {
public:
  // Loads the kernels and uploads the weights of device `rank` of the model's mesh (0 where it is for one device). Throws.
  Resident(snug_model &model, uint32_t ordinal, uint32_t rank);
  Resident(const Resident &) = delete;
  Resident &operator=(const Resident &) = delete;
  ~Resident();

  Primary primary;
  uint64_t freeBefore = 0;         // bytes on the device, before anything was allocated
  std::vector<Function> functions; // by number of the kernel
  Memory weights;
  std::unique_ptr<Blas> blas; // where the model has contractions for it

private:
  explicit Resident(uint32_t ordinal) : primary(ordinal) {} // what throws after it is destroyed
  void load(const snug_model_header &header);
  void upload(const uint8_t *from, uint64_t bytes);

  Module module = nullptr;
};

} // namespace snug::cuda

#endif
