// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/core/Model.h"
#include "runtime/comm/Combine.h"
#include "runtime/core/Bind.h"
#include "runtime/core/Error.h"
#include "runtime/cuda/Nccl.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <unistd.h>
#include <vector>
#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace snug;

static constexpr uint32_t kMaxRanks = 65536;

snug_model::snug_model(const char *requested) {
  // A resolved path: dlopen searches the system's folders for a bare name, and weights lie beside the real file.
  std::unique_ptr<char, decltype(&free)> resolved(requested ? realpath(requested, nullptr) : nullptr, &free);
  if (!resolved)
    throw Failure(SNUG_EXIT_MACHINE, std::string("cannot open the model '") + (requested ? requested : "(NULL)") +
                                         "': " + strerror(requested ? errno : EINVAL));
  path = resolved.get();
  if (access(path.c_str(), R_OK) != 0)
    throw Failure(SNUG_EXIT_MACHINE, "cannot read the model '" + path + "': " + strerror(errno));
  library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *why = dlerror();
    throw Failure(SNUG_EXIT_INVALID, std::string("cannot load the model: ") + (why ? why : path.c_str()));
  }
  try {
    auto query = reinterpret_cast<snug_model_query_fn>(dlsym(library, SNUG_MODEL_QUERY_SYMBOL));
    if (!query)
      throw Failure(SNUG_EXIT_INVALID, "'" + path + "' is a library, but not a model compiled by snugc");
    header = query(SNUG_MODEL_ABI_VERSION);
    check();
  } catch (...) {
    dlclose(library);
    throw;
  }
}

snug_model::~snug_model() {
  weights.clear();
  dlclose(library);
}

// Whether what devices have parts of divides among them.
static bool checkCuts(const snug_model_header &header, const snug_value_cut *cuts, const snug_value_info *values, uint32_t count) {
  for (uint32_t i = 0; cuts && i < count; ++i)
    for (int axis = 0; axis < 2; ++axis) {
      int32_t dim = cuts[i].dim[axis];
      if (dim < -1 || dim >= values[i].rank)
        return false;
      if (dim < 0)
        continue;
      int64_t parts = cuts[i].dim[0] == cuts[i].dim[1] ? int64_t(header.mesh[0]) * header.mesh[1] : header.mesh[axis], whole;
      const snug_extent &part = values[i].extents[dim];
      if (part.symbol != -1 || __builtin_mul_overflow(part.offset, parts, &whole) || whole != cuts[i].extent[axis])
        return false;
    }
  return true;
}

// Whether its mesh makes sense; throws where this runtime cannot do a collective.
bool snug_model::checkMesh() const {
  const snug_model_header &h = *header;
  bool isCut = h.mesh[0] || h.mesh[1];
  if (!isCut)
    return h.num_collectives == 0 && !inputCuts(h) && !outputCuts(h);
  if (h.mesh[0] == 0 || h.mesh[1] == 0 || h.mesh[0] > kMaxRanks || h.mesh[1] > kMaxRanks / h.mesh[0] ||
      (h.memory.weights_bytes && !h.rank_weights))
    return false;
  if (!checkCuts(h, inputCuts(h), h.inputs, h.num_inputs) || !checkCuts(h, outputCuts(h), h.outputs, h.num_outputs))
    return false;
  for (uint32_t i = 0; i < h.num_collectives; ++i) {
    const snug_collective_info &info = h.collectives[i];
    if (info.axes < 1 || info.axes > 3)
      return false;
    if (info.kind > SNUG_SHIFT || (comm::combines(info.kind) && !comm::combineFn(info.dtype, info.reduction)))
      throw Failure(SNUG_EXIT_UNSUPPORTED, "collective " + std::to_string(i) + " of the model '" + path +
                                               "' is of a kind, an element type or a reduction that this runtime does not do: update it");
  }
  return true;
}

