// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/Nccl.h"
#include "runtime/cuda/SharedLibrary.h"

using namespace snug;
using namespace snug::cuda;

static Failure missing(const std::string &why) {
  return Failure(SNUG_EXIT_MACHINE, "the model is cut for a mesh of GPUs, which send to each other by NCCL, and " + why +
                                        " (pip package nvidia-nccl-cu13 or nvidia-nccl-cu12, Debian package libnccl2), or compile the "
                                        "model for one device");
}

static std::unique_ptr<Nccl> openNccl() {
  SharedLibrary library({"libnccl.so.2"});
  if (!library.handle)
    throw missing("there is none here (" + library.problem + "): install it");
  auto table = std::make_unique<Nccl>();
#define SNUG_NCCL_LOAD(name, result, parameters) library.find(#name, table->name);
  SNUG_NCCL_FUNCTIONS(SNUG_NCCL_LOAD)
#undef SNUG_NCCL_LOAD
  if (library.lacks)
    throw missing(std::string("the one here has no function ") + library.lacks + ": update it");
  if (table->ncclGetVersion(&table->version) != kNcclSuccess)
    throw missing("the one here does not say its version: install it again");
  return table;
}

const Nccl &cuda::nccl() { return openedOnce(openNccl); }

std::string cuda::ncclVersionText(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
}

std::string cuda::ncclErrorText(NcclResult result) {
  const char *text = nccl().ncclGetErrorString(result), *last = nccl().ncclGetLastError(nullptr);
  return std::string(text ? text : "error") + " (" + std::to_string(result) + ")" + (last && *last ? std::string(": ") + last : "");
}
