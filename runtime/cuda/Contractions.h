// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The products of a context that cuBLASLt does.
#ifndef SNUG_RUNTIME_CUDA_CONTRACTIONS_H
#define SNUG_RUNTIME_CUDA_CONTRACTIONS_H

#include "runtime/cuda/CublasLt.h"
#include "runtime/cuda/LibraryCalls.h"

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

class Contractions : public LibraryCalls {
public:
  Contractions(const Blas &blas, const snug_model_header &header) : blas(blas), header(header) {}
  ~Contractions() override;

  const char *name() const override { return "cuBLASLt"; }
  bool has(int64_t contraction, const void *shape) override { return choiceOf(contraction, shapeOf(shape)).isFound; }
  int run(int64_t contraction, const void *shape, Stream stream) override;
  std::string errorText(int status) const override { return cublaslt::errorText(status); }

private:
  using Shape = snug_contraction_shape;
  static const Shape &shapeOf(const void *shape) { return *static_cast<const Shape *>(shape); }
  struct Choice {
    bool isFound = false;
    cublaslt::MatmulDesc desc = nullptr;
    cublaslt::MatrixLayout a = nullptr, b = nullptr, c = nullptr, d = nullptr;
    cublaslt::Algorithm algorithm{};
  };
  Choice &choiceOf(int64_t contraction, const Shape &shape);
  bool describe(Choice &choice, const snug_contraction &contraction, const Shape &shape) const;
  void choose(Choice &choice, const snug_contraction &contraction, const Shape &shape) const;

  const Blas &blas;
  const snug_model_header &header;
  std::map<ShapeKey<Shape>, Choice> choices;
};

} // namespace snug::cuda

#endif