// Whether what it says of its device makes sense; throws where this runtime cannot run it there.
bool snug_model::checkDevice() const {
  const snug_model_header &h = *header;
  if (deviceKind(h) == SNUG_DEVICE_CPU)
    return true;
  auto refuse = [&](const std::string &why) {
    return Failure(SNUG_EXIT_UNSUPPORTED, "the model '" + path + "' was compiled for " + h.target + ", " + why);
  };
  if (h.device != SNUG_DEVICE_CUDA)
    throw refuse("a device that this runtime does not know: update the runtime or compile it again");
  for (uint32_t i = 0; i < h.num_inputs + h.num_outputs; ++i) {
    const snug_value_info &value = i < h.num_inputs ? h.inputs[i] : h.outputs[i - h.num_inputs];
    if (value.kind == SNUG_VALUE_STRING_TENSOR || textBytes(h))
      throw refuse("and has strings, which no GPU computes with: compile it with --target cpu");
  }
  for (uint32_t i = 0; i < (numRanks(h) ? h.num_collectives : 0); ++i) {
    cuda::NcclType type;
    cuda::NcclReduction reduction;
    if (comm::combines(h.collectives[i].kind) && !cuda::ncclCombination(h.collectives[i], type, reduction))
      throw refuse("and combines elements of a type that NCCL does not (collective " + std::to_string(i) + ", for ONNX node(s) " +
                   h.collectives[i].nodes + "): compile it again");
  }
  bool sound = h.num_gpu_kernels == 0 || (h.gpu_kernels && h.gpu_image && h.gpu_image_bytes);
  for (uint32_t i = 0; sound && i < h.num_gpu_kernels; ++i)
    sound = h.gpu_kernels[i].name && h.gpu_kernels[i].threads > 0;
  if (numContractions(h))
    sound = sound && h.contractions && h.workspace_bytes <= h.memory.arena_bytes;
  for (uint32_t i = 0; sound && i < numContractions(h); ++i)
    sound = h.contractions[i].spatial <= 3;
  return sound;
}

// A compiled library is trusted code; this finds versions that do not match and tables that were cut short, no more.
void snug_model::check() const {
  if (!header)
    throw Failure(SNUG_EXIT_UNSUPPORTED, "the model '" + path + "' was compiled for a newer runtime than this " +
                                             SNUG_VERSION_STRING + ": update the runtime or compile it again");
  bool sound = header->abi_version >= 1 && header->abi_version <= SNUG_MODEL_ABI_VERSION && header->struct_size >= offsetof(snug_model_header, arena_need) &&
               header->run && header->shapes && header->num_threads > 0;
  uint64_t align = sound ? header->memory.arena_alignment : 1;
  sound = sound && align != 0 && (align & (align - 1)) == 0;
  auto checkValue = [&](const snug_value_info &value) {
    sound = sound && value.name && value.rank >= 0;
    for (int32_t i = 0; sound && i < value.rank; ++i)
      sound = value.extents[i].symbol >= -2 && value.extents[i].symbol < int64_t(header->num_dims);
    if (sound && value.kind != SNUG_VALUE_TENSOR && value.kind != SNUG_VALUE_STRING_TENSOR)
      throw Failure(SNUG_EXIT_UNSUPPORTED, std::string("'") + value.name + "' of the model '" + path +
                                               "' is no tensor, and this runtime runs tensors only");
  };
  for (uint32_t i = 0; sound && i < header->num_inputs; ++i)
    checkValue(header->inputs[i]);
  for (uint32_t i = 0; sound && i < header->num_outputs; ++i)
    checkValue(header->outputs[i]);
  for (uint32_t i = 0; sound && i < numDataShapes(*header); ++i)
    sound = header->data_shapes[i] < header->num_outputs;
  for (uint32_t i = 0; sound && i < numMaps(*header); ++i) {
    const snug_map_keys &keys = header->maps[i];
    sound = keys.output < header->num_outputs && header->outputs[keys.output].rank == 2 && !keys.ints != !keys.strings;
  }
  for (uint32_t i = 0; sound && i < numValueDims(*header); ++i) {
    const snug_value_dim &value = header->value_dims[i];
    sound = value.dim < header->num_dims && value.input < header->num_inputs && header->inputs[value.input].rank <= 1 &&
            header->inputs[value.input].dtype.code <= kDLUInt;
  }
  if (sound && header->struct_size > offsetof(snug_model_header, mesh))
    sound = checkMesh();
  sound = sound && checkDevice();
  if (!sound)
    throw Failure(SNUG_EXIT_INVALID, "the header of the model '" + path + "' is damaged: compile it again");
}

const uint8_t *snug_model::mapWeights(uint32_t rank) {
  std::lock_guard<std::mutex> lock(mutex);
  auto &found = weights[rank];
  if (!found) {
    auto mapped = std::make_unique<Weights>();
    mapped->map(*header, rank, path.substr(0, path.rfind('/')));
    found = std::move(mapped);
  }
  return found->data();
}

uint64_t snug_model::contentHash() {
  std::lock_guard<std::mutex> lock(mutex);
  if (content)
    return *content;
  std::ifstream file(path, std::ios::binary);
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), &XXH3_freeState);
  if (!state)
    throw std::bad_alloc();
  XXH3_64bits_reset(state.get());
  std::vector<char> piece(1 << 20);
  while (file.read(piece.data(), std::streamsize(piece.size())), file.gcount() > 0)
    XXH3_64bits_update(state.get(), piece.data(), size_t(file.gcount()));
  if (!file.eof())
    throw Failure(SNUG_EXIT_MACHINE, "cannot read the model '" + path + "' again: " + strerror(errno));
  content = XXH3_64bits_digest(state.get());
  return *content;
}

