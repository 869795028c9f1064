// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/CublasLt.h"
#include "runtime/cuda/SharedLibrary.h"

using namespace snug;

static Failure missing(const std::string &why) {
  return Failure(SNUG_EXIT_MACHINE, "the model multiplies matrices with NVIDIA's cuBLASLt, and " + why +
                                        ", or compile the model with --gpu-libraries none");
}

static std::unique_ptr<cublaslt::Library> openLibrary() {
  cuda::SharedLibrary library({"libcublasLt.so.13", "libcublasLt.so.12"});
  if (!library.handle)
    throw missing("that library is not here (" + library.problem +
                  "): install it (with the CUDA toolkit, or the Python package nvidia-cublas), name its folder in LD_LIBRARY_PATH");
  auto table = std::make_unique<cublaslt::Library>();
#define SNUG_CUBLASLT_LOAD(function, parameters) library.find(#function, table->function);
  SNUG_CUBLASLT_FUNCTIONS(SNUG_CUBLASLT_LOAD)
#undef SNUG_CUBLASLT_LOAD
  library.find("cublasLtGetStatusName", table->cublasLtGetStatusName);
  library.find("cublasLtGetVersion", table->cublasLtGetVersion);
  if (library.lacks)
    throw missing(library.name + " has no function " + library.lacks + ": update it");
  return table;
}

const cublaslt::Library &cublaslt::library() { return cuda::openedOnce(openLibrary); }

std::string cublaslt::errorText(Status status) {
  const char *name = library().cublasLtGetStatusName(status);
  return std::string(name ? name : "error") + " (" + std::to_string(status) + ")";
}
