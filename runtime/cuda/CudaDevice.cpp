// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/CudaDevice.h"
#include "runtime/core/Bind.h"

#include <algorithm>
#include <climits>
#include <string>

using namespace snug;
using namespace snug::cuda;

static std::string valueText(const snug_model_header &header, uint32_t i) {
  return i < header.num_inputs ? std::string("input '") + header.inputs[i].name + "'"
                               : std::string("output '") + header.outputs[i - header.num_inputs].name + "'";
}

CudaDevice::CudaDevice(snug_model &model, uint32_t ordinal)
    : cuda(driver()), header(*model.header),
      resident(model.shareOn<Resident>(ordinal, [&] { return std::make_shared<Resident>(model, ordinal); })) {}

CudaDevice::CudaDevice(snug_model &model, const snug_context_options &options, uint64_t arenaBytes)
    : CudaDevice(model, options.device) {
  constexpr uint32_t known = SNUG_CONTEXT_DEVICE_TENSORS | SNUG_CONTEXT_GRAPH;
  if (options.flags & ~known || options.reserved)
    throw Failure(SNUG_EXIT_USAGE, "snug_context_options has flags that this runtime does not know: update it");
  if (options.launch_ns && options.flags & SNUG_CONTEXT_GRAPH)
    throw Failure(SNUG_EXIT_USAGE, "a profile times each launch, which a graph has no place for: leave out launch_ns or SNUG_CONTEXT_GRAPH");
  Entered entered(resident->primary.context);
  openStream(options);
  openArena(options, arenaBytes);
  openCopies(options);
  uint32_t most = 0;
  for (uint32_t i = 0; i < header.num_gpu_kernels; ++i)
    most = std::max(most, header.gpu_kernels[i].num_args);
  parameters.resize(size_t(most) + 1);
  if (options.flags & SNUG_CONTEXT_GRAPH)
    recording.emplace(header.num_dims, header.num_inputs + header.num_outputs + 1 + numDataShapes(header));
  launchNs = options.launch_ns;
  for (Event *event : {&started, &ended})
    if (launchNs)
      check(cuda.cuEventCreate(event, kEventDefault), "make an event");
  if (resident->blas) {
    contractions.emplace(*resident->blas, header);
    rehearse(options);
  }
}

CudaDevice::~CudaDevice() {
  PrimaryContext left;
  if (cuda.cuCtxPushCurrent(resident->primary.context) != kSuccess)
    return;
  if (runStream) // a run of the caller's stream may still use the memory
    cuda.cuStreamSynchronize(runStream);
  recording.reset();
  contractions.reset();
  for (Event event : {started, ended})
    if (event)
      cuda.cuEventDestroy(event);
  if (ownsStream)
    cuda.cuStreamDestroy(runStream);
  cuda.cuCtxPopCurrent(&left);
}

void CudaDevice::openStream(const snug_context_options &options) {
  if (!options.stream) {
    check(cuda.cuStreamCreate(&runStream, kStreamNonBlocking), "make a stream");
    ownsStream = true;
    return;
  }
  PrimaryContext of = nullptr;
  if (Result result = cuda.cuStreamGetCtx(options.stream, &of); result != kSuccess || of != resident->primary.context)
    throw Failure(SNUG_EXIT_USAGE, "stream of snug_context_options is no stream of " + resident->primary.name +
                                       "'s primary context: make it with the CUDA runtime while that device is the current one");
  runStream = options.stream;
}

void CudaDevice::openArena(const snug_context_options &options, uint64_t bytes) {
  if (!options.workspace) {
    ownArena = Memory(resident->primary, bytes, "the arena");
    arenaStart = ownArena.at();
    return;
  }
  arenaStart = reinterpret_cast<Address>(options.workspace);
  unsigned type = 0;
  int ordinal = -1;
  if (cuda.cuPointerGetAttribute(&type, kMemoryType, arenaStart) != kSuccess || type != kMemoryOnDevice ||
      cuda.cuPointerGetAttribute(&ordinal, kDeviceOrdinal, arenaStart) != kSuccess || uint32_t(ordinal) != resident->primary.ordinal)
    throw Failure(SNUG_EXIT_USAGE, "the workspace is not in the memory of " + resident->primary.name + ", where the model runs");
  if (arenaStart % header.memory.arena_alignment != 0)
    throw Failure(SNUG_EXIT_USAGE, "the workspace is not aligned to " + std::to_string(header.memory.arena_alignment) +
                                       " bytes, as the model needs");
}

