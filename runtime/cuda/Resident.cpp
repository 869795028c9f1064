// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/Resident.h"
#include "runtime/core/Bind.h"
#include "runtime/cuda/Cudnn.h"

#include <algorithm>
#include <cstring>

using namespace snug;
using namespace snug::cuda;

// Weights go through two pieces of pinned memory, which the device reads while the other one is filled.
static constexpr uint64_t kPieceBytes = 4 << 20;

Primary::Primary(uint32_t ordinal) : ordinal(ordinal) {
  const Driver &cuda = driver();
  int count = 0;
  check(cuda.cuDeviceGetCount(&count), "count the devices");
  if (ordinal >= uint32_t(count))
    throw Failure(SNUG_EXIT_MACHINE, "there is no CUDA device " + std::to_string(ordinal) + ": this machine has " + std::to_string(count) +
                                         ", counted from 0");
  check(cuda.cuDeviceGet(&number, int(ordinal)), "find the device");
  char product[256] = "";
  int major = 0, minor = 0;
  check(cuda.cuDeviceGetName(product, sizeof product, number), "ask for the device's name");
  check(cuda.cuDeviceGetAttribute(&major, kComputeMajor, number), "ask for the device's chip");
  check(cuda.cuDeviceGetAttribute(&minor, kComputeMinor, number), "ask for the device's chip");
  chip = product + std::string(", sm_") + std::to_string(major) + std::to_string(minor);
  name = "CUDA device " + std::to_string(ordinal) + " (" + chip + ")";
  check(cuda.cuDeviceGetUuid(&uuid, number), "ask for the device's UUID");
  check(cuda.cuDevicePrimaryCtxRetain(&context, number), "use " + name);
}

Primary::~Primary() { driver().cuDevicePrimaryCtxRelease(number); }

Memory::Memory(const Primary &primary, uint64_t bytes, const char *what) : size(bytes), primary(&primary) {
  if (bytes == 0)
    return;
  Result result = driver().cuMemAlloc(&address, bytes);
  if (result == kOutOfMemory) {
    size_t free = 0, total = 0;
    driver().cuMemGetInfo(&free, &total);
    throw Failure(SNUG_EXIT_MACHINE, primary.name + " has " + std::to_string(free) + " of " + std::to_string(total) + " bytes free, and " +
                                         what + " needs " + std::to_string(bytes) +
                                         ": end what else uses it, or compile the model for a smaller --memory-budget");
  }
  check(result, std::string("allocate memory for ") + what);
}

Memory::~Memory() {
  if (!address)
    return;
  PrimaryContext left;
  if (driver().cuCtxPushCurrent(primary->context) == kSuccess) { // a lost device has no memory to free
    driver().cuMemFree(address);
    driver().cuCtxPopCurrent(&left);
  }
}

Resident::Resident(snug_model &model, uint32_t ordinal, uint32_t rank) : Resident(ordinal) {
  const snug_model_header &header = *model.header;
  Entered entered(primary.context);
  size_t free = 0, total = 0;
  check(driver().cuMemGetInfo(&free, &total), "ask for the device's memory");
  freeBefore = free;
  // What may be missing comes before what takes time.
  if (hasContraction(header, false))
    blas = std::make_unique<Blas>(primary.name);
  if (hasContraction(header, true))
    cudnn::library();
  load(header);
  if (uint64_t bytes = header.memory.weights_bytes) {
    weights = Memory(primary, bytes, "the model's weights");
    upload(model.mapWeights(rank), bytes);
  }
}

Resident::~Resident() {
  PrimaryContext left;
  if ((module || blas) && driver().cuCtxPushCurrent(primary.context) == kSuccess) {
    blas.reset();
    if (module)
      driver().cuModuleUnload(module);
    driver().cuCtxPopCurrent(&left);
  }
}

// Everything that the driver would do at a kernel's first launch is done here: in a run it would allocate. Where it loads lazily, as it does
// by default, cuModuleGetFunction is what loads a kernel (CUDA C++ Programming Guide, "Lazy Loading").
void Resident::load(const snug_model_header &header) {
  const Driver &cuda = driver();
  if (header.num_gpu_kernels == 0)
    return;
  Result result = cuda.cuModuleLoadData(&module, header.gpu_image);
  if (result == kNoBinaryForGpu)
    throw Failure(SNUG_EXIT_MACHINE, "the model was compiled for " + std::string(header.target) + ", which does not run on " + primary.name +
                                         ": compile it with a --target that has this chip");
  if (result == kUnsupportedPtxVersion || result == kInvalidImage)
    throw Failure(SNUG_EXIT_MACHINE, "the CUDA driver cannot read the kernels of the model, which was compiled for " +
                                         std::string(header.target) + " (" + errorText(result) + "): update the driver, or compile the "
                                         "model for the chip of " + primary.name);
  check(result, "load the kernels of the model on " + primary.name);
  for (uint32_t i = 0; i < header.num_gpu_kernels; ++i) {
    const snug_gpu_kernel &kernel = header.gpu_kernels[i];
    Function function = nullptr;
    result = cuda.cuModuleGetFunction(&function, module, kernel.name);
    if (result == kNotFound)
      throw Failure(SNUG_EXIT_INVALID, "the image of the model's kernels has no '" + std::string(kernel.name) + "': compile it again");
    check(result, "load kernel '" + std::string(kernel.name) + "'");
    // What is above 48 KiB has to be asked for; less may be.
    if (kernel.shared_bytes)
      check(cuda.cuFuncSetAttribute(function, kMaxDynamicSharedBytes, int(kernel.shared_bytes)),
            "get " + std::to_string(kernel.shared_bytes) + " bytes of shared memory for kernel '" + kernel.name + "' on " + primary.name);
    functions.push_back(function);
  }
}

namespace {
// Two pieces of pinned memory in turn.
struct Staging {
  void prepare(uint64_t bytes) {
    check(cuda.cuStreamCreate(&stream, kStreamNonBlocking), "make a stream");
    for (int i = 0; i < 2; ++i) {
      check(cuda.cuEventCreate(&read[i], kEventDisableTiming), "make an event");
      check(cuda.cuMemHostAlloc(&piece[i], bytes, 0), "get " + std::to_string(bytes) + " bytes of pinned memory");
    }
  }
  ~Staging() { // what is in flight reads the pieces
    if (stream)
      cuda.cuStreamSynchronize(stream);
    for (int i = 0; i < 2; ++i) {
      if (piece[i])
        cuda.cuMemFreeHost(piece[i]);
      if (read[i])
        cuda.cuEventDestroy(read[i]);
    }
    if (stream)
      cuda.cuStreamDestroy(stream);
  }
  const Driver &cuda = driver();
  Stream stream = nullptr;
  Event read[2] = {};
  void *piece[2] = {};
};
} // namespace

void Resident::upload(const uint8_t *from, uint64_t bytes) {
  Staging staging;
  staging.prepare(std::min(bytes, kPieceBytes));
  const Driver &cuda = driver();
  for (uint64_t at = 0, i = 0; at < bytes; at += kPieceBytes, i ^= 1) {
    uint64_t size = std::min(bytes - at, kPieceBytes);
    if (at >= 2 * kPieceBytes)
      check(cuda.cuEventSynchronize(staging.read[i]), "upload the weights");
    memcpy(staging.piece[i], from + at, size);
    check(cuda.cuMemcpyHtoDAsync(weights.at() + at, staging.piece[i], size, staging.stream), "upload the weights");
    check(cuda.cuEventRecord(staging.read[i], staging.stream), "upload the weights");
  }
  check(cuda.cuStreamSynchronize(staging.stream), "upload the weights");
}
