// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/Codegen.h"
#include "codegen/Target.h"
#include "codegen/cpu/EmitObject.h"
#include "codegen/cuda/AssembleKernels.h"
#include "codegen/host/HostProgram.h"
#include "codegen/link/Link.h"
#include "codegen/link/StringTable.h"
#include "codegen/link/WeightFiles.h"
#include "codegen/link/Weights.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "dialects/plan/PlanDialect.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Index/IR/IndexDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

void snug::registerCodegenDialects(DialectRegistry &registry) {
  registry.insert<affine::AffineDialect, arith::ArithDialect, cf::ControlFlowDialect, func::FuncDialect,
                  index::IndexDialect, LLVM::LLVMDialect, linalg::LinalgDialect, math::MathDialect,
                  memref::MemRefDialect, scf::SCFDialect, ub::UBDialect, vector::VectorDialect, plan::PlanDialect>();
  registerNnDialect(registry);
  registerMeshDialect(registry);
  registerCudaDialects(registry);
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
}

namespace {
class Compiler {
public:
  Compiler(ModuleOp module, const CodegenOptions &options, CodegenReport &report)
      : module(module), options(options), report(report) {}

  LogicalResult run() {
    llvm::Expected<Target> expected = Target::create(options.target, options.march);
    if (!expected)
      return fail(1, llvm::toString(expected.takeError()));
    target = std::move(*expected);
    bool onGpu = target.kernels->gpuCapability() != 0;
    uint64_t library = static_cast<uint64_t>(libraryBytes(module, options.threads, onGpu)); // before equal kernels are one
    if (failed(outlineKernels(module, *target.kernels, options, report)))
      return failure();
    dump(module, options, "plan");
    FailureOr<ModelSignature> signature = ModelSignature::read(module, options.threads);
    FailureOr<Weights> weights = Weights::plan(module);
    FailureOr<StringTable> strings = StringTable::plan(module);
    if (failed(signature) || failed(weights) || failed(strings))
      return fail(70, "the planned program is not complete");
    report.arenaBytes = signature->arenaBytes;
    report.weightsBytes = weights->bytes;

    KernelCode code;
    if (failed(target.kernels->compile(module, options, code, report)))
      return failure();

    // Weights first: the library names them by their content.
    HeaderInputs header{*signature, *strings, code, target.kernels->name(), weights->bytes, library, std::nullopt, {}, {}};
    WeightFiles files(options.outputPath, signature->mesh);
    std::string error;
    DataFolder folder{options.modelDirectory, options.modelName, options.modelBytes};
    bool embed = weights->bytes && weights->bytes <= options.embedLimit && !signature->mesh;
    {
      Stopwatch watch(report.weightsMs);
      LogicalResult written = success();
      if (embed) {
        header.embedded.emplace();
        written = weights->stream(
            folder, /*rank=*/0,
            [&](ArrayRef<char> piece) { header.embedded->insert(header.embedded->end(), piece.begin(), piece.end()); },
            error);
        header.embeddedId = weights->id;
      } else if (weights->bytes) {
        written = files.write(*weights, folder, error);
        header.weightsFiles = files.written;
      }
      if (failed(written))
        return fail(StringRef(error).starts_with("cannot write") ? 5 : 2, error);
    }
    if (failed(finish(*signature, *weights, header, code)))
      return failure();
    if (succeeded(files.commit(error)))
      return success();
    llvm::sys::fs::remove(options.outputPath);
    return fail(5, error);
  }

private:
  LogicalResult fail(int code, const std::string &message) { return codegen::fail(module, report, code, message); }

  LogicalResult finish(const ModelSignature &signature, const Weights &weights, const HeaderInputs &header, KernelCode &code) {
    {
      Stopwatch watch(report.lowerMs);
      auto main = module.lookupSymbol<func::FuncOp>("main");
      FailureOr<OwningOpRef<ModuleOp>> host = buildHostModule(module, main, signature, weights, header.strings, code);
      if (failed(host))
        return fail(70, "the host program could not be built");
      dump(**host, options, "host");
      if (failed(convertToLLVM(**host, options.verify)))
        return fail(70, "the host program could not be lowered");
      code.objects.emplace_back();
      if (failed(emitObject(
              **host, target.host, [&](llvm::Module &translated) { addModelHeader(translated, header); },
              dumpPrefix(options, "host"), code.objects.back())))
        return fail(70, "the host program could not be compiled");
    }
    Stopwatch watch(report.linkMs);
    std::string error;
    int exitCode;
    if (failed(linkSharedLibrary(code.objects, options.outputPath, error, exitCode)))
      return fail(exitCode, error);
    return success();
  }

  ModuleOp module;
  const CodegenOptions &options;
  CodegenReport &report;
  Target target;
};
} // namespace

LogicalResult codegen::fail(ModuleOp module, CodegenReport &report, int code, const std::string &message) {
  report.exitCode = code;
  report.error = message;
  return module.emitError(message);
}

std::string codegen::dumpPrefix(const CodegenOptions &options, const std::string &name) {
  return options.dumpDirectory.empty() ? "" : options.dumpDirectory + "/" + name;
}

void codegen::dump(ModuleOp op, const CodegenOptions &options, const std::string &name) {
  if (options.dumpDirectory.empty())
    return;
  std::error_code code;
  llvm::raw_fd_ostream os(dumpPrefix(options, name) + ".mlir", code);
  if (!code)
    op.print(os, OpPrintingFlags().useLocalScope());
}

LogicalResult snug::compileToLibrary(ModuleOp module, const CodegenOptions &options, CodegenReport &report) {
  report = {};
  // What this stage makes ops of, besides what the program already uses.
  module.getContext()
      ->loadDialect<affine::AffineDialect, arith::ArithDialect, func::FuncDialect, linalg::LinalgDialect,
                    LLVM::LLVMDialect, math::MathDialect, memref::MemRefDialect, plan::PlanDialect, scf::SCFDialect,
                    vector::VectorDialect, cf::ControlFlowDialect, ub::UBDialect, gpu::GPUDialect, nvgpu::NVGPUDialect, NVVM::NVVMDialect>();
  LogicalResult result = Compiler(module, options, report).run();
  if (failed(result) && report.exitCode == 0)
    report.exitCode = 70;
  return result;
}

int64_t snug::assignLibraries(ModuleOp module, const std::string &target, const std::string &march,
                              const std::vector<std::string> &libraries) {
  llvm::Expected<Target> made = Target::create(target, march);
  if (!made) {
    llvm::consumeError(made.takeError()); // the compilation says it
    return 0;
  }
  return made->kernels->assignLibraries(module, libraries);
}

LogicalResult snug::checkKernels(ModuleOp module, const std::string &target, const std::string &march) {
  llvm::Expected<Target> made = Target::create(target, march);
  if (!made) {
    llvm::consumeError(made.takeError()); // no fact about the kernels; the compilation says it
    return success();
  }
  // Equal kernels of equal layers are all named: each is a node of the model.
  bool supported = succeeded(made->kernels->checkProgram(module));
  module.walk([&](Operation *op) {
    if (isKernelOp(op))
      supported &= succeeded(made->kernels->check(op));
  });
  return success(supported);
}
