// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cpu/CpuTarget.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/TargetParser/Host.h"
#include <mutex>

using namespace snug::codegen;

llvm::Expected<CpuTarget> CpuTarget::create(const std::string &march) {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
  });
  CpuTarget target;
  target.triple = llvm::sys::getDefaultTargetTriple();
  if (march.empty() || march == "native") {
    target.cpu = llvm::sys::getHostCPUName().str();
    // Sorted, so that the same machine gives the same bytes.
    std::vector<std::string> features;
    for (const auto &feature : llvm::sys::getHostCPUFeatures())
      features.push_back((feature.second ? "+" : "-") + feature.first().str());
    llvm::sort(features);
    for (const std::string &feature : features)
      target.features += (target.features.empty() ? "" : ",") + feature;
  }
  std::unique_ptr<llvm::TargetMachine> machine = target.createMachine();
  if (!machine)
    return llvm::createStringError("LLVM has no code generator for " + target.triple);
  if (target.cpu.empty()) {
    // Asked of a machine without a CPU: one with an unknown CPU would print warnings of its own.
    if (!machine->getMCSubtargetInfo()->isCPUStringValid(march))
      return llvm::createStringError("LLVM knows no CPU '" + march + "' for " + target.triple +
                                     "; leave --march out for this machine's CPU");
    target.cpu = march;
    machine = target.createMachine();
  }
  const llvm::MCSubtargetInfo *subtarget = machine->getMCSubtargetInfo();
  llvm::Triple parsed(target.triple);
  target.convertsF16 = parsed.isX86() ? subtarget->checkFeatures("+f16c") : parsed.isAArch64();
  if (subtarget->checkFeatures("+avx512f"))
    target.vectorBits = 512;
  else if (subtarget->checkFeatures("+avx"))
    target.vectorBits = 256;
  return target;
}

std::unique_ptr<llvm::TargetMachine> CpuTarget::createMachine() const {
  llvm::Triple parsed(triple);
  std::string error;
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(parsed, error);
  if (!backend)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard; // of what says so (fuseMultiplyAdds), and nothing else
  return std::unique_ptr<llvm::TargetMachine>(backend->createTargetMachine(
      parsed, cpu, features, options, llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Default));
}