// Memory for what is not on the device: one allocation for each input and output, so that not a byte is in between.
void CudaDevice::openCopies(const snug_context_options &options) {
  uint32_t count = header.num_inputs + header.num_outputs;
  isCopied.assign(count, !(options.flags & SNUG_CONTEXT_DEVICE_TENSORS));
  for (uint32_t i = 0; i < numValueDims(header); ++i) // their elements are read on the host
    isCopied[header.value_dims[i].input] = true;
  hostPlaces.resize(count);
  std::vector<int64_t> dims(header.num_dims + 1), extents(numExtents(header) + 1);
  for (uint32_t i = 0; i < header.num_dims; ++i)
    dims[i] = options.max_dims ? options.max_dims[i] : header.dims[i].max;
  header.shapes(dims.data(), extents.data());
  const int64_t *at = extents.data();
  for (uint32_t i = 0; i < count; ++i) {
    const snug_value_info &value = i < header.num_inputs ? header.inputs[i] : header.outputs[i - header.num_inputs];
    copies.emplace_back(resident->primary, isCopied[i] ? tensorBytes(value, at) : 0, ("a copy of " + valueText(header, i)).c_str());
    at += value.rank;
  }
  uint64_t places = 0;
  for (uint32_t i = 0; i < numDataShapes(header); ++i)
    places += header.outputs[header.data_shapes[i]].rank;
  shapes = Memory(resident->primary, places * sizeof(int64_t), "shapes of outputs");
}

void *CudaDevice::fill(snug_runtime_table &table) {
  table.launch = launchNs ? &timedLaunch : &launch;
  table.device_state = this;
  table.read = &read;
  table.contract = launchNs ? &timedContract : &contract;
  return this; // kernels for the host's threads are not in such a model
}

void CudaDevice::rehearse(const snug_context_options &options) {
  snug_runtime_table table{};
  table.abi_version = SNUG_MODEL_ABI_VERSION;
  table.struct_size = sizeof table;
  table.device_state = this;
  table.launch = [](void *, int64_t, int64_t, int64_t, const int64_t *) {};
  table.read = [](void *, const void *, int64_t) -> int64_t { return 1; }; // which may be divided by
  table.collective = [](void *, int64_t, const void *, void *, int64_t) {};
  table.start = table.collective;
  table.wait = [](void *, int64_t) {};
  table.contract = [](void *state, int64_t, int64_t contraction, const snug_contraction_shape *shape, int64_t, int64_t, const int64_t *) {
    static_cast<CudaDevice *>(state)->contractions->has(contraction, *shape);
  };
  std::vector<int64_t> dims(header.num_dims + 1), extents(numExtents(header) + 1);
  for (uint32_t i = 0; i < header.num_dims; ++i)
    dims[i] = options.max_dims ? options.max_dims[i] : header.dims[i].max;
  // Nothing is computed: of addresses it matters how they are aligned.
  uint32_t count = header.num_inputs + header.num_outputs;
  std::vector<void *> data(count + numDataShapes(header) + 1, reinterpret_cast<void *>(uintptr_t(SNUG_GPU_TENSOR_ALIGNMENT)));
  const int64_t place[2] = {};
  snug_run_args args{&table, this, arena(), weights(), dims.data(), data.data(), data.data() + header.num_inputs, place};
  header.run(&args);
}

//===-- Runs ------------------------------------------------------------------------------------------------------===//

void CudaDevice::launch(void *state, int64_t number, int64_t kernel, int64_t blocks, const int64_t *args) noexcept {
  auto &device = *static_cast<CudaDevice *>(state);
  if (device.failure != kSuccess || blocks == 0)
    return;
  const snug_gpu_kernel &info = device.header.gpu_kernels[kernel];
  for (uint32_t i = 0; i < info.num_args; ++i)
    device.parameters[i] = const_cast<int64_t *>(args + i);
  device.parameters[info.num_args] = nullptr; // the driver knows how many there are, what stands in for it in tests does not
  Result result = kInvalidValue; // of what a grid cannot have
  if (blocks > 0 && blocks <= INT_MAX)
    result = device.cuda.cuLaunchKernel(device.resident->functions[size_t(kernel)], unsigned(blocks), 1, 1, info.threads, 1, 1,
                                        info.shared_bytes, device.launchStream, device.parameters.data(), nullptr);
  if (result == kSuccess)
    return;
  device.failure = result;
  device.failedLaunch = number;
  device.failedKernel = kernel;
  device.failedBlocks = blocks;
}

