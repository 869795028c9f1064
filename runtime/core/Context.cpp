// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/comm/Mesh.h"
#include "runtime/core/Bind.h"
#include "runtime/core/Device.h"
#include "runtime/core/Error.h"
#include "runtime/core/Model.h"
#include "runtime/core/Text.h"
#include "runtime/cpu/Arena.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

using namespace snug;

namespace {
struct ModelRelease {
  void operator()(snug_model *model) const { snug_model_release(model); }
};
} // namespace

struct snug_context {
  snug_context(snug_model *shared, const snug_context_options &options);

  // All ranks: makes the context one of a mesh.
  void join(snug_comm &comm);
  void run(const DLTensor *const *inputs, uint32_t numInputs, const DLTensor *const *outputs, uint32_t numOutputs);
  void bind(const DLTensor *const *inputs, uint32_t numInputs, const DLTensor *const *outputs, uint32_t numOutputs);
  void checkOverlaps() const;
  void outputShape(uint32_t index, int64_t *shape) const;

  std::unique_ptr<snug_model, ModelRelease> model;
  const snug_model_header &header;
  uint64_t arenaBytes;
  std::unique_ptr<comm::Mesh> mesh; // null where the model is for one device
  std::unique_ptr<Device> device;   // uses the mesh to its end
  cpu::Arena textPool;
  Text text;
  snug_runtime_table table{};
  void *runtimeState;
  std::atomic_flag running = ATOMIC_FLAG_INIT;
  // Sized once, so that a run allocates nothing.
  std::vector<int64_t> fixedDims, dims, extents;
  Binding binding;
  mutable std::vector<int64_t> dataShapes; // extents of the last run that are computed from data, read when asked for
  bool hasRun = false;
};

static uint64_t arenaOf(const snug_model_header &header, const snug_context_options &options) {
  if (options.max_dims)
    checkDims(header, options.max_dims);
  return arenaNeed(header, options.max_dims);
}

snug_context::snug_context(snug_model *shared, const snug_context_options &options)
    : model((snug_model_retain(shared), shared)), header(*shared->header), arenaBytes(arenaOf(header, options)) {
  comm::Mesh::checkSize(header, options.comm);
  if (options.workspace && options.workspace_bytes < arenaBytes)
    throw Failure(SNUG_EXIT_USAGE, "the workspace has " + std::to_string(options.workspace_bytes) +
                                       " bytes, the model needs " + std::to_string(arenaBytes));
  device = openDevice(*model, options, arenaBytes);
  table.abi_version = SNUG_MODEL_ABI_VERSION;
  table.struct_size = sizeof(table);
  runtimeState = device->fill(table);
  table.text = &Text::call;
  table.text_state = &text;
  if (uint64_t bytes = textBytes(header))
    text.setPool(reinterpret_cast<char *>(textPool.allocate(bytes, 64)), bytes);
  fixedDims.assign(header.num_dims, kUnboundDim);
  dims.resize(header.num_dims + 1); // never empty, so that data() is a pointer
  extents.resize(numExtents(header) + 1);
  binding.bytes.resize(header.num_inputs + header.num_outputs + 1);
  binding.isOnHost.resize(binding.bytes.size());
  binding.data.resize(binding.bytes.size() + numDataShapes(header));
  uint64_t places = 0;
  for (uint32_t i = 0; i < numDataShapes(header); ++i)
    places += header.outputs[header.data_shapes[i]].rank;
  dataShapes.resize(places + 1);
}

