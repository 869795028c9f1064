// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The products of a context that cuBLASLt does.
#ifndef SNUG_RUNTIME_CUDA_CONTRACTIONS_H
#define SNUG_RUNTIME_CUDA_CONTRACTIONS_H

#include "runtime/cuda/CublasLt.h"
#include "runtime/cuda/LibraryCalls.h"
#include "runtime/cuda/TuneFile.h"

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

struct ProductChoice : LibraryChoice {
  cublaslt::MatmulDesc desc = nullptr;
  cublaslt::MatrixLayout a = nullptr, b = nullptr, c = nullptr, d = nullptr;
  cublaslt::Algorithm algorithm{};
};

class Contractions : public ChosenCalls<snug_contraction_shape, ProductChoice> {
public:
  // `tuned`: what the tuning file says of the library; may be NULL, and outlives this.
  Contractions(const Blas &blas, const snug_model_header &header, TuneFile::Choices *tuned)
      : ChosenCalls(header), blas(blas), tuned(tuned) {}
  ~Contractions() override;

  const char *name() const override { return "cuBLASLt"; }
  int tune(int64_t contraction, const void *shape, Stream stream) override;
  uint32_t numRefused() const override { return refused; }
  std::string errorText(int status) const override { return cublaslt::errorText(status); }

private:
  using Shape = snug_contraction_shape;
  std::string textOf(const snug_contraction &contraction, const Shape &shape) const;
  bool describe(ProductChoice &choice, const snug_contraction &contraction, const Shape &shape) const;
  void choose(ProductChoice &choice, const snug_contraction &contraction, const Shape &shape) override;
  bool takeTuned(ProductChoice &choice, const std::string &key);
  std::vector<cublaslt::HeuristicResult> offers(const ProductChoice &choice, const snug_contraction &contraction, const Shape &shape, int most) const;
  int start(ProductChoice &choice, const snug_contraction &contraction, const Shape &shape, Stream stream) override {
    return start(choice, choice.algorithm, contraction, shape, stream);
  }
  cublaslt::Status start(const ProductChoice &choice, const cublaslt::Algorithm &algorithm, const snug_contraction &contraction,
                         const Shape &shape, Stream stream) const;

  const Blas &blas;
  TuneFile::Choices *tuned;
  uint32_t refused = 0;
};

} // namespace snug::cuda

#endif
