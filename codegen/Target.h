// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What --target and --march name.
#ifndef SNUG_CODEGEN_TARGET_H
#define SNUG_CODEGEN_TARGET_H

#include "codegen/cpu/CpuTarget.h"
#include "codegen/kernel/KernelTarget.h"

namespace snug::codegen {

struct Target {
  CpuTarget host;                        // runs the host program
  std::unique_ptr<KernelTarget> kernels; // runs the kernels

  // `target` as given to --target, `march` as LLVM names a CPU (empty: this machine's). The error says what is wrong with
  // the one or the other.
  static llvm::Expected<Target> create(const std::string &target, const std::string &march);
};

} // namespace snug::codegen
#endif
