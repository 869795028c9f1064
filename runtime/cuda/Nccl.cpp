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
