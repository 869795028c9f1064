// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the parts of the fake cuDNN share.
#ifndef SNUG_TEST_GPU_FAKE_CUDNN_H
#define SNUG_TEST_GPU_FAKE_CUDNN_H

#include "runtime/cuda/Cudnn.h"
#include "test/gpu/fake/Elements.h"

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

namespace snug::fake {

struct TensorInfo {
  int64_t id = 0;
  Element element = Element::F32;
  std::vector<int64_t> extents, strides; // instances, channels, places
  int64_t alignment = 1;
  bool isVirtual = false;

  size_t bytes() const;
  int64_t offset(const std::vector<int64_t> &at) const; // in bytes
};

// A convolution, and what is done with its sums.
struct Problem {
  TensorInfo input, filters, result, other, bias;
  bool hasOther = false, hasBias = false, hasRelu = false;
  float alpha = 1, beta = 0, otherFactor = 1, biasFactor = 1;
  std::vector<int64_t> steps, dilations;

  std::string problem() const;                      // why there is no such convolution, or nothing
  std::vector<const TensorInfo *> tensors() const;  // in memory; the result is the first
  int64_t groups() const { return input.extents[1] / filters.extents[1]; }
  std::string fields() const;                       // for the log
};

struct Engine {
  std::string name;
  std::vector<cudnn::NumericalNote> notes;
  int64_t workspaceBytes = 0;
  bool fails = false, isSplit = false; // when it is finalized; sums two halves of the channels
};
std::vector<Engine> enginesOf(const Problem &problem, cudnn::HeuristicModes mode, const std::string &setting);

struct Call {
  Problem problem;
  Engine engine;
  std::map<int64_t, uint8_t *> places;
  uint8_t *workspace = nullptr;
};
void convolve(const void *call);

struct Value {
  int64_t count = 0;
  std::vector<char> bytes;
};
struct Desc {
  cudnn::Kind kind;
  bool isFinal = false;
  std::map<cudnn::Attribute, Value> values = {};
  std::shared_ptr<Problem> problem = nullptr; // of graphs, and what is made of them
  Engine engine = {};

  bool has(cudnn::Attribute attribute) const { return values.count(attribute); }
  template <class T> std::vector<T> all(cudnn::Attribute attribute) const {
    const Value &value = values.at(attribute);
    std::vector<T> read;
    for (int64_t i = 0; i < value.count; ++i) {
      T one;
      memcpy(&one, value.bytes.data() + size_t(i) * sizeof(T), sizeof(T));
      read.push_back(one);
    }
    return read;
  }
  template <class T> T get(cudnn::Attribute attribute) const { return all<T>(attribute)[0]; }
  std::vector<Desc *> others(cudnn::Attribute attribute) const { return all<Desc *>(attribute); }
};
struct Context {
  int device;
  void *stream;
};

} // namespace snug::fake

#endif
