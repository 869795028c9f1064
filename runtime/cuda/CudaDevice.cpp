// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/CudaDevice.h"
#include "runtime/core/Bind.h"

#include <algorithm>
#include <climits>
#include <string>

using namespace snug;
using namespace snug::cuda;

// What a run has to do: record a graph; and what a rank does not do: wait for its device.
enum : uint64_t { kRecords = 1, kReturns = 2 };

static std::string valueText(const snug_model_header &header, uint32_t i) {
  return i < header.num_inputs ? std::string("input '") + header.inputs[i].name + "'"
                               : std::string("output '") + header.outputs[i - header.num_inputs].name + "'";
}

CudaDevice::CudaDevice(snug_model &model, uint32_t ordinal, uint32_t rank)
    : cuda(driver()), header(*model.header),
      resident(model.shareOn<Resident>(ordinal, rank, [&] { return std::make_shared<Resident>(model, ordinal, rank); })) {}

CudaDevice::CudaDevice(snug_model &model, const snug_context_options &options, uint64_t arenaBytes)
    : CudaDevice(model, options.device, options.comm ? options.comm->rank() : 0) {
  constexpr uint32_t known = SNUG_CONTEXT_DEVICE_TENSORS | SNUG_CONTEXT_GRAPH | SNUG_CONTEXT_TUNE;
  if (options.flags & ~known || options.reserved)
    throw Failure(SNUG_EXIT_USAGE, "snug_context_options has flags that this runtime does not know: update it");
  if (options.launch_ns && options.flags & SNUG_CONTEXT_GRAPH)
    throw Failure(SNUG_EXIT_USAGE, "a profile times each launch, which a graph has no place for: leave out launch_ns or SNUG_CONTEXT_GRAPH");
  Entered entered(resident->primary.context);
  openTuning(model, options);
  openStream(options);
  openArena(options, arenaBytes);
  openCopies(options);
  addresses.resize(header.num_inputs + header.num_outputs + 1 + numDataShapes(header));
  uint32_t most = 0;
  for (uint32_t i = 0; i < header.num_gpu_kernels; ++i)
    most = std::max(most, header.gpu_kernels[i].num_args);
  parameters.resize(size_t(most) + 1);
  if (options.flags & SNUG_CONTEXT_GRAPH)
    recording.emplace(header.num_dims, header.num_inputs + header.num_outputs + 1 + numDataShapes(header), numRanks(header) == 0);
  launchNs = options.launch_ns;
  for (Event *event : {&started, &ended})
    if (launchNs)
      check(cuda.cuEventCreate(event, kEventDefault), "make an event");
  if (const Blas *blas = resident->blas.get())
    products = std::make_unique<Contractions>(*blas, header, &tuning->of("cublaslt", blas->lib.cublasLtGetVersion()));
  if (hasContraction(header, true))
    convolutions = std::make_unique<Convolutions>(header, resident->primary.name);
  if (products || convolutions)
    rehearseLargest(options);
}