//===-- C API -----------------------------------------------------------------------------------------------------===//

// All extents for checked dims, in the order of snug_model_header.shapes.
static std::vector<int64_t> allExtents(const snug_model_header &header, const int64_t *dims) {
  checkDims(header, dims);
  checkRequirements(header, dims);
  std::vector<int64_t> extents(numExtents(header) + 1); // never empty, so that data() is a pointer
  header.shapes(dims, extents.data());
  return extents;
}

static void copyShape(const snug_model_header &header, uint64_t index, const int64_t *dims, int64_t *shape) {
  std::vector<int64_t> extents = allExtents(header, dims);
  const int64_t *at = extents.data();
  for (uint64_t i = 0;; ++i) {
    const snug_value_info &value = i < header.num_inputs ? header.inputs[i] : header.outputs[i - header.num_inputs];
    if (i == index) {
      std::copy(at, at + value.rank, shape);
      return;
    }
    at += value.rank;
  }
}

static void checkIndex(const char *kind, uint32_t index, uint32_t count) {
  if (index >= count)
    throw Failure(SNUG_EXIT_USAGE, std::string("there is no ") + kind + " " + std::to_string(index) +
                                       ": the model has " + std::to_string(count));
}

// As snug_model_input_part has it; `first` is the number of the list's first value among all.
static void copyPart(const snug_model_header &header, uint64_t first, uint32_t index, const snug_value_info &value, const snug_value_cut *cut,
                     uint32_t rank, const int64_t *dims, int64_t *whole, int64_t *start) {
  uint32_t ranks = std::max(numRanks(header), 1u);
  if (rank >= ranks)
    throw Failure(SNUG_EXIT_USAGE, "there is no device " + std::to_string(rank) + ": the model is for " + std::to_string(ranks));
  std::vector<int64_t> part(size_t(value.rank) + 1);
  copyShape(header, first + index, dims, part.data());
  std::copy(part.begin(), part.end() - 1, whole);
  std::fill(start, start + value.rank, 0);
  for (int axis = 0; cut && axis < 2; ++axis)
    if (int32_t dim = cut->dim[axis]; dim >= 0) {
      int64_t place = axis == 0 ? rank / header.mesh[1] : rank % header.mesh[1];
      // Where axis 1 cuts the parts of axis 0, those are that much longer.
      start[dim] += place * part[size_t(dim)] * (axis == 0 && cut->dim[1] == dim ? header.mesh[1] : 1);
      whole[dim] = cut->extent[axis];
    }
}

