// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The contractions of a context that cuBLASLt does. How it does one is chosen when its shape is met for the first time, which a
// rehearsal sees to before the first run, and stays so: another choice may give other bits.
#ifndef SNUG_RUNTIME_CUDA_CONTRACTIONS_H
#define SNUG_RUNTIME_CUDA_CONTRACTIONS_H

#include "runtime/cuda/CublasLt.h"
#include "runtime/cuda/Driver.h"
#include "snug/ModelABI.h"

#include <array>
#include <map>

namespace snug::cuda {

// The library on a device. May be shared by threads.
class Blas {
public:
  // In the device's context. Throws. `device` as messages have it.
  explicit Blas(const std::string &device);
  Blas(const Blas &) = delete;
  Blas &operator=(const Blas &) = delete;
  ~Blas(); // in the device's context

  const cublaslt::Library &lib;
  cublaslt::Handle handle = nullptr;
};

class Contractions {
public:
  Contractions(const Blas &blas, const snug_model_header &header) : blas(blas), header(header) {}
  Contractions(const Contractions &) = delete;
  Contractions &operator=(const Contractions &) = delete;
  ~Contractions();

  // Whether the library does that contraction of that shape; else a kernel has to. Chooses how.
  bool has(int64_t contraction, const snug_contraction_shape &shape) { return choiceOf(contraction, shape).isFound; }
  // Starts it; only what it has.
  cublaslt::Status run(int64_t contraction, const snug_contraction_shape &shape, Stream stream);

private:
  // All that a choice depends on: the contraction, its shape, and how addresses are aligned.
  using Key = std::array<int64_t, 18>;
  struct Choice {
    bool isFound = false;
    cublaslt::MatmulDesc desc = nullptr;
    cublaslt::MatrixLayout a = nullptr, b = nullptr, c = nullptr, d = nullptr;
    cublaslt::Algorithm algorithm{};
  };
  static Key keyOf(int64_t contraction, const snug_contraction_shape &shape);
  Choice &choiceOf(int64_t contraction, const snug_contraction_shape &shape);
  bool describe(Choice &choice, const snug_contraction &contraction, const snug_contraction_shape &shape) const;
  void choose(Choice &choice, const snug_contraction &contraction, const snug_contraction_shape &shape) const;

  const Blas &blas;
  const snug_model_header &header;
  std::map<Key, Choice> choices;
};

} // namespace snug::cuda

#endif
