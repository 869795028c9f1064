// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/AssembleKernels.h"
#include "codegen/cuda/EmitPtx.h"
#include "codegen/cuda/GpuToNvvm.h"
#include "codegen/cuda/Passes.h"
#include "codegen/cuda/PtxasOutput.h"
#include "codegen/cuda/ToolProcess.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Threading.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/GPU/GPUToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "snug/ExitCodes.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <atomic>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

namespace snug {
#define GEN_PASS_DEF_ASSEMBLEKERNELS
#include "codegen/cuda/Passes.h.inc"
} // namespace snug

namespace {
LogicalResult writeFile(const std::string &path, StringRef content) {
  std::error_code code;
  llvm::raw_fd_ostream os(path, code);
  if (!code)
    os << content;
  os.close();
  bool failed = code || os.has_error();
  os.clear_error();
  if (failed)
    llvm::errs() << "cannot write " << path << "\n";
  return failure(failed);
}

class Assembler {
public:
  Assembler(gpu::GPUModuleOp module, const CudaToolkit &toolkit, const AssembleOptions &options)
      : module(module), toolkit(toolkit), options(options) {}
  std::atomic<int> exitCode = SNUG_EXIT_FAULT;

  FailureOr<GpuImage> run() {
    std::vector<Assembled> chips(options.chips.size());
    if (failed(failableParallelForEachN(module.getContext(), 0, chips.size(), [&](size_t i) {
          // This may be a worker thread, which a host of the compiler cannot watch.
          LogicalResult done = failure();
          llvm::CrashRecoveryContext guard;
          guard.DumpStackAndCleanupOnFailure = true;
          guard.RunSafely([&] { done = assemble(options.chips[i], chips[i]); });
          return done;
        })))
      return failure();
    return bundle(chips);
  }

private:
  struct Assembled {
    std::optional<MemoryFile> ptx, cubin;
    std::vector<KernelResources> resources;
  };

  // LLVM would stop the process at an op that the chip does not have.
  LogicalResult check(const std::string &chip) {
    auto have = NVVM::NVVMCheckSMVersion::getTargetSMVersionFromStr(chip);
    WalkResult result = module.walk([&](Operation *op) {
      auto stated = dyn_cast<NVVM::RequiresSMInterface>(op);
      bool unstated = isa<NVVM::CpAsyncOp, NVVM::CpAsyncCommitGroupOp, NVVM::CpAsyncWaitGroupOp, NVVM::MmaOp>(op);
      if ((!stated || stated.getRequiredMinSMVersion().isCompatibleWith(have)) &&
          (!unstated || NVVM::NVVMCheckSMVersion(false, 80).isCompatibleWith(have)))
        return WalkResult::advance();
      auto kernel = op->getParentOfType<LLVM::LLVMFuncOp>();
      mlir::emitError(kernel.getLoc(), "kernel '") << kernel.getSymName() << "' is made with " << op->getName()
                                                   << ", which " << chip << " does not have; leave this chip out";
      exitCode = SNUG_EXIT_UNSUPPORTED;
      return WalkResult::interrupt();
    });
    return failure(result.wasInterrupted());
  }

  // The machine, not the program, is in the way.
  LogicalResult fail(llvm::Error error) {
    exitCode = SNUG_EXIT_MACHINE;
    return mlir::emitError(module.getLoc(), llvm::toString(std::move(error)));
  }
  // Into `file`, a file with that content.
  LogicalResult make(std::optional<MemoryFile> &file, StringRef content = {}) {
    llvm::Expected<MemoryFile> made = MemoryFile::create();
    if (!made)
      return fail(made.takeError());
    file.emplace(std::move(*made));
    if (llvm::Error error = file->write(content))
      return fail(std::move(error));
    return success();
  }
  std::string dumpPath(const std::string &chip, const char *suffix) {
    return options.dumpPrefix.empty() ? "" : options.dumpPrefix + "." + chip + suffix;
  }

  LogicalResult assemble(const std::string &chip, Assembled &result) {
    if (failed(check(chip)))
      return failure();
    FailureOr<std::string> ptx = emitPtx(module, toolkit, chip, dumpPath(chip, ".ll"));
    if (failed(ptx))
      return failure();
    if (failed(assemble(chip, *ptx, result)))
      return failure();
    SmallVector<StringRef> spilled;
    for (const KernelResources &one : result.resources)
      if (one.spillStoreBytes + one.spillLoadBytes)
        spilled.push_back(one.kernel);
    // ptxas spills registers so that more blocks are on a processor at once, even where one register would do. Then it may take
    // as many as it likes; a kernel that spills still, has too many values.
    if (spilled.empty())
      return success();
    std::string relaxed = withoutOccupancy(*ptx, spilled);
    return assemble(chip, relaxed, result);
  }

