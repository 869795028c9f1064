// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/core/Device.h"
#include "runtime/core/Bind.h"
#include "runtime/core/Model.h"
#include "runtime/cpu/CpuDevice.h"
#include "runtime/cuda/CudaDevice.h"

using namespace snug;

std::unique_ptr<Device> snug::openDevice(snug_model &model, const snug_context_options &options, uint64_t arenaBytes) {
  if (deviceKind(*model.header) == SNUG_DEVICE_CUDA) // others were refused when it was loaded
    return std::make_unique<cuda::CudaDevice>(model, options, arenaBytes);
  return std::make_unique<cpu::CpuDevice>(model, options, arenaBytes);
}

snug_error *snug_device_count(uint32_t kind, uint32_t *out_count) {
  return guard([&] {
    int count = 1;
    if (kind == SNUG_DEVICE_CUDA)
      cuda::check(cuda::driver().cuDeviceGetCount(&count), "count the devices");
    else if (kind != SNUG_DEVICE_CPU)
      throw Failure(SNUG_EXIT_USAGE, "there is no kind " + std::to_string(kind) + " of devices; snug_device_kind has them");
    *out_count = uint32_t(count);
  });
}
