// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/CublasLt.h"

#include <dlfcn.h>
#include <memory>
#include <mutex>

using namespace snug;

static Failure missing(const std::string &why) {
  return Failure(SNUG_EXIT_MACHINE, "the model multiplies matrices with NVIDIA's cuBLASLt, and " + why +
                                        ", or compile the model with --gpu-libraries none");
}

static std::unique_ptr<cublaslt::Library> openLibrary() {
  std::string tried;
  for (const char *name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL); // never closed: it may have threads of its own
    if (!library) {
      const char *why = dlerror();
      tried += (tried.empty() ? "" : "; ") + std::string(why ? why : name);
      continue;
    }
    auto table = std::make_unique<cublaslt::Library>();
    const char *lacks = nullptr;
    auto find = [&](const char *function) {
      void *found = dlsym(library, function);
      lacks = found ? lacks : function;
      return found;
    };
#define SNUG_CUBLASLT_LOAD(function, parameters)                                                                       \
  table->function = reinterpret_cast<decltype(table->function)>(find(#function));
    SNUG_CUBLASLT_FUNCTIONS(SNUG_CUBLASLT_LOAD)
#undef SNUG_CUBLASLT_LOAD
    table->cublasLtGetStatusName = reinterpret_cast<decltype(table->cublasLtGetStatusName)>(find("cublasLtGetStatusName"));
    table->cublasLtGetVersion = reinterpret_cast<decltype(table->cublasLtGetVersion)>(find("cublasLtGetVersion"));
    if (lacks)
      throw missing(std::string(name) + " has no function " + lacks + ": update it");
    return table;
  }
  throw missing("that library is not here (" + tried +
                "): install it (with the CUDA toolkit, or the Python package nvidia-cublas), name its folder in LD_LIBRARY_PATH");
}

const cublaslt::Library &cublaslt::library() {
  static std::mutex mutex;
  static std::unique_ptr<Library> opened;
  std::lock_guard<std::mutex> lock(mutex);
  if (!opened)
    opened = openLibrary();
  return *opened;
}

std::string cublaslt::errorText(Status status) {
  const char *name = library().cublasLtGetStatusName(status);
  return std::string(name ? name : "error") + " (" + std::to_string(status) + ")";
}
