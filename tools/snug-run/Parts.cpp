// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Parts.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/Ranks.h"

#include <algorithm>
#include <cstring>

using namespace snug;

static constexpr uint64_t kPieceBytes = 1 << 20; // that a rank sends at once, so that none holds all parts

PartPlaces::PartPlaces(std::vector<int64_t> partShape, std::vector<int64_t> whole, std::vector<int64_t> partStart, uint64_t elementBytes)
    : part(std::move(partShape)), start(std::move(partStart)), strides(whole.size()), rowBytes(elementBytes) {
  uint64_t stride = elementBytes;
  for (size_t dim = whole.size(); dim-- > 0; stride *= uint64_t(whole[dim]))
    strides[dim] = stride;
  rowDim = whole.size();
  while (rowDim > 0) {
    --rowDim;
    rowBytes *= uint64_t(part[rowDim]);
    if (part[rowDim] != whole[rowDim])
      break;
  }
}

void PartPlaces::visit(uint64_t from, uint64_t to, const std::function<void(uint64_t, uint64_t, uint64_t)> &visit) const {
  for (uint64_t at = from; at < to;) {
    uint64_t row = at / rowBytes, inRow = at % rowBytes, place = inRow;
    if (rowDim < part.size())
      place += uint64_t(start[rowDim]) * strides[rowDim];
    for (size_t dim = rowDim; dim-- > 0; row /= uint64_t(part[dim]))
      place += (row % uint64_t(part[dim]) + uint64_t(start[dim])) * strides[dim];
    uint64_t bytes = std::min(rowBytes - inRow, to - at);
    visit(at, place, bytes);
    at += bytes;
  }
}

// Ranks beyond the mesh's devices are refused when their context is made.
static uint32_t deviceOf(const snug_model *model, uint32_t rank) {
  uint32_t mesh[2];
  snug_model_mesh(model, mesh);
  return rank % std::max(mesh[0] * mesh[1], 1u);
}

static uint64_t elementBytes(const snug_dtype &dtype) { return std::max<uint64_t>(dtype.bits, 8) / 8; }

std::optional<PartPlaces> snug::placesOfInput(const snug_model *model, uint32_t index, uint32_t rank, const std::vector<int64_t> &whole,
                                              const snug_dtype &dtype) {
  const snug_value_cut *cut = snug_model_input_cut(model, index);
  const snug_value_info *info = snug_model_input(model, index);
  if (!cut)
    return std::nullopt;
  uint32_t mesh[2];
  snug_model_mesh(model, mesh);
  std::vector<int64_t> shape = whole, start(whole.size(), 0);
  for (int axis = 0; axis < 2; ++axis) {
    int32_t dim = cut->dim[axis];
    if (dim < 0)
      continue;
    if (int32_t(whole.size()) != info->rank || whole[size_t(dim)] != cut->extent[axis])
      throw CommandFailure(SNUG_EXIT_RUN, "input '" + std::string(info->name) + "' has shape " + shapeText(whole) + "; expected rank " +
                                       std::to_string(info->rank) + " with " + std::to_string(cut->extent[axis]) + " along dim " +
                                       std::to_string(dim) + ", of which each rank gets a part ({rank} in the file's name: it is that part)");
    shape[size_t(dim)] /= mesh[axis];
  }
  uint32_t device = deviceOf(model, rank), place[2] = {device / mesh[1], device % mesh[1]};
  for (int axis = 0; axis < 2; ++axis)
    if (int32_t dim = cut->dim[axis]; dim >= 0) // where axis 1 cuts the parts of axis 0, those are that much longer
      start[size_t(dim)] += place[axis] * shape[size_t(dim)] * (axis == 0 && cut->dim[1] == dim ? mesh[1] : 1);
  return PartPlaces(shape, whole, start, elementBytes(dtype));
}

HostTensor snug::partOfInput(const snug_model *model, uint32_t index, uint32_t rank, HostTensor whole) {
  std::optional<PartPlaces> places = placesOfInput(model, index, rank, whole.shape, whole.dtype);
  if (!places)
    return whole;
  HostTensor part(whole.dtype, places->shape());
  places->visit(0, part.bytes(), [&](uint64_t at, uint64_t from, uint64_t bytes) { memcpy(part.data() + at, whole.data() + from, bytes); });
  return part;
}

std::vector<int64_t> snug::wholeShape(const snug_model *model, uint32_t output, const std::vector<int64_t> &dims) {
  std::vector<int64_t> whole(size_t(snug_model_output(model, output)->rank) + 1), start(whole.size());
  check(snug_model_output_part(model, output, 0, dims.data(), whole.data(), start.data()));
  whole.pop_back();
  return whole;
}

std::map<uint32_t, HostTensor> snug::joinOutputs(const snug_model *model, snug_comm *comm, const RunOptions &options,
                                                 const RunTensors &tensors) {
  std::map<uint32_t, HostTensor> all;
  uint32_t count = snug_model_num_outputs(model);
  if (!comm)
    return all;
  uint32_t ranks = snug_comm_size(comm);
  bool isFirst = snug_comm_rank(comm) == 0;
  // Rank 0 says what it writes.
  std::vector<uint8_t> wanted(size_t(count) + 1), everybody(wanted.size() * ranks);
  for (uint32_t i = 0; i < count; ++i) {
    auto named = options.outputs.find(snug_model_output(model, i)->name);
    bool isNamed = named != options.outputs.end() && !options.ownFiles.count(named->second);
    bool isInArchive = !options.outputArchive.empty() && !options.ownFiles.count(options.outputArchive);
    wanted[i] = snug_model_output_cut(model, i) && (isNamed || isInArchive);
  }
  check(snug_comm_all_gather(comm, wanted.data(), everybody.data(), wanted.size()));
  std::copy_n(everybody.begin(), wanted.size(), wanted.begin());
  std::vector<uint8_t> pieces;
  together(comm, [&] {
    for (uint32_t i = 0; i < count; ++i)
      if (wanted[i]) {
        pieces.resize(kPieceBytes * ranks);
        if (isFirst)
          all[i] = HostTensor(tensors.outputs[i].dtype, wholeShape(model, i, tensors.dims));
      }
  });
  for (uint32_t i = 0; i < count; ++i) {
    const HostTensor &part = tensors.outputs[i];
    std::vector<PartPlaces> places;
    for (uint32_t rank = 0; isFirst && wanted[i] && rank < ranks; ++rank) {
      std::vector<int64_t> whole(part.shape.size() + 1), start(whole.size());
      check(snug_model_output_part(model, i, rank, tensors.dims.data(), whole.data(), start.data()));
      whole.pop_back();
      start.pop_back();
      places.emplace_back(part.shape, whole, start, elementBytes(part.dtype));
    }
    for (uint64_t at = 0; wanted[i] && at < part.bytes(); at += kPieceBytes) {
      uint64_t bytes = std::min(kPieceBytes, part.bytes() - at);
      check(snug_comm_all_gather(comm, part.data() + at, pieces.data(), bytes));
      for (uint32_t rank = 0; rank < places.size(); ++rank)
        places[rank].visit(at, at + bytes, [&](uint64_t from, uint64_t to, uint64_t length) {
          memcpy(all[i].data() + to, pieces.data() + rank * bytes + (from - at), length);
        });
    }
  }
  return all;
}
