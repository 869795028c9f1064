// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cuda/Cudnn.h"
#include "runtime/cuda/SharedLibrary.h"

using namespace snug;

static Failure missing(const std::string &why) {
  return Failure(SNUG_EXIT_MACHINE, "the model does convolutions with NVIDIA's cuDNN, and " + why +
                                        ", or compile the model with --gpu-libraries cublaslt or none");
}

static std::unique_ptr<cudnn::Library> openLibrary() {
  cuda::SharedLibrary library({"libcudnn.so.9"});
  if (!library.handle)
    throw missing("that library is not here (" + library.problem +
                  "): install it (the Python package nvidia-cudnn-cu13 or nvidia-cudnn-cu12), name its folder in LD_LIBRARY_PATH");
  auto table = std::make_unique<cudnn::Library>();
#define SNUG_CUDNN_LOAD(function, parameters) library.find(#function, table->function);
  SNUG_CUDNN_FUNCTIONS(SNUG_CUDNN_LOAD)
#undef SNUG_CUDNN_LOAD
  library.find("cudnnGetErrorString", table->cudnnGetErrorString);
  if (library.lacks)
    throw missing(library.name + " has no function " + library.lacks + ": update it");
  return table;
}

const cudnn::Library &cudnn::library() { return cuda::openedOnce(openLibrary); }

std::string cudnn::errorText(Status status) {
  const char *name = library().cudnnGetErrorString(status);
  return std::string(name ? name : "error") + " (" + std::to_string(status) + ")";
}
