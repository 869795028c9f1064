// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The contractions of a context that cuBLASLt does. How it does one is chosen when its shape is met for the first time, which a
// rehearsal sees to before the first run, and stays so: another choice may give other bits.
//
// The library loads the code of an algorithm when that is run for the first time, for which it may allocate, and which cannot be done
// while a stream is captured. So a rehearsal runs what it chooses; and what was never run is a kernel's in a capture, and from then on.
#ifndef SNUG_RUNTIME_CUDA_CONTRACTIONS_H
#define SNUG_RUNTIME_CUDA_CONTRACTIONS_H

#include "runtime/cuda/CublasLt.h"
#include "runtime/cuda/Driver.h"
#include "runtime/cuda/TuneFile.h"
#include "snug/ModelABI.h"
#include "snug/Runtime.h"

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
  // `tuned`: what the tuning file says of the library; may be NULL, and outlives this.
  Contractions(const Blas &blas, const snug_model_header &header, TuneFile::Choices *tuned) : blas(blas), header(header), tuned(tuned) {}
  Contractions(const Contractions &) = delete;
  Contractions &operator=(const Contractions &) = delete;
  ~Contractions();

  // Whether the library does that contraction of that shape; else a kernel has to. Chooses how, if it is not chosen yet, unless the
  // stream that it would be started on `isCaptured`.
  bool has(int64_t contraction, const snug_contraction_shape &shape, bool isCaptured);
  // Starts it; only what it has.
  cublaslt::Status run(int64_t contraction, const snug_contraction_shape &shape, Stream stream);

  // As `has`, for a run that is to come. All that the addresses name may be read, and results and workspace written: runs it, if it
  // never was.
  cublaslt::Status rehearse(int64_t contraction, const snug_contraction_shape &shape, Stream stream);
  // The same, and first times what the library offers, takes the fastest, and adds it to what is tuned. Waits for the device.
  cublaslt::Status tune(int64_t contraction, const snug_contraction_shape &shape, Stream stream);

  // choices, tuned and unloaded.
  snug_tuning counts() const;
  uint32_t numRefused() const { return refused; } // algorithms of the tuning file that the library does not take

private:
  // All that a choice depends on: the contraction, its shape, and how addresses are aligned.
  using Key = std::array<int64_t, 18>;
  struct Choice {
    bool isFound = false, isTuned = false, isLoaded = false;
    cublaslt::MatmulDesc desc = nullptr;
    cublaslt::MatrixLayout a = nullptr, b = nullptr, c = nullptr, d = nullptr;
    cublaslt::Algorithm algorithm{};
  };
  static Key keyOf(int64_t contraction, const snug_contraction_shape &shape);
  std::string textOf(const snug_contraction &contraction, const snug_contraction_shape &shape) const;
  Choice &choiceOf(int64_t contraction, const snug_contraction_shape &shape);
  bool describe(Choice &choice, const snug_contraction &contraction, const snug_contraction_shape &shape) const;
  void choose(Choice &choice, const snug_contraction &contraction, const snug_contraction_shape &shape);
  bool takeTuned(Choice &choice, const std::string &key);
  std::vector<cublaslt::HeuristicResult> offers(const Choice &choice, const snug_contraction &contraction, const snug_contraction_shape &shape,
                                                int most) const;
  cublaslt::Status start(const Choice &choice, const cublaslt::Algorithm &algorithm, const snug_contraction &contraction,
                         const snug_contraction_shape &shape, Stream stream) const;

  const Blas &blas;
  const snug_model_header &header;
  TuneFile::Choices *tuned;
  uint32_t refused = 0;
  std::map<Key, Choice> choices;
};

} // namespace snug::cuda

#endif
