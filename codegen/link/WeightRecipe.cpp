// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/link/WeightRecipe.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

void Copier::copy(const View &view) {
  if (view.count() == 0)
    return;
  if (view.isDense())
    return bytes(view.data, view.count() * size);
  walk(view, 0, view.data);
}

void Copier::pack(const View &view, int64_t width) {
  int64_t k = view.shape[0], n = view.shape[1];
  std::vector<char> zeros(width * size);
  for (int64_t column = 0; column < n; column += width)
    for (int64_t row = 0; row < k; ++row) {
      int64_t columns = std::min(width, n - column);
      run(view.data + (row * view.strides[0] + column * view.strides[1]) * size, columns, view.strides[1]);
      bytes(zeros.data(), (width - columns) * size);
    }
}

void Copier::walk(const View &view, size_t dim, const char *at) {
  if (dim + 1 >= view.shape.size())
    return run(at, view.shape.empty() ? 1 : view.shape[dim], view.shape.empty() ? 1 : view.strides[dim]);
  for (int64_t i = 0; i < view.shape[dim]; ++i)
    walk(view, dim + 1, at + i * view.strides[dim] * size);
}

void Copier::run(const char *at, int64_t count, int64_t stride) {
  if (stride == 1)
    return bytes(at, count * size);
  for (int64_t i = 0; i < count; ++i)
    bytes(at + i * stride * size, size);
}

void Copier::bytes(const char *at, size_t count) {
  while (count) {
    if (buffer.size() == piece)
      flush();
    size_t part = std::min(count, piece - buffer.size());
    buffer.insert(buffer.end(), at, at + part);
    at += part;
    count -= part;
  }
}

void Copier::flush() {
  if (!buffer.empty())
    sink(buffer);
  buffer.clear();
}

// The device's part of each segment. Of one it is a view; of several the parts are put side by side. Where the one of a lone
// segment reaches beyond its end, zeros are put behind it.
static std::string applyShard(nn::RecipeShardAttr shard, View &view, int64_t elementSize, const Device &device,
                              std::vector<std::vector<char>> &copies) {
  int64_t dim = shard.getDim(), axis = shard.getAxis(), rank = static_cast<int64_t>(view.shape.size());
  if (dim < 0 || dim >= rank || axis < 0 || axis > 1)
    return "a shard names a dim or a mesh axis that does not exist";
  int64_t devices = device.mesh[axis], left = view.shape[dim];
  for (int64_t segment : shard.getSegments()) {
    if (segment < 0 || segment > left)
      return "a shard's segments are longer than its dim";
    if (segment % devices != 0 && shard.getSegments().size() > 1)
      return "a shard has a segment of " + std::to_string(segment) + ", which " + std::to_string(devices) +
             " devices cannot share evenly";
    left -= segment;
  }
  if (left != 0)
    return "a shard's segments are shorter than its dim";
  auto lengthOf = [&](int64_t segment) {
    return (segment % devices == 0 ? segment : static_cast<int64_t>(llvm::alignTo(segment, device.mesh[0] * device.mesh[1]))) / devices;
  };
  auto partOf = [&](int64_t begin, int64_t segment) {
    View part = view;
    int64_t length = lengthOf(segment), start = std::min(device.place[axis] * length, segment);
    part.shape[dim] = std::min(length, segment - start);
    part.data += (begin + start) * view.strides[dim] * elementSize;
    return part;
  };
  View result{nullptr, view.shape, {}};
  result.shape[dim] = 0;
  for (int64_t segment : shard.getSegments())
    result.shape[dim] += lengthOf(segment);
  if (View part = partOf(0, shard.getSegments()[0]); shard.getSegments().size() == 1 && part.shape[dim] == result.shape[dim]) {
    view = part;
    return {};
  }
  const std::vector<char> zero(elementSize);
  std::vector<char> copy;
  copy.reserve(result.count() * elementSize);
  {
    Sink sink = [&](ArrayRef<char> piece) { copy.insert(copy.end(), piece.begin(), piece.end()); };
    Copier copier(elementSize, sink);
    // For each index before the dim the parts of all segments.
    std::function<void(int64_t, int64_t)> walk = [&](int64_t outer, int64_t shift) {
      if (outer < dim) {
        for (int64_t i = 0; i < view.shape[outer]; ++i)
          walk(outer + 1, shift + i * view.strides[outer] * elementSize);
        return;
      }
      int64_t begin = 0;
      for (int64_t segment : shard.getSegments()) {
        View part = partOf(begin, segment);
        part.data += shift;
        part.shape.erase(part.shape.begin(), part.shape.begin() + dim);
        part.strides.erase(part.strides.begin(), part.strides.begin() + dim);
        copier.copy(part);
        View filling{zero.data(), part.shape, SmallVector<int64_t>(part.shape.size(), 0)};
        filling.shape[0] = lengthOf(segment) - part.shape[0];
        copier.copy(filling);
        begin += segment;
      }
    };
    walk(0, 0);
  }
  copies.push_back(std::move(copy));
  result.data = copies.back().data();
  result.dense();
  view = result;
  return {};
}

std::string codegen::applyStep(Attribute step, View &view, int64_t elementSize, const std::optional<Device> &device,
                               std::vector<std::vector<char>> &copies) {
  if (auto transpose = dyn_cast<nn::RecipeTransposeAttr>(step)) {
    ArrayRef<int64_t> permutation = transpose.getPermutation();
    if (permutation.size() != view.shape.size() || !isPermutationVector(permutation))
      return "a transpose is no permutation of its dims";
    View result{view.data, {}, {}};
    for (int64_t dim : permutation) {
      result.shape.push_back(view.shape[dim]);
      result.strides.push_back(view.strides[dim]);
    }
    view = result;
  } else if (auto slice = dyn_cast<nn::RecipeSliceAttr>(step)) {
    if (slice.getOffsets().size() != view.shape.size() || slice.getSizes().size() != view.shape.size())
      return "a slice has another rank than its source";
    for (auto [dim, offset, extent] : llvm::enumerate(slice.getOffsets(), slice.getSizes())) {
      if (offset < 0 || extent < 0 || offset > view.shape[dim] - extent)
        return "a slice reaches outside its source";
      view.data += offset * view.strides[dim] * elementSize;
      view.shape[dim] = extent;
    }
  } else if (auto reshape = dyn_cast<nn::RecipeReshapeAttr>(step)) {
    int64_t count = view.count();
    if (!view.isDense()) {
      std::vector<char> copy;
      copy.reserve(count * elementSize);
      Sink sink = [&](ArrayRef<char> piece) { copy.insert(copy.end(), piece.begin(), piece.end()); };
      Copier(elementSize, sink).copy(view);
      copies.push_back(std::move(copy));
      view.data = copies.back().data();
    }
    view.shape.assign(reshape.getShape().begin(), reshape.getShape().end());
    if (view.count() != count)
      return "a reshape changes the number of elements";
    view.dense();
  } else if (auto shard = dyn_cast<nn::RecipeShardAttr>(step)) {
    return device ? applyShard(shard, view, elementSize, *device, copies)
                  : "a shard stands in a program that is cut for no mesh";
  } else {
    return "a recipe step is not known";
  }
  return {};
}
