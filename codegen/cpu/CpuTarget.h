// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_CODEGEN_CPU_CPUTARGET_H
#define SNUG_CODEGEN_CPU_CPUTARGET_H

#include "llvm/Support/Error.h"
#include "llvm/Target/TargetMachine.h"
#include <memory>
#include <string>

namespace snug::codegen {

// The CPU that code is made for. Immutable; shared by threads.
struct CpuTarget {
  std::string cpu, features, triple;
  int64_t vectorBits = 128;
  bool convertsF16 = false; // has instructions for both ways between f16 and f32

  // `march` empty: this machine. Its features are asked for besides its name, because LLVM's name table is behind.
  static llvm::Expected<CpuTarget> create(const std::string &march);
  // TargetMachines are not thread-safe, so each worker makes its own.
  std::unique_ptr<llvm::TargetMachine> createMachine() const;
};

} // namespace snug::codegen
#endif