// Throws when an output shares bytes with anything else that the run uses.
void snug_context::checkOverlaps() const {
  auto overlap = [](const void *a, uint64_t aBytes, const void *b, uint64_t bBytes) {
    auto first = reinterpret_cast<uintptr_t>(a), second = reinterpret_cast<uintptr_t>(b);
    return aBytes && bBytes && first < second + bBytes && second < first + aBytes;
  };
  auto text = [&](uint32_t i) {
    return i < header.num_inputs ? std::string("input '") + header.inputs[i].name + "'"
                                 : std::string("output '") + header.outputs[i - header.num_inputs].name + "'";
  };
  const std::vector<void *> &data = binding.data;
  const std::vector<uint64_t> &bytes = binding.bytes;
  uint32_t count = header.num_inputs + header.num_outputs;
  for (uint32_t i = 0; i < count; ++i) {
    if (overlap(data[i], bytes[i], device->arena(), arenaBytes))
      throw Failure(SNUG_EXIT_RUN, text(i) + " overlaps the workspace; give it memory of its own");
    // Inputs that are only read may share memory.
    auto isWritten = [&](uint32_t k) {
      return k >= header.num_inputs || (header.inputs[k].flags & SNUG_VALUE_OVERWRITTEN);
    };
    for (uint32_t j = i + 1; j < count; ++j)
      if ((isWritten(i) || isWritten(j)) && overlap(data[i], bytes[i], data[j], bytes[j]))
        throw Failure(SNUG_EXIT_RUN, text(j) + " overlaps " + text(i) + "; give it memory of its own");
  }
}

void snug_context::join(snug_comm &comm) {
  mesh = std::make_unique<comm::Mesh>(comm, header);
  device->join(*mesh, table);
}

// Checks what a run is given, and finds its dims and addresses.
void snug_context::bind(const DLTensor *const *inputs, uint32_t numInputs, const DLTensor *const *outputs,
                        uint32_t numOutputs) {
  std::copy(fixedDims.begin(), fixedDims.end(), dims.begin());
  bindDims(header, inputs, numInputs, dims.data());
  if (numOutputs != header.num_outputs)
    throw Failure(SNUG_EXIT_RUN, "the model gives " + std::to_string(header.num_outputs) + " outputs, got " +
                                     std::to_string(numOutputs));
  if (uint64_t need = arenaNeed(header, dims.data()); need > arenaBytes)
    throw Failure(SNUG_EXIT_RUN, "the run needs an arena of " + std::to_string(need) + " bytes, the context has " +
                                     std::to_string(arenaBytes) + ": create it for larger dims (max_dims)");
  header.shapes(dims.data(), extents.data());
  const int64_t *at = extents.data();
  for (uint32_t i = 0; i < numInputs + numOutputs; ++i) {
    bool isInput = i < numInputs;
    const snug_value_info &value = isInput ? header.inputs[i] : header.outputs[i - numInputs];
    const DLTensor *const *tensors = isInput ? inputs : outputs;
    const DLTensor *tensor = tensors ? tensors[isInput ? i : i - numInputs] : nullptr;
    binding.data[i] = checkTensor(header, isInput ? "input" : "output", value, at, dims.data(), tensor, device->place());
    binding.bytes[i] = tensorBytes(value, at);
    binding.isOnHost[i] = isOnHost(tensor->device);
    at += value.rank;
  }
  checkOverlaps();
  uint64_t place = 0;
  for (uint32_t i = 0; i < numDataShapes(header); ++i) {
    binding.data[numInputs + numOutputs + i] = device->shapePlace(dataShapes.data(), place);
    place += header.outputs[header.data_shapes[i]].rank;
  }
}

void snug_context::run(const DLTensor *const *inputs, uint32_t numInputs, const DLTensor *const *outputs,
                       uint32_t numOutputs) {
  hasRun = false;
  uint64_t asked = 0;
  if (mesh) {
    snug_error *refused = guard([&] {
      bind(inputs, numInputs, outputs, numOutputs);
      asked = device->prepare(dims.data(), binding);
    });
    asked = mesh->begin(refused, dims.data(), asked);
  } else {
    bind(inputs, numInputs, outputs, numOutputs);
    asked = device->prepare(dims.data(), binding);
  }
  void *const *data = binding.data.data();
  snug_run_args args{&table, runtimeState, device->arena(), device->weights(), dims.data(), data, data + numInputs,
                     mesh ? mesh->index() : nullptr};
  text.begin();
  device->run(args, binding, asked);
  if (mesh)
    mesh->check();
  if (mesh && textBytes(header))
    mesh->end(guard([&] { text.check(header); }));
  else
    text.check(header);
  hasRun = true;
}

