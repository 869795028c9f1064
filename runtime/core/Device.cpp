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