  LogicalResult assemble(const std::string &chip, StringRef ptx, Assembled &result) {
    result.resources.clear();
    if (!options.dumpPrefix.empty())
      (void)writeFile(dumpPath(chip, ".ptx"), ptx);
    if (failed(make(result.ptx, ptx)) || failed(make(result.cubin)))
      return failure();
    // Kernels side by side on what processors there are: their number changes nothing in what is made.
    llvm::Expected<ToolResult> ptxas = runTool(toolkit.ptxas, {"-v", "-O3", "--split-compile=0", "-arch=" + chip,
                                                               result.ptx->path(), "-o", result.cubin->path()});
    if (!ptxas)
      return fail(ptxas.takeError());
    if (!options.dumpPrefix.empty())
      (void)writeFile(dumpPath(chip, ".ptxas.txt"), ptxas->output);
    if (ptxas->status)
      return reportRefusal(module, chip, ptx, ptxas->output);
    return readResources(module, chip, ptxas->output, result.resources);
  }

  FailureOr<GpuImage> bundle(const std::vector<Assembled> &chips) {
    GpuImage image;
    std::optional<MemoryFile> file;
    if (failed(make(file)))
      return failure();
    std::vector<std::string> arguments{"--64", "--create", file->path()};
    auto add = [&](StringRef kind, StringRef chip, const MemoryFile &content) {
      arguments.push_back(("--image3=kind=" + kind + ",sm=" + chip.drop_front(3) + ",file=" + content.path()).str());
    };
    // The toolkit's chips are in the order of their age.
    for (const std::string &chip : toolkit.chips)
      if (isdigit(chip.back()) && llvm::is_contained(options.chips, chip))
        image.ptxChip = chip;
    for (auto [chip, assembled] : llvm::zip_equal(options.chips, chips)) {
      add("elf", chip, *assembled.cubin);
      if (chip == image.ptxChip)
        add("ptx", chip, *assembled.ptx);
    }
    llvm::Expected<ToolResult> fatbinary = runTool(toolkit.fatbinary, arguments);
    if (!fatbinary)
      return fail(fatbinary.takeError());
    if (fatbinary->status)
      return mlir::emitError(module.getLoc(), "fatbinary refuses what ptxas made (exit status ")
             << fatbinary->status << "): " << StringRef(fatbinary->output).trim();
    llvm::Expected<std::string> bytes = file->read();
    if (!bytes)
      return fail(bytes.takeError());
    image.bytes.assign(bytes->begin(), bytes->end());
    // Kernel by kernel; each chip has all of them in the same order.
    for (size_t kernel = 0; kernel < chips.front().resources.size(); ++kernel)
      for (const Assembled &assembled : chips)
        image.resources.push_back(assembled.resources[kernel]);
    return image;
  }

  gpu::GPUModuleOp module;
  const CudaToolkit &toolkit;
  const AssembleOptions &options;
};

struct AssembleKernelsPass : snug::impl::AssembleKernelsBase<AssembleKernelsPass> {
  using AssembleKernelsBase::AssembleKernelsBase;

  void getDependentDialects(DialectRegistry &registry) const override { registerCudaDialects(registry); }

  void runOnOperation() override {
    gpu::GPUModuleOp module = getOperation();
    auto fail = [&](llvm::Error error) {
      mlir::emitError(module.getLoc(), llvm::toString(std::move(error)));
      signalPassFailure();
    };
    if (chips.empty())
      return fail(llvm::createStringError("no chips are given: chips=sm_80,sm_90"));
    llvm::Expected<CudaToolkit> found = CudaToolkit::find(toolkit);
    if (!found)
      return fail(found.takeError());
    AssembleOptions options;
    options.chips.assign(chips.begin(), chips.end());
    options.dumpPrefix = dump;
    if (llvm::Error error = found->check(options.chips))
      return fail(std::move(error));
    int exitCode;
    FailureOr<GpuImage> image = assembleKernels(module, *found, options, exitCode);
    if (failed(image) ||
        (!output.empty() && failed(writeFile(output, StringRef(image->bytes.data(), image->bytes.size())))))
      return signalPassFailure();
    for (const KernelResources &each : image->resources)
      mlir::emitRemark(module.lookupSymbol(each.kernel)->getLoc(), each.kernel)
          << " on " << each.chip << ": " << each.registers << " registers, " << each.sharedBytes << " B shared, "
          << each.stackBytes << " B stack, " << each.spillStoreBytes << " + " << each.spillLoadBytes << " B spilled";
  }
};
} // namespace

void snug::codegen::registerCudaDialects(DialectRegistry &registry) {
  registry.insert<affine::AffineDialect, arith::ArithDialect, cf::ControlFlowDialect, gpu::GPUDialect,
                  LLVM::LLVMDialect, math::MathDialect, memref::MemRefDialect, nvgpu::NVGPUDialect, NVVM::NVVMDialect,
                  scf::SCFDialect, ub::UBDialect, vector::VectorDialect>();
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerGPUDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
}

FailureOr<GpuImage> snug::codegen::assembleKernels(gpu::GPUModuleOp module, const CudaToolkit &toolkit,
                                                   const AssembleOptions &options, int &exitCode) {
  exitCode = SNUG_EXIT_FAULT;
  PassManager lower(module.getContext(), gpu::GPUModuleOp::getOperationName());
  lower.enableVerifier(options.verify);
  addGpuToNvvmPasses(lower);
  if (failed(lower.run(module)))
    return failure();
  Assembler assembler(module, toolkit, options);
  FailureOr<GpuImage> image = assembler.run();
  exitCode = succeeded(image) ? SNUG_EXIT_DONE : assembler.exitCode.load();
  return image;
}
