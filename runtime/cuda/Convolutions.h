// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The convolutions of a context that cuDNN does.
#ifndef SNUG_RUNTIME_CUDA_CONVOLUTIONS_H
#define SNUG_RUNTIME_CUDA_CONVOLUTIONS_H

#include "runtime/cuda/Cudnn.h"
#include "runtime/cuda/LibraryCalls.h"

#include <map>
#include <memory>
#include <vector>

namespace snug::cuda {

class Convolutions : public LibraryCalls {
public:
  // Throws. `device` as messages have it.
  Convolutions(const snug_model_header &header, const std::string &device);
  ~Convolutions() override;

  const char *name() const override { return "cuDNN"; }
  bool has(int64_t contraction, const void *shape) override { return choiceOf(contraction, shapeOf(shape)).plan != nullptr; }
  int run(int64_t contraction, const void *shape, Stream stream) override;
  std::string errorText(int status) const override { return cudnn::errorText(status); }

private:
  using Shape = snug_convolution_shape;
  class Descriptor;
  class Graph;
  // Of what lies where: a, b, c, d, bias and the workspace.
  using Addresses = std::array<int64_t, 6>;
  struct Choice {
    std::vector<std::unique_ptr<Descriptor>> parts; // of the graph, and what was made of it
    Descriptor *plan = nullptr;                     // none: the library does not do it
    std::unique_ptr<Descriptor> pack;               // of the addresses of the last run
    Addresses packed{};
  };
  static const Shape &shapeOf(const void *shape) { return *static_cast<const Shape *>(shape); }
  Choice &choiceOf(int64_t contraction, const Shape &shape);
  void choose(Choice &choice, const snug_contraction &contraction, const Shape &shape);
  bool takeConfig(Choice &choice, std::unique_ptr<Descriptor> config, cudnn::DataType type);
  cudnn::Status pack(Choice &choice, const snug_contraction &contraction, const Shape &shape);

  const cudnn::Library &lib;
  const snug_model_header &header;
  cudnn::Handle handle = nullptr;
  Stream current = nullptr; // of the handle
  std::map<ShapeKey<Shape>, Choice> choices;
};

} // namespace snug::cuda

#endif
