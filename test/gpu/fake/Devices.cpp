// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Devices, contexts, modules and launches.

#include "test/gpu/fake/Fake.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>

using namespace snug;
using namespace snug::fake;

#define API extern "C" __attribute__((visibility("default"))) Result

// Contexts are the numbers of their devices, from 1.
static thread_local std::vector<int> contextStack;
int fake::currentDevice() { return contextStack.empty() ? -1 : contextStack.back(); }
static PrimaryContext contextOf(int device) { return reinterpret_cast<PrimaryContext>(uintptr_t(device) + 1); }
static int numDevices() { return int(setting("SNUG_FAKE_CUDA_DEVICES", 1)); }
static int chip() { return int(setting("SNUG_FAKE_CUDA_CHIP", 90)); }

API cuInit(unsigned flags) {
  Call call("cuInit");
  call.with("flags", flags);
  return call.run([] { return numDevices() ? kSuccess : kNoDevice; }, false);
}

API cuDriverGetVersion(int *version) {
  Call call("cuDriverGetVersion");
  return call.run([&] { return *version = int(setting("SNUG_FAKE_CUDA_DRIVER", 13000)), kSuccess; }, false);
}

// The names of those that tests see.
static const std::map<Result, std::pair<const char *, const char *>> &errors() {
  static const std::map<Result, std::pair<const char *, const char *>> known = {
      {kSuccess, {"CUDA_SUCCESS", "no error"}},
      {kInvalidValue, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
      {kOutOfMemory, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
      {kInvalidContext, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
      {kUnsupportedPtxVersion, {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."}},
      {kInvalidHandle, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
      {701, {"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"}},
      {kLaunchFailed, {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}},
      {kCaptureUnsupported, {"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"}}};
  return known;
}

API cuGetErrorName(Result error, const char **text) {
  auto found = errors().find(error);
  *text = found == errors().end() ? nullptr : found->second.first;
  return *text ? kSuccess : kInvalidValue;
}

API cuGetErrorString(Result error, const char **text) {
  auto found = errors().find(error);
  *text = found == errors().end() ? nullptr : found->second.second;
  return *text ? kSuccess : kInvalidValue;
}

API cuDeviceGetCount(int *count) {
  Call call("cuDeviceGetCount");
  return call.run([&] { return *count = numDevices(), kSuccess; }, false);
}

API cuDeviceGet(DeviceNumber *device, int ordinal) {
  Call call("cuDeviceGet");
  call.with("ordinal", uint64_t(ordinal));
  return call.run([&] { return *device = ordinal, ordinal < numDevices() ? kSuccess : kInvalidDevice; }, false);
}

API cuDeviceGetName(char *name, int bytes, DeviceNumber) {
  Call call("cuDeviceGetName");
  return call.run([&] { return snprintf(name, size_t(bytes), "Fake GPU"), kSuccess; }, false);
}

API cuDeviceGetUuid_v2(DeviceUuid *uuid, DeviceNumber device) {
  Call call("cuDeviceGetUuid_v2");
  return call.run([&] { return snprintf(uuid->bytes, sizeof uuid->bytes, "fake GPU %d", device), kSuccess; }, false);
}

API cuDeviceGetAttribute(int *value, DeviceAttribute attribute, DeviceNumber) {
  Call call("cuDeviceGetAttribute");
  call.with("attribute", uint64_t(attribute));
  return call.run(
      [&]() -> Result {
        *value = attribute == kComputeMajor ? chip() / 10 : chip() % 10;
        return attribute == kComputeMajor || attribute == kComputeMinor ? kSuccess : kInvalidValue;
      },
      false);
}

API cuDevicePrimaryCtxRetain(PrimaryContext *context, DeviceNumber device) {
  Call call("cuDevicePrimaryCtxRetain");
  call.with("device", uint64_t(device));
  return call.run(
      [&] {
        ++state().retained[device];
        ++state().stats.handles;
        return *context = contextOf(device), kSuccess;
      },
      false);
}

API cuDevicePrimaryCtxRelease_v2(DeviceNumber device) {
  Call call("cuDevicePrimaryCtxRelease_v2");
  call.with("device", uint64_t(device));
  return call.run(
      [&] {
        if (!state().retained[device])
          return kInvalidContext;
        --state().retained[device];
        --state().stats.handles;
        return kSuccess;
      },
      false);
}

API cuCtxPushCurrent_v2(PrimaryContext context) {
  Call call("cuCtxPushCurrent_v2");
  return call.run(
      [&] {
        int device = int(reinterpret_cast<uintptr_t>(context)) - 1;
        if (!state().retained[device])
          return kInvalidContext;
        contextStack.push_back(device);
        return kSuccess;
      },
      false);
}

API cuCtxPopCurrent_v2(PrimaryContext *context) {
  Call call("cuCtxPopCurrent_v2");
  if (contextStack.empty()) // even after an error that sticks
    return call.done(kInvalidContext);
  *context = contextOf(contextStack.back());
  contextStack.pop_back();
  return call.done(kSuccess);
}

API cuStreamGetCtx(Stream handle, PrimaryContext *context) {
  Call call("cuStreamGetCtx");
  call.at("stream", handle);
  return call.run([&]() -> Result {
    FakeStream *stream = streamOf(handle);
    if (!stream)
      return kInvalidHandle;
    bool isSpecial = handle == kLegacyStream || handle == kPerThreadStream; // of each context
    return *context = contextOf(isSpecial ? currentDevice() : stream->device), kSuccess;
  });
}

//===-- Modules ---------------------------------------------------------------------------------------------------===//

namespace {
struct FakeModule {
  void *kernels, *simulator;
  int device;
  std::map<std::string, std::unique_ptr<Kernel>> functions;
};

// Of a fat binary: a header, and the images with one each. Read as fatbinary writes them.
struct FatHeader {
  uint32_t magic;
  uint16_t version, headerBytes;
  uint64_t bytes;
};
struct FatEntry {
  uint16_t kind, version; // kind 1: PTX, 2: a cubin
  uint32_t headerBytes;
  uint64_t bytes;
  uint32_t compressed[3], chip;
};
} // namespace

// Whether one of the images is for the chip: a cubin of the same major version and not a later one, or PTX of no later one.
static bool fits(const void *image) {
  FatHeader header;
  memcpy(&header, image, sizeof header);
  if (header.magic != 0xba55ed50)
    return false;
  auto *at = static_cast<const uint8_t *>(image) + header.headerBytes, *end = at + header.bytes;
  for (FatEntry entry; at < end; at += entry.headerBytes + entry.bytes) {
    memcpy(&entry, at, sizeof entry);
    bool isPtx = entry.kind == 1;
    if (int(entry.chip) <= chip() && (isPtx || int(entry.chip) / 10 == chip() / 10))
      return true;
  }
  return false;
}

API cuModuleLoadData(Module *module, const void *image) {
  Call call("cuModuleLoadData");
  return call.run([&]() -> Result {
    if (Result result = forbidWhileCapturing())
      return result;
    if (!fits(image))
      return kNoBinaryForGpu;
    if (!computes()) {
      ++state().stats.handles;
      call.at("module", *module = new FakeModule{nullptr, nullptr, currentDevice(), {}});
      return kSuccess;
    }
    const char *kernels = textSetting("SNUG_SIM_KERNELS"), *simulator = textSetting("SNUG_GPU_SIM");
    void *library = kernels ? dlopen(kernels, RTLD_NOW | RTLD_LOCAL) : nullptr;
    void *runner = simulator ? dlopen(simulator, RTLD_NOW | RTLD_LOCAL) : library;
    if (!library || !runner) {
      const char *why = dlerror();
      reportFault(std::string("SNUG_SIM_KERNELS and SNUG_GPU_SIM have to name libraries: ") + (why ? why : "SNUG_SIM_KERNELS is not set"));
      return kInvalidImage;
    }
    ++state().stats.handles;
    call.at("module", *module = new FakeModule{library, runner, currentDevice(), {}});
    return kSuccess;
  });
}

API cuModuleUnload(Module module) {
  Call call("cuModuleUnload");
  call.at("module", module);
  return call.run([&] {
    drainDevice();
    delete static_cast<FakeModule *>(module);
    --state().stats.handles;
    return kSuccess;
  });
}

API cuModuleGetFunction(Function *function, Module module, const char *name) {
  Call call("cuModuleGetFunction");
  call.with("name", std::string(name));
  return call.run([&]() -> Result {
    if (Result result = forbidWhileCapturing()) // which loads it
      return result;
    auto *of = static_cast<FakeModule *>(module);
    auto &made = of->functions[name];
    if (!made && !of->kernels) {
      made = std::make_unique<Kernel>(Kernel{name, nullptr, nullptr, nullptr, of->device, 0});
    } else if (!made) {
      void *entry = dlsym(of->kernels, (std::string(name) + "_entry").c_str()), *launch = dlsym(of->simulator, "snug_sim_launch");
      if (!launch)
        reportFault("there is no snug_sim_launch: SNUG_GPU_SIM has to name the simulator's library");
      if (!entry || !launch)
        return kNotFound;
      made = std::make_unique<Kernel>(Kernel{name, entry, launch, dlsym(of->simulator, "snug_sim_num_params"), of->device, 0});
    }
    call.at("function", *function = made.get());
    return kSuccess;
  });
}

API cuFuncSetAttribute(Function function, FunctionAttribute attribute, int value) {
  Call call("cuFuncSetAttribute");
  auto *kernel = static_cast<Kernel *>(function);
  call.with("name", kernel->name).with("attribute", uint64_t(attribute)).with("value", uint64_t(value));
  return call.run([&]() -> Result {
    int most = chip() == 80 ? 163 << 10 : 227 << 10;
    if (attribute != kMaxDynamicSharedBytes || value < 0 || value > most)
      return kInvalidValue;
    return kernel->dynamicShared = uint32_t(value), kSuccess;
  });
}

//===-- Launches --------------------------------------------------------------------------------------------------===//

namespace {
struct View { // snug_sim_view
  const void *base;
  size_t bytes;
  int writable;
  const char *name;
  int param;
};
using SimNumParams = int (*)(void *entry);
using SimLaunch = int (*)(void *entry, const uint32_t grid[3], const uint32_t block[3], uint32_t dynamicShared, void **params,
                          const View *views, int numViews);
} // namespace

static Result runKernel(const Kernel &kernel, uint32_t blocks, uint32_t threads, uint32_t shared, std::vector<int64_t> values) {
  if (!kernel.launch)
    return kSuccess;
  std::vector<void *> params;
  for (int64_t &value : values)
    params.push_back(&value);
  params.push_back(nullptr);
  std::vector<View> views;
  for (const Allocation &one : state().memory.onDevices())
    if (one.device == kernel.device)
      views.push_back({one.base, one.bytes, 1, "an allocation", -1});
  const uint32_t grid[] = {blocks, 1, 1}, block[] = {threads, 1, 1};
  state().memory.open();
  int faults = reinterpret_cast<SimLaunch>(kernel.launch)(kernel.entry, grid, block, shared, params.data(), views.data(), int(views.size()));
  bool isWhole = state().memory.close();
  if (faults)
    reportFault("the simulator found " + std::to_string(faults) + " fault(s) in kernel '" + kernel.name + "'");
  return faults || !isWhole ? kLaunchFailed : kSuccess;
}

// The driver knows how many parameters a kernel has. Here they end with a NULL, and have 8 bytes each (include/snug/ModelABI.h).
API cuLaunchKernel(Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ,
                   unsigned sharedBytes, Stream handle, void **parameters, void **extra) {
  Call call("cuLaunchKernel");
  auto *kernel = static_cast<Kernel *>(function);
  std::vector<int64_t> values;
  std::string texts;
  for (void **parameter = parameters; parameter && *parameter; ++parameter) {
    values.emplace_back();
    memcpy(&values.back(), *parameter, sizeof(int64_t));
    texts += (texts.empty() ? "" : " ") + std::to_string(values.back());
  }
  call.with("kernel", kernel->name).with("blocks", gridX).with("threads", blockX).with("shared", sharedBytes).at("stream", handle);
  call.with("parameters", texts);
  return call.run([&]() -> Result {
    FakeStream *stream = streamOf(handle);
    bool isPossible = gridX && gridX <= 0x7fffffff && gridY == 1 && gridZ == 1 && blockX && blockX <= 1024 && blockY == 1 && blockZ == 1;
    if (!stream)
      return kInvalidHandle;
    if (!isPossible || extra || !parameters || sharedBytes > std::max(kernel->dynamicShared, 48u << 10))
      return kInvalidValue;
    int wanted = kernel->numParams ? reinterpret_cast<SimNumParams>(kernel->numParams)(kernel->entry) : -1;
    if (wanted >= 0 && size_t(wanted) != values.size()) {
      reportFault("kernel '" + kernel->name + "' has " + std::to_string(wanted) + " parameters, and was given " + std::to_string(values.size()));
      return kInvalidValue;
    }
    if (kernel->device != currentDevice())
      return kInvalidContext;
    state().stats.launches += !stream->capture; // what is recorded is not done
    return enqueue(*stream, {[=] { return runKernel(*kernel, gridX, blockX, sharedBytes, values); }, kernel});
  });
}