int64_t CudaDevice::read(void *state, const void *address, int64_t bytes) noexcept {
  auto &device = *static_cast<CudaDevice *>(state);
  int64_t value = 0;
  if (device.failure != kSuccess)
    return 0;
  Result result = device.cuda.cuMemcpyDtoHAsync(&value, reinterpret_cast<Address>(address), size_t(bytes), device.launchStream);
  if (result == kSuccess)
    result = device.cuda.cuStreamSynchronize(device.launchStream);
  if (result == kSuccess)
    return value;
  device.failure = result;
  device.failedLaunch = -1;
  return 0;
}

void CudaDevice::contract(void *state, int64_t number, int64_t contraction, const snug_contraction_shape *shape, int64_t kernel, int64_t blocks,
                          const int64_t *args) noexcept {
  auto &device = *static_cast<CudaDevice *>(state);
  if (device.failure != kSuccess || blocks == 0)
    return;
  if (!device.contractions->has(contraction, *shape))
    return launch(state, number, kernel, blocks, args);
  device.libraryFailure = device.contractions->run(contraction, *shape, device.launchStream);
  if (device.libraryFailure == cublaslt::kSuccess)
    return;
  device.failure = kLaunchFailed;
  device.failedLaunch = number;
}

template <class Start> void CudaDevice::timed(int64_t number, Start &&start) {
  cuda.cuEventRecord(started, launchStream);
  start();
  cuda.cuEventRecord(ended, launchStream);
  float milliseconds = 0;
  if (cuda.cuEventSynchronize(ended) == kSuccess && // else whoever waits for the stream reports it
      cuda.cuEventElapsedTime(&milliseconds, started, ended) == kSuccess)
    launchNs[number] += uint64_t(double(milliseconds) * 1e6);
}

void CudaDevice::timedLaunch(void *state, int64_t number, int64_t kernel, int64_t blocks, const int64_t *args) noexcept {
  static_cast<CudaDevice *>(state)->timed(number, [=] { launch(state, number, kernel, blocks, args); });
}

void CudaDevice::timedContract(void *state, int64_t number, int64_t contraction, const snug_contraction_shape *shape, int64_t kernel,
                               int64_t blocks, const int64_t *args) noexcept {
  static_cast<CudaDevice *>(state)->timed(number, [=] { contract(state, number, contraction, shape, kernel, blocks, args); });
}

bool CudaDevice::isCaptured() const {
  CaptureStatus status = kCaptureNone;
  return !ownsStream && cuda.cuStreamIsCapturing(runStream, &status) == kSuccess && status != kCaptureNone;
}

void CudaDevice::copyIn(Binding &binding) {
  uint32_t count = header.num_inputs + header.num_outputs;
  for (uint32_t i = 0; i < count; ++i) {
    if (!binding.isOnHost[i])
      continue;
    if (!isCopied[i])
      throw Failure(SNUG_EXIT_RUN, valueText(header, i) + " is on the host, and the context was made for tensors on the device "
                                   "(SNUG_CONTEXT_DEVICE_TENSORS): copy it to " + resident->primary.name + " first");
    if (binding.bytes[i] > copies[i].bytes())
      throw Failure(SNUG_EXIT_RUN, valueText(header, i) + " has " + std::to_string(binding.bytes[i]) +
                                       " bytes, and the context has room on the device for a copy of " + std::to_string(copies[i].bytes()) +
                                       ": create it for larger dims (max_dims)");
    if (i >= header.num_inputs && isCaptured())
      throw Failure(SNUG_EXIT_RUN, valueText(header, i) + " is on the host, and the stream is captured by a CUDA graph, which cannot "
                                   "wait for it: give it memory on " + resident->primary.name);
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (!binding.isOnHost[i])
      continue;
    hostPlaces[i] = binding.data[i];
    binding.data[i] = reinterpret_cast<void *>(copies[i].at());
    if (i < header.num_inputs && binding.bytes[i])
      check(cuda.cuMemcpyHtoDAsync(copies[i].at(), hostPlaces[i], binding.bytes[i], runStream), "copy " + valueText(header, i) + " to the device",
            SNUG_EXIT_RUN);
  }
}

