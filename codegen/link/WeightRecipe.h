// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The steps of a weight's recipe (dialects/nn/NnOps.td) on elements in memory.
#ifndef SNUG_CODEGEN_LINK_WEIGHTRECIPE_H
#define SNUG_CODEGEN_LINK_WEIGHTRECIPE_H

#include "mlir/IR/Attributes.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace snug::codegen {

using Sink = std::function<void(llvm::ArrayRef<char>)>;

// A strided view of elements in memory; strides in elements.
struct View {
  const char *data;
  llvm::SmallVector<int64_t> shape, strides;

  void dense() {
    strides.assign(shape.size(), 1);
    for (int64_t i = static_cast<int64_t>(shape.size()) - 2; i >= 0; --i)
      strides[i] = strides[i + 1] * shape[i + 1];
  }
  int64_t count() const {
    int64_t n = 1;
    for (int64_t extent : shape)
      n *= extent;
    return n;
  }
  bool isDense() const {
    View other{data, shape, {}};
    other.dense();
    for (size_t i = 0; i < shape.size(); ++i)
      if (shape[i] != 1 && strides[i] != other.strides[i])
        return false;
    return true;
  }
};

// Copies a view's elements in row-major order to pieces of at most `piece` bytes.
class Copier {
public:
  Copier(int64_t elementSize, const Sink &sink) : size(elementSize), sink(sink) { buffer.reserve(piece); }
  ~Copier() { flush(); }

  void copy(const View &view);
  // K x N to panels of `width` columns, the last one filled up with zeros.
  void pack(const View &view, int64_t width);

private:
  static constexpr size_t piece = 4 << 20;
  void walk(const View &view, size_t dim, const char *at);
  void run(const char *at, int64_t count, int64_t stride);
  void bytes(const char *at, size_t count);
  void flush();

  int64_t size;
  const Sink &sink;
  std::vector<char> buffer;
};

// The device of a mesh for which a recipe is evaluated.
struct Device {
  std::array<int64_t, 2> mesh, place; // devices along each axis; which of them it is
};

// Applies one recipe step, but for a pack, to a view; the text of what is wrong, or nothing. Steps are views but for a
// reshape of something permuted and parts of several segments, which are copied to `copies`.
std::string applyStep(mlir::Attribute step, View &view, int64_t elementSize, const std::optional<Device> &device,
                      std::vector<std::vector<char>> &copies);

} // namespace snug::codegen
#endif