extern "C" {
snug_error *snug_model_load(const char *path, snug_model **out_model) {
  *out_model = nullptr;
  return guard([&] { *out_model = new snug_model(path); });
}

void snug_model_retain(snug_model *model) {
  if (model)
    model->references.fetch_add(1, std::memory_order_relaxed);
}

void snug_model_release(snug_model *model) {
  if (model && model->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    delete model;
}

const char *snug_model_name(const snug_model *model) { return model->header->model_name; }
const char *snug_model_target(const snug_model *model) { return model->header->target; }
const char *snug_model_compiler_version(const snug_model *model) { return model->header->snug_version; }
const char *snug_model_precision(const snug_model *model) { return precisionOf(*model->header); }
snug_device_kind snug_model_device(const snug_model *model) { return snug_device_kind(deviceKind(*model->header)); }
uint32_t snug_model_num_threads(const snug_model *model) { return model->header->num_threads; }
uint32_t snug_model_num_dims(const snug_model *model) { return model->header->num_dims; }
uint32_t snug_model_num_inputs(const snug_model *model) { return model->header->num_inputs; }
uint32_t snug_model_num_outputs(const snug_model *model) { return model->header->num_outputs; }

uint32_t snug_model_num_launches(const snug_model *model) { return model->header->num_launches; }
const snug_launch_info *snug_model_launch(const snug_model *model, uint32_t index) {
  return index < model->header->num_launches ? &model->header->launches[index] : nullptr;
}
const snug_dim_info *snug_model_dim(const snug_model *model, uint32_t index) {
  return index < model->header->num_dims ? &model->header->dims[index] : nullptr;
}
const snug_value_info *snug_model_input(const snug_model *model, uint32_t index) {
  return index < model->header->num_inputs ? &model->header->inputs[index] : nullptr;
}
const snug_value_info *snug_model_output(const snug_model *model, uint32_t index) {
  return index < model->header->num_outputs ? &model->header->outputs[index] : nullptr;
}

void snug_model_mesh(const snug_model *model, uint32_t out_mesh[2]) {
  bool isCut = numRanks(*model->header) > 0;
  for (int axis = 0; axis < 2; ++axis)
    out_mesh[axis] = isCut ? model->header->mesh[axis] : 0;
}

const snug_value_dim *snug_model_value_dim(const snug_model *model, uint32_t index) {
  return index < numValueDims(*model->header) ? &model->header->value_dims[index] : nullptr;
}

const snug_map_keys *snug_model_output_keys(const snug_model *model, uint32_t index) {
  for (uint32_t i = 0; i < numMaps(*model->header); ++i)
    if (model->header->maps[i].output == index)
      return &model->header->maps[i];
  return nullptr;
}

snug_error *snug_model_memory(const snug_model *model, const int64_t *dims, snug_memory_need *out_need) {
  return guard([&] {
    const snug_model_header &header = *model->header;
    const snug_memory_info &memory = header.memory;
    snug_memory_need need{memory.weights_bytes,
                          arenaNeed(header, nullptr),
                          memory.arena_alignment,
                          memory.library_bytes,
                          memory.input_bytes,
                          memory.output_bytes,
                          0};
    if (dims) {
      std::vector<int64_t> extents = allExtents(header, dims);
      const int64_t *at = extents.data();
      need.arena = arenaNeed(header, dims);
      need.inputs = need.outputs = 0;
      for (uint32_t i = 0; i < header.num_inputs; at += header.inputs[i++].rank)
        need.inputs += tensorBytes(header.inputs[i], at);
      for (uint32_t i = 0; i < header.num_outputs; at += header.outputs[i++].rank)
        need.outputs += tensorBytes(header.outputs[i], at);
    }
    need.total = need.weights + need.arena + need.library + need.inputs + need.outputs;
    *out_need = need;
  });
}

snug_error *snug_model_bind_dims(const snug_model *model, const DLTensor *const *inputs, uint32_t num_inputs,
                                 int64_t *inout_dims) {
  return guard([&] {
    std::vector<int64_t> dims(inout_dims, inout_dims + model->header->num_dims);
    bindDims(*model->header, inputs, num_inputs, dims.data());
    std::copy(dims.begin(), dims.end(), inout_dims);
  });
}

snug_error *snug_model_input_shape(const snug_model *model, uint32_t index, const int64_t *dims, int64_t *out_shape) {
  return guard([&] {
    checkIndex("input", index, model->header->num_inputs);
    copyShape(*model->header, index, dims, out_shape);
  });
}

snug_error *snug_model_output_shape(const snug_model *model, uint32_t index, const int64_t *dims, int64_t *out_shape) {
  return guard([&] {
    checkIndex("output", index, model->header->num_outputs);
    copyShape(*model->header, uint64_t(model->header->num_inputs) + index, dims, out_shape);
  });
}

const snug_value_cut *snug_model_input_cut(const snug_model *model, uint32_t index) {
  const snug_value_cut *cuts = index < model->header->num_inputs ? inputCuts(*model->header) : nullptr;
  return cuts && (cuts[index].dim[0] >= 0 || cuts[index].dim[1] >= 0) ? &cuts[index] : nullptr;
}

const snug_value_cut *snug_model_output_cut(const snug_model *model, uint32_t index) {
  const snug_value_cut *cuts = index < model->header->num_outputs ? outputCuts(*model->header) : nullptr;
  return cuts && (cuts[index].dim[0] >= 0 || cuts[index].dim[1] >= 0) ? &cuts[index] : nullptr;
}

snug_error *snug_model_input_part(const snug_model *model, uint32_t index, uint32_t rank, const int64_t *dims, int64_t *out_whole,
                                  int64_t *out_start) {
  return guard([&] {
    const snug_model_header &header = *model->header;
    checkIndex("input", index, header.num_inputs);
    copyPart(header, 0, index, header.inputs[index], snug_model_input_cut(model, index), rank, dims, out_whole, out_start);
  });
}

snug_error *snug_model_output_part(const snug_model *model, uint32_t index, uint32_t rank, const int64_t *dims, int64_t *out_whole,
                                   int64_t *out_start) {
  return guard([&] {
    const snug_model_header &header = *model->header;
    checkIndex("output", index, header.num_outputs);
    copyPart(header, header.num_inputs, index, header.outputs[index], snug_model_output_cut(model, index), rank, dims, out_whole, out_start);
  });
}
}
