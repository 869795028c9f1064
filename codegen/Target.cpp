// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/Target.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/cuda/Kernels.h"

using namespace snug;
using namespace snug::codegen;

llvm::Expected<Target> Target::create(const std::string &target, const std::string &march) {
  llvm::Expected<CpuTarget> host = CpuTarget::create(march);
  if (!host)
    return llvm::createStringError("--march: " + llvm::toString(host.takeError()));
  Target made{*host, nullptr};
  if (target == "cpu") {
    made.kernels = std::make_unique<CpuKernels>(*host);
    return made;
  }
  llvm::Expected<std::vector<std::string>> chips = parseCudaChips(target);
  if (!chips)
    return chips.takeError();
  made.kernels = std::make_unique<CudaKernels>(*chips);
  return made;
}
