// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/Nccl.h"

#include <dlfcn.h>
#include <memory>
#include <mutex>

using namespace snug;
using namespace snug::cuda;

static Failure missing(const std::string &why) {
  return Failure(SNUG_EXIT_MACHINE, "the model is cut for a mesh of GPUs, which send to each other by NCCL, and " + why +
                                        " (pip package nvidia-nccl-cu13 or nvidia-nccl-cu12, Debian package libnccl2), or compile the "
                                        "model for one device");
}

static std::unique_ptr<Nccl> openNccl() {
  const char *name = "libnccl.so.2";
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL); // never closed: it has threads of its own
  if (!library) {
    const char *why = dlerror();
    throw missing(std::string("there is none here (") + (why ? why : name) + "): install it");
  }
  auto table = std::make_unique<Nccl>();
#define SNUG_NCCL_LOAD(name, result, parameters)                                                                       \
  if (!(table->name = reinterpret_cast<decltype(table->name)>(dlsym(library, #name))))                                 \
    throw missing("the one here has no function " #name ": update it");
  SNUG_NCCL_FUNCTIONS(SNUG_NCCL_LOAD)
#undef SNUG_NCCL_LOAD
  if (table->ncclGetVersion(&table->version) != kNcclSuccess)
    throw missing("the one here does not say its version: install it again");
  return table;
}

const Nccl &cuda::nccl() {
  static std::mutex mutex;
  static std::unique_ptr<Nccl> opened;
  std::lock_guard<std::mutex> lock(mutex);
  if (!opened)
    opened = openNccl();
  return *opened;
}

std::string cuda::ncclVersionText(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
}

std::string cuda::ncclErrorText(NcclResult result) {
  const char *text = nccl().ncclGetErrorString(result), *last = nccl().ncclGetLastError(nullptr);
  return std::string(text ? text : "error") + " (" + std::to_string(result) + ")" + (last && *last ? std::string(": ") + last : "");
}

bool cuda::ncclCombination(const snug_collective_info &info, NcclType &type, NcclReduction &reduction) {
  static const NcclReduction reductions[] = {kNcclSum, kNcclMax, kNcclMin, kNcclProd}; // by snug_reduction
  if (info.dtype.lanes != 1 || info.reduction > SNUG_REDUCE_PROD)
    return false;
  reduction = reductions[info.reduction];
  auto is = [&](NcclType which) { return type = which, true; };
  switch (info.dtype.code << 8 | info.dtype.bits) { // as DLPack has them
  case 0 << 8 | 8: return is(kNcclInt8);
  case 0 << 8 | 32: return is(kNcclInt32);
  case 0 << 8 | 64: return is(kNcclInt64);
  case 1 << 8 | 8: return is(kNcclUint8);
  case 1 << 8 | 32: return is(kNcclUint32);
  case 1 << 8 | 64: return is(kNcclUint64);
  case 2 << 8 | 16: return is(kNcclFloat16);
  case 2 << 8 | 32: return is(kNcclFloat32);
  case 2 << 8 | 64: return is(kNcclFloat64);
  case 4 << 8 | 16: return is(kNcclBfloat16);
  case 6 << 8 | 8:
    reduction = info.reduction == SNUG_REDUCE_SUM || info.reduction == SNUG_REDUCE_MAX ? kNcclMax : kNcclMin;
    return is(kNcclUint8);
  default: return false;
  }
}
