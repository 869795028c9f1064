// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug-gpu-sim-build IN.mlir OUT.so [DUMP_PREFIX]: the kernels of IN's gpu.modules as a shared library of host code for the
// simulator (sim/Sim.h). Exit codes: 0; 1: how it is called; 2: IN cannot be read; 3: it cannot be lowered; else those of the
// linker (codegen/link/Link.h).
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/EmitObject.h"
#include "codegen/link/Link.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"
#include "test/gpu/lower/KernelTable.h"
#include "test/gpu/lower/Passes.h"

using namespace mlir;

int main(int argc, char **argv) {
  if (argc < 3) {
    llvm::errs() << "usage: snug-gpu-sim-build IN.mlir OUT.so [DUMP_PREFIX]\n";
    return 1;
  }
  DialectRegistry registry;
  registerAllDialects(registry);
  registerAllExtensions(registry);
  registerAllToLLVMIRTranslations(registry);
  MLIRContext context(registry);
  context.allowUnregisteredDialects(); // attributes that say something to the compiler only
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(argv[1], &context);
  if (!module)
    return 2;
  PassManager pm(&context);
  snug::sim::addHostPasses(pm);
  if (failed(pm.run(*module)))
    return 3;
  llvm::Expected<snug::codegen::CpuTarget> host = snug::codegen::CpuTarget::create("");
  if (!host) {
    llvm::errs() << "snug-gpu-sim-build: " << llvm::toString(host.takeError()) << "\n";
    return 3;
  }
  std::vector<SmallVector<char, 0>> objects(1);
  auto finish = [&](llvm::Module &code) { snug::sim::addKernelTable(*module, code); };
  if (failed(snug::codegen::emitObject(*module, *host, finish, argc > 3 ? argv[3] : "", objects.front())))
    return 3;
  std::string error;
  int exitCode = 0;
  if (failed(snug::codegen::linkSharedLibrary(objects, argv[2], error, exitCode))) {
    llvm::errs() << "snug-gpu-sim-build: " << error << "\n";
    return exitCode;
  }
  return 0;
}
