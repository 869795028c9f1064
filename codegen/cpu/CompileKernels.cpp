// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/Codegen.h"
#include "codegen/cpu/EmitObject.h"
#include "codegen/cpu/Kernels.h"
#include "codegen/host/HostProgram.h"
#include "mlir/IR/Threading.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include <atomic>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

// Kernels are compiled in groups, whose number depends on nothing but the program.
LogicalResult CpuKernels::compile(ModuleOp module, const CodegenOptions &options, KernelCode &code,
                                  CodegenReport &report) const {
  constexpr size_t groupSize = 8;
  std::vector<OwningOpRef<ModuleOp>> groups;
  size_t count = 0;
  for (auto kernel : llvm::make_early_inc_range(module.getOps<func::FuncOp>())) {
    if (kernel.getSymName() == "main")
      continue;
    if (count++ % groupSize == 0)
      groups.push_back(ModuleOp::create(module.getLoc()));
    kernel->remove();
    groups.back()->push_back(kernel);
  }
  code.objects.resize(groups.size());
  std::atomic<bool> unsupported = false;
  std::vector<double> lowerMs(groups.size()), llvmMs(groups.size());
  LogicalResult result = failableParallelForEachN(module.getContext(), 0, groups.size(), [&](size_t i) {
    std::string name = "kernels" + std::to_string(i);
    {
      Stopwatch watch(lowerMs[i]);
      if (failed(lowerKernels(*groups[i], target))) {
        unsupported = true; // the op said what
        return failure();
      }
      dump(*groups[i], options, name);
      if (failed(convertToLLVM(*groups[i], options.verify)))
        return failure();
    }
    Stopwatch watch(llvmMs[i]);
    // This may be a worker thread, which a host of the compiler cannot watch.
    LogicalResult emitted = failure();
    llvm::CrashRecoveryContext guard;
    guard.DumpStackAndCleanupOnFailure = true;
    guard.RunSafely([&] { emitted = emitObject(*groups[i], target, addKernelEntries, dumpPrefix(options, name), code.objects[i]); });
    return emitted;
  });
  for (size_t i = 0; i < groups.size(); ++i) {
    report.lowerMs += lowerMs[i];
    report.llvmMs += llvmMs[i];
  }
  if (succeeded(result))
    return result;
  return unsupported ? fail(module, report, 3, "the model needs a kernel that code generation does not have")
                     : fail(module, report, 70, "a kernel could not be compiled");
}