void CudaDevice::copyOut(const Binding &binding) {
  for (uint32_t i = header.num_inputs; i < header.num_inputs + header.num_outputs; ++i)
    if (binding.isOnHost[i] && binding.bytes[i])
      check(cuda.cuMemcpyDtoHAsync(hostPlaces[i], copies[i].at(), binding.bytes[i], runStream), "copy " + valueText(header, i) + " to the host",
            SNUG_EXIT_RUN);
}

void CudaDevice::runLaunches(const snug_run_args &args, Stream on) {
  launchStream = on;
  failure = kSuccess;
  libraryFailure = cublaslt::kSuccess;
  header.run(&args);
}

void CudaDevice::replay(const snug_run_args &args, const Binding &binding) {
  if (!recording->matches(args.dims, binding.data)) {
    runLaunches(args, recording->begin());
    Result ended = recording->end();
    if (failure != kSuccess)
      return;
    check(ended, "record a graph", SNUG_EXIT_RUN);
    recording->keep(args.dims, binding.data);
  }
  check(recording->launch(runStream), "start the graph of the run", SNUG_EXIT_RUN);
}

void CudaDevice::run(const snug_run_args &args, Binding &binding) {
  Entered entered(resident->primary.context);
  failure = kSuccess;
  copyIn(binding);
  if (recording && !isCaptured())
    replay(args, binding);
  else
    runLaunches(args, runStream);
  if (failure != kSuccess) {
    if (ownsStream) // nothing uses the caller's tensors when this returns
      cuda.cuStreamSynchronize(runStream);
    if (failedLaunch < 0)
      throw Failure(SNUG_EXIT_RUN, "a value on which the model's course depends could not be read from " + resident->primary.name + ": " +
                                       errorText(failure) + "; such a model cannot be a part of a CUDA graph");
    if (libraryFailure != cublaslt::kSuccess)
      throw Failure(SNUG_EXIT_RUN, "launch " + std::to_string(failedLaunch) + " (for ONNX node(s) " + header.launches[failedLaunch].nodes +
                                       ") could not be started by cuBLASLt on " + resident->primary.name + ": " + cublaslt::errorText(libraryFailure));
    throw Failure(SNUG_EXIT_RUN, "launch " + std::to_string(failedLaunch) + " (kernel '" + header.gpu_kernels[failedKernel].name + "' on " +
                                     std::to_string(failedBlocks) + " blocks, for ONNX node(s) " + header.launches[failedLaunch].nodes +
                                     ") could not be started on " + resident->primary.name + ": " + errorText(failure));
  }
  copyOut(binding);
  bool waits = ownsStream;
  for (uint32_t i = 0; i < header.num_outputs; ++i)
    waits |= binding.isOnHost[header.num_inputs + i] != 0;
  if (waits)
    check(cuda.cuStreamSynchronize(runStream), "finish the run on " + resident->primary.name, SNUG_EXIT_RUN);
}

//===-- After runs ------------------------------------------------------------------------------------------------===//

void CudaDevice::readShapes(int64_t *extents, uint64_t count) {
  Entered entered(resident->primary.context);
  check(cuda.cuMemcpyDtoHAsync(extents, shapes.at(), count * sizeof(int64_t), runStream), "copy shapes to the host", SNUG_EXIT_RUN);
  check(cuda.cuStreamSynchronize(runStream), "finish the run on " + resident->primary.name, SNUG_EXIT_RUN);
}

snug_device_memory CudaDevice::memory() const {
  Entered entered(resident->primary.context);
  size_t free = 0, total = 0;
  check(cuda.cuMemGetInfo(&free, &total), "ask for the memory of " + resident->primary.name);
  uint64_t allocated = resident->weights.bytes() + ownArena.bytes() + shapes.bytes();
  for (const Memory &copy : copies)
    allocated += copy.bytes();
  return {allocated, resident->freeBefore, free, total};
}
