// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The convolutions of a context that cuDNN does.
#ifndef SNUG_RUNTIME_CUDA_CONVOLUTIONS_H
#define SNUG_RUNTIME_CUDA_CONVOLUTIONS_H

#include "runtime/cuda/Cudnn.h"
#include "runtime/cuda/LibraryCalls.h"

#include <array>
#include <memory>
#include <vector>

namespace snug::cuda {

namespace convolutions {
class Descriptor; // of the library's
struct Choice : LibraryChoice {
  Choice();
  ~Choice();
  std::vector<std::unique_ptr<Descriptor>> parts; // of the graph, and what was made of it
  Descriptor *plan = nullptr;
  std::unique_ptr<Descriptor> pack; // of the addresses of the last run: of a, b, c, d, bias and the workspace
  std::array<int64_t, 6> packed{};
};
} // namespace convolutions

class Convolutions : public ChosenCalls<snug_convolution_shape, convolutions::Choice> {
public:
  // Throws. `device` as messages have it.
  Convolutions(const snug_model_header &header, const std::string &device);
  ~Convolutions() override;

  const char *name() const override { return "cuDNN"; }
  std::string errorText(int status) const override { return cudnn::errorText(status); }

private:
  using Shape = snug_convolution_shape;
  using Choice = convolutions::Choice;
  using Descriptor = convolutions::Descriptor;
  void choose(Choice &choice, const snug_contraction &contraction, const Shape &shape) override;
  bool takeConfig(Choice &choice, std::unique_ptr<Descriptor> config, const snug_contraction &contraction);
  cudnn::Status pack(Choice &choice, const snug_contraction &contraction, const Shape &shape);
  int start(Choice &choice, const snug_contraction &contraction, const Shape &shape, Stream stream) override;

  const cudnn::Library &lib;
  cudnn::Handle handle = nullptr;
  Stream current = nullptr; // of the handle
};

} // namespace snug::cuda

#endif
