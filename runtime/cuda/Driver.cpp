// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/Driver.h"
#include "runtime/cuda/SharedLibrary.h"

using namespace snug;

// The oldest driver that has all functions: that of CUDA 12.0.
static constexpr int kLeastVersion = 12000;

static Failure missing(const std::string &why) {
  return Failure(SNUG_EXIT_MACHINE, "the model computes on a GPU, and " + why + ", or compile the model with --target cpu");
}

static std::string versionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

static std::unique_ptr<cuda::Driver> openDriver() {
  cuda::SharedLibrary library({"libcuda.so.1"});
  if (!library.handle)
    throw missing("there is no CUDA driver here (" + library.problem + "): install NVIDIA's driver");
  // The version first: that of an old driver says more than a function that it lacks.
  int version = 0;
  auto getVersion = reinterpret_cast<cuda::Result (*)(int *)>(dlsym(library.handle, "cuDriverGetVersion"));
  if (!getVersion || getVersion(&version) != cuda::kSuccess || version < kLeastVersion)
    throw missing("the CUDA driver is one for CUDA " + versionText(version) + ": update it to one for CUDA " +
                  versionText(kLeastVersion) + " or later");
  auto table = std::make_unique<cuda::Driver>();
#define SNUG_CUDA_LOAD(name, suffix, parameters) library.find(#name #suffix, table->name);
  SNUG_CUDA_FUNCTIONS(SNUG_CUDA_LOAD)
#undef SNUG_CUDA_LOAD
  if (library.lacks)
    throw missing(std::string("the CUDA driver has no function ") + library.lacks + ": update it");
  if (cuda::Result result = table->cuInit(0); result == cuda::kNoDevice) {
    throw missing("the CUDA driver finds no GPU: run it where there is one (CUDA_VISIBLE_DEVICES may hide them)");
  } else if (result != cuda::kSuccess) {
    const char *text = nullptr;
    table->cuGetErrorString(result, &text);
    throw missing("the CUDA driver cannot be started (" + std::string(text ? text : "unknown error") + ", " +
                  std::to_string(result) + "): repair its installation");
  }
  return table;
}

const cuda::Driver &cuda::driver() { return cuda::openedOnce(openDriver); }

std::string cuda::errorText(Result result) {
  const char *name = nullptr, *text = nullptr;
  driver().cuGetErrorName(result, &name);
  driver().cuGetErrorString(result, &text);
  return std::string(name ? name : "error") + " (" + std::to_string(result) + ")" + (text ? std::string(": ") + text : "");
}

void cuda::check(Result result, const std::string &what, snug_exit_code code) {
  if (result != kSuccess)
    throw Failure(code, "CUDA could not " + what + ": " + errorText(result));
}
