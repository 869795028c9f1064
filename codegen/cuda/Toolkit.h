// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CUDA_TOOLKIT_H
#define SNUG_CODEGEN_CUDA_TOOLKIT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace snug::codegen {

// What is used of the CUDA toolkit, to compile; nothing of it is linked. Immutable; shared by threads.
struct CudaToolkit {
  std::string ptxas, fatbinary;   // programs
  std::string libdevice;          // LLVM bitcode of math functions
  std::vector<std::string> chips; // those that this ptxas and this LLVM both have code for, from sm_75 on, oldest first

  // `folder` empty: of SNUG_CUDA_TOOLKIT, CUDA_HOME and CUDA_PATH the first that is set; else the first complete one
  // of /usr/local/cuda, where PATH has a ptxas, Debian's package, and the Python packages beside a folder of PATH.
  // An error (exit code 5) says what is missing where, and what to install.
  static llvm::Expected<CudaToolkit> find(const std::string &folder = "");

  // Whether code can be made for each of them, and none is named twice. The error (exit code 1) lists those that can
  // be.
  llvm::Error check(llvm::ArrayRef<std::string> wanted) const;
};

} // namespace snug::codegen
#endif