void snug_context::outputShape(uint32_t index, int64_t *shape) const {
  if (index >= header.num_outputs)
    throw Failure(SNUG_EXIT_USAGE, "there is no output " + std::to_string(index) + ": the model has " +
                                       std::to_string(header.num_outputs));
  if (!hasRun)
    throw Failure(SNUG_EXIT_USAGE, "the shapes of outputs are known after a run that succeeded");
  const int64_t *at = dataShapes.data(), *end = at;
  for (uint32_t i = 0; i < numDataShapes(header); ++i, at = end) {
    end = at + header.outputs[header.data_shapes[i]].rank;
    if (header.data_shapes[i] == index) {
      device->readShapes(dataShapes.data(), dataShapes.size() - 1);
      std::copy(at, end, shape);
      return;
    }
  }
  at = extents.data();
  for (uint32_t i = 0; i < header.num_inputs; ++i)
    at += header.inputs[i].rank;
  for (uint32_t i = 0; i < index; ++i)
    at += header.outputs[i].rank;
  std::copy(at, at + header.outputs[index].rank, shape);
}

extern "C" {
snug_error *snug_context_create(snug_model *model, const snug_context_options *options, snug_context **out_context) {
  *out_context = nullptr;
  // A caller compiled against an older header has a shorter struct: what it lacks is 0.
  snug_context_options known = SNUG_CONTEXT_OPTIONS_INIT;
  std::unique_ptr<snug_context> context;
  snug_error *error = guard([&] {
    if (options && (options->struct_size < sizeof(size_t) || options->struct_size > sizeof(known)))
      throw Failure(SNUG_EXIT_USAGE, "struct_size of snug_context_options is not one that this runtime knows; "
                                     "initialize the struct with SNUG_CONTEXT_OPTIONS_INIT");
    if (options)
      memcpy(&known, options, options->struct_size);
    if (!model)
      throw Failure(SNUG_EXIT_USAGE, "the model is NULL");
    context = std::make_unique<snug_context>(model, known);
  });
  if (known.comm) // what fails here fails on the other ranks as well
    error = guard([&] {
      comm::Mesh::agree(*known.comm, model, error);
      context->join(*known.comm);
    });
  if (!error)
    *out_context = context.release();
  return error;
}

void snug_context_destroy(snug_context *context) { delete context; }

uint32_t snug_context_num_threads(const snug_context *context) { return context->device->numThreads(); }

snug_error *snug_context_device_memory(const snug_context *context, snug_device_memory *out_memory) {
  return guard([&] { *out_memory = context->device->memory(); });
}

void snug_context_tuning(const snug_context *context, snug_tuning *out_tuning) { *out_tuning = context->device->tuningState(); }

void *snug_context_stream(const snug_context *context) { return context->device->stream(); }

snug_error *snug_context_set_dim(snug_context *context, const char *name, int64_t value) {
  return guard([&] {
    for (uint32_t i = 0; i < context->header.num_dims; ++i) {
      if (strcmp(context->header.dims[i].name, name) != 0)
        continue;
      if (value != kUnboundDim)
        checkDim(context->header.dims[i], value);
      context->fixedDims[i] = value;
      return;
    }
    throw Failure(SNUG_EXIT_USAGE, std::string("the model has no dim '") + name + "'");
  });
}

snug_error *snug_context_output_shape(const snug_context *context, uint32_t index, int64_t *out_shape) {
  return guard([&] { context->outputShape(index, out_shape); });
}

snug_error *snug_run(snug_context *context, const DLTensor *const *inputs, uint32_t num_inputs,
                     const DLTensor *const *outputs, uint32_t num_outputs) {
  if (context->running.test_and_set(std::memory_order_acquire))
    return makeError(SNUG_EXIT_USAGE, "the context is already running: give each thread a context of its own");
  snug_error *error = guard([&] { context->run(inputs, num_inputs, outputs, num_outputs); });
  context->running.clear(std::memory_order_release);
  return error;
}
}
