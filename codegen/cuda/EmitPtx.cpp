// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/EmitPtx.h"
#include "codegen/cuda/GpuToNvvm.h"
#include "codegen/cuda/Toolkit.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Target/LLVM/ModuleToObject.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace snug::codegen;

namespace {
// The PTX version, as a feature of LLVM's target. Not the latest one, as PTX in a library is compiled by the driver
// that is there: 8.0 has all that kernels use, and for chips that came after it LLVM takes the first one that knows
// them.
const char *ptxVersion(StringRef chip) {
  StringRef number = chip.drop_front(3).take_while(llvm::isDigit);
  return is_contained({"75", "80", "86", "87", "89", "90"}, number) ? "+ptx80" : "";
}

class PtxEmitter : public LLVM::ModuleToObject {
public:
  PtxEmitter(gpu::GPUModuleOp module, const CudaToolkit &toolkit, StringRef chip)
      : ModuleToObject(*module, kGpuTriple, chip, ptxVersion(chip), /*optLevel=*/3), toolkit(toolkit) {}
  std::string dumpPath;

protected:
  std::optional<SmallVector<std::unique_ptr<llvm::Module>>> loadBitcodeFiles(llvm::Module &code) override {
    SmallVector<std::unique_ptr<llvm::Module>> libraries;
    libraries.push_back(loadBitcodeFile(code.getContext(), toolkit.libdevice));
    if (!libraries.back())
      return std::nullopt;
    return libraries;
  }

  FailureOr<SmallVector<char, 0>> moduleToObject(llvm::Module &code) override {
    if (failed(checkCalls(code)))
      return failure();
    if (!dumpPath.empty()) {
      std::error_code failed;
      llvm::raw_fd_ostream os(dumpPath, failed);
      if (failed)
        llvm::errs() << "cannot write " << dumpPath << ": " << failed.message() << "\n";
      else
        code.print(os, nullptr);
    }
    FailureOr<llvm::TargetMachine *> machine = getOrCreateTargetMachine();
    if (failed(machine))
      return failure();
    FailureOr<SmallString<0>> ptx = translateModuleToISA(code, **machine, [&] { return getOperation().emitError(); });
    if (failed(ptx))
      return failure();
    return SmallVector<char, 0>(ptx->begin(), ptx->end());
  }

private:
  // ptxas would name neither the kernel nor the place.
  LogicalResult checkCalls(llvm::Module &code) {
    for (llvm::Function &function : code)
      for (llvm::Instruction &instruction : llvm::instructions(function))
        if (auto *call = dyn_cast<llvm::CallBase>(&instruction))
          if (llvm::Function *callee = call->getCalledFunction();
              callee && callee->isDeclaration() && !callee->isIntrinsic()) {
            Operation *kernel = SymbolTable::lookupSymbolIn(&getOperation(), function.getName());
            return mlir::emitError((kernel ? kernel : &getOperation())->getLoc(), "kernel '")
                   << function.getName() << "' calls '" << callee->getName() << "', which libdevice does not have";
          }
    return success();
  }

  const CudaToolkit &toolkit;
};
} // namespace

FailureOr<std::string> snug::codegen::emitPtx(gpu::GPUModuleOp module, const CudaToolkit &toolkit,
                                              const std::string &chip, const std::string &dumpPath) {
  PtxEmitter emitter(module, toolkit, chip);
  emitter.dumpPath = dumpPath;
  std::optional<SmallVector<char, 0>> ptx = emitter.run();
  if (!ptx)
    return failure();
  return std::string(ptx->begin(), ptx->end());
}