CudaDevice::~CudaDevice() {
  PrimaryContext left;
  if (cuda.cuCtxPushCurrent(resident->primary.context) != kSuccess)
    return;
  if (runStream) // a run of the caller's stream may still use the memory
    cuda.cuStreamSynchronize(runStream);
  recording.reset();
  products.reset();
  convolutions.reset();
  gpus.reset();
  for (Event event : {started, ended, passed})
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
  std::vector<int64_t> extents(numExtents(header) + 1);
  largestDims.resize(header.num_dims + 1);
  for (uint32_t i = 0; i < header.num_dims; ++i)
    largestDims[i] = options.max_dims ? options.max_dims[i] : header.dims[i].max;
  header.shapes(largestDims.data(), extents.data());
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

void CudaDevice::contract(void *state, int64_t number, int64_t contraction, const void *shape, int64_t kernel, int64_t blocks,
                          const int64_t *args) noexcept {
  auto &device = *static_cast<CudaDevice *>(state);
  if (device.failure != kSuccess || blocks == 0)
    return;
  LibraryCalls &library = device.libraryOf(contraction);
  if (!library.has(contraction, shape, device.launchesAreCaptured))
    return launch(state, number, kernel, blocks, args);
  device.libraryFailure = library.run(contraction, shape, device.launchStream);
  if (device.libraryFailure == 0)
    return;
  device.failedLibrary = &library;
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

void CudaDevice::timedContract(void *state, int64_t number, int64_t contraction, const void *shape, int64_t kernel, int64_t blocks,
                               const int64_t *args) noexcept {
  static_cast<CudaDevice *>(state)->timed(number, [=] { contract(state, number, contraction, shape, kernel, blocks, args); });
}

bool CudaDevice::isCaptured() const {
  CaptureStatus status = kCaptureNone;
  return !ownsStream && cuda.cuStreamIsCapturing(runStream, &status) == kSuccess && status != kCaptureNone;
}

uint64_t CudaDevice::prepare(const int64_t *dims, const Binding &binding) {
  Entered entered(resident->primary.context);
  uint32_t count = header.num_inputs + header.num_outputs;
  bool isPartOfGraph = isCaptured();
  if (gpus && gpus->watch() && gpus->watch()->hasAborted())
    throw Failure(SNUG_EXIT_RUN, "the run before this one failed: " + gpus->watch()->why() + "; start all ranks again");
  addresses = binding.data; // of the same size: nothing is allocated
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
    if (i >= header.num_inputs && isPartOfGraph)
      throw Failure(SNUG_EXIT_RUN, valueText(header, i) + " is on the host, and the stream is captured by a CUDA graph, which cannot "
                                   "wait for it: give it memory on " + resident->primary.name);
    addresses[i] = reinterpret_cast<void *>(copies[i].at());
  }
  bool records = recording && !isPartOfGraph && !recording->matches(dims, addresses);
  return (records ? kRecords : 0) | (waits(binding) ? 0 : kReturns);
}

void CudaDevice::copyIn(Binding &binding) {
  for (uint32_t i = 0; i < header.num_inputs + header.num_outputs; ++i) {
    if (!binding.isOnHost[i])
      continue;
    hostPlaces[i] = binding.data[i];
    binding.data[i] = addresses[i];
    if (i < header.num_inputs && binding.bytes[i])
      need(cuda.cuMemcpyHtoDAsync(copies[i].at(), hostPlaces[i], binding.bytes[i], runStream), "copy " + valueText(header, i) + " to the device");
  }
}

void CudaDevice::copyOut(const Binding &binding) {
  for (uint32_t i = header.num_inputs; i < header.num_inputs + header.num_outputs; ++i)
    if (binding.isOnHost[i] && binding.bytes[i])
      need(cuda.cuMemcpyDtoHAsync(hostPlaces[i], copies[i].at(), binding.bytes[i], runStream), "copy " + valueText(header, i) + " to the host");
}

void CudaDevice::runLaunches(const snug_run_args &args, Stream on) {
  launchStream = on;
  launchesAreCaptured = on != runStream || isCaptured();
  failure = kSuccess;
  libraryFailure = 0;
  if (gpus)
    gpus->begin(on);
  header.run(&args);
}

void CudaDevice::checkLaunches() const {
  if (failure == kSuccess)
    return;
  if (failedLaunch < 0)
    throw Failure(SNUG_EXIT_RUN, "a value on which the model's course depends could not be read from " + resident->primary.name + ": " +
                                     errorText(failure) + "; such a model cannot be a part of a CUDA graph");
  if (libraryFailure != 0)
    throw Failure(SNUG_EXIT_RUN, "launch " + std::to_string(failedLaunch) + " (for ONNX node(s) " + header.launches[failedLaunch].nodes +
                                     ") could not be started by " + failedLibrary->name() + " on " + resident->primary.name + ": " +
                                     failedLibrary->errorText(libraryFailure));
  throw Failure(SNUG_EXIT_RUN, "launch " + std::to_string(failedLaunch) + " (kernel '" + header.gpu_kernels[failedKernel].name + "' on " +
                                   std::to_string(failedBlocks) + " blocks, for ONNX node(s) " + header.launches[failedLaunch].nodes +
                                   ") could not be started on " + resident->primary.name + ": " + errorText(failure));
}

// Of a mesh all ranks record when one does, and none starts what another one could not record.
void CudaDevice::record(const snug_run_args &args, const Binding &binding) {
  snug_error *failed = guard([&] {
    rehearseBeforeRecording(args, binding);
    runLaunches(args, recording->begin());
    Result ended = recording->end();
    checkLaunches();
    if (gpus)
      gpus->check();
    check(ended, "record a graph", SNUG_EXIT_RUN);
    recording->keep(args.dims, binding.data);
  });
  if (gpus)
    return gpus->mesh().end(failed);
  std::unique_ptr<snug_error, void (*)(snug_error *)> owned(failed, &snug_error_destroy);
  if (failed)
    throw Failure(failed->code, failed->message);
}

bool CudaDevice::waits(const Binding &binding) const {
  bool is = ownsStream;
  for (uint32_t i = 0; i < header.num_outputs; ++i)
    is |= binding.isOnHost[header.num_inputs + i] != 0;
  return is;
}

void CudaDevice::compute(const snug_run_args &args, Binding &binding, uint64_t asked) {
  failure = kSuccess;
  isSick = false;
  copyIn(binding);
  if (recording && !isCaptured()) {
    if (asked & kRecords)
      record(args, binding);
    need(recording->launch(runStream), "start the graph of the run");
  } else {
    runLaunches(args, runStream);
  }
  if (failure == kSuccess)
    copyOut(binding);
  // After a failure, too: nothing uses the caller's tensors when this returns.
  Result ended = waits(binding) ? cuda.cuStreamSynchronize(runStream) : kSuccess;
  isSick = ended != kSuccess;
  checkLaunches();
  need(ended, "finish the run on " + resident->primary.name);
}

void CudaDevice::need(Result result, const std::string &what) {
  isSick |= result != kSuccess;
  check(result, what, SNUG_EXIT_RUN);
}

// What was not launched on one rank spoils the results of all, who have met it in their collectives nevertheless. Where all of them
// wait for their devices, they agree on it.
void CudaDevice::computeTogether(const snug_run_args &args, Binding &binding, uint64_t asked) {
  PeerWatch *watch = gpus->watch();
  comm::Mesh &mesh = gpus->mesh();
  if (watch)
    watch->begin(mesh.comm.statedTimeout());
  snug_error *failed = guard([&] {
    compute(args, binding, asked);
    gpus->check();
  });
  isSick |= gpus->isBroken();
  if (watch && !waits(binding) && !isCaptured() && cuda.cuEventRecord(passed, runStream) == kSuccess)
    watch->leave(passed);
  else if (watch)
    watch->end();
  if (watch && watch->hasAborted()) {
    snug_error_destroy(failed);
    mesh.comm.lose(watch->why());
    mesh.comm.fail();
  }
  if (!(asked & kReturns) && !isSick)
    return mesh.end(failed);
  std::unique_ptr<snug_error, void (*)(snug_error *)> owned(failed, &snug_error_destroy);
  if (!failed)
    return;
  if (isSick)
    mesh.comm.lose("the GPU of this one has failed");
  throw Failure(failed->code, failed->message);
}

void CudaDevice::run(const snug_run_args &args, Binding &binding, uint64_t asked) {
  Entered entered(resident->primary.context);
  if (gpus)
    computeTogether(args, binding, asked);
  else
    compute(args, binding, asked);
}

void CudaDevice::join(comm::Mesh &mesh, snug_runtime_table &table) {
  Entered entered(resident->primary.context);
  gpus.emplace(mesh, header, resident->primary, largestDims);
  table.collective = &GpuMesh::collective;
  table.start = &GpuMesh::start;
  table.wait = &GpuMesh::wait;
  table.comm_state = &*gpus;
  mesh.comm.agree(guard([&] { check(cuda.cuEventCreate(&passed, kEventDisableTiming), "make an event"); }));
  std::vector<void *> nowhere(header.num_inputs + header.num_outputs + numDataShapes(header) + 1, arena());
  snug_run_args args{&table, this, arena(), weights(), largestDims.data(), nowhere.data(), nowhere.data() + header.num_inputs, mesh.index()};
  gpus->rehearse(args, runStream, arenaStart, arenaNeed(header, largestDims.data()));
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
  return {allocated, resident->freeBefore, free, total, gpus ? gpus->memoryBytes() : 0};
}
