// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/Codegen.h"
#include "codegen/cpu/CpuTarget.h"
#include "codegen/cpu/EmitObject.h"
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
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Threading.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/FileSystem.h"
#include <atomic>
#include <chrono>

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

void snug::registerCodegenDialects(DialectRegistry &registry) {
  registry.insert<affine::AffineDialect, arith::ArithDialect, cf::ControlFlowDialect, func::FuncDialect,
                  index::IndexDialect, LLVM::LLVMDialect, linalg::LinalgDialect, math::MathDialect,
                  memref::MemRefDialect, scf::SCFDialect, ub::UBDialect, vector::VectorDialect, plan::PlanDialect>();
  registerNnDialect(registry);
  registerMeshDialect(registry);
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
}

namespace {
class Stopwatch {
public:
  explicit Stopwatch(double &ms) : ms(ms), start(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { ms += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(); }

private:
  double &ms;
  std::chrono::steady_clock::time_point start;
};

class Compiler {
public:
  Compiler(ModuleOp module, const CodegenOptions &options, CodegenReport &report)
      : module(module), options(options), report(report) {}

  LogicalResult run() {
    int64_t forStrings = stringBytes(module); // before equal kernels are one
    if (failed(outlineKernels(module, options, report)))
      return failure();
    dump(module, "plan");
    llvm::Expected<CpuTarget> expected = CpuTarget::create(options.march);
    if (!expected)
      return fail(1, llvm::toString(expected.takeError()));
    target = *expected;
    FailureOr<ModelSignature> signature = ModelSignature::read(module, options.threads);
    FailureOr<Weights> weights = Weights::plan(module);
    FailureOr<StringTable> strings = StringTable::plan(module);
    if (failed(signature) || failed(weights) || failed(strings))
      return fail(70, "the planned program is not complete");
    report.arenaBytes = signature->arenaBytes;
    report.weightsBytes = weights->bytes;

    std::vector<llvm::SmallVector<char, 0>> objects;
    if (failed(compileKernels(objects)))
      return failure();

    // Weights first: the library names them by their content.
    uint64_t library = static_cast<uint64_t>(libraryBytes(static_cast<int>(signature->threads)) + forStrings);
    HeaderInputs header{*signature, *strings, options.target, weights->bytes, library, std::nullopt, {}, {}};
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
    if (failed(finish(*signature, *weights, header, objects)))
      return failure();
    if (succeeded(files.commit(error)))
      return success();
    llvm::sys::fs::remove(options.outputPath);
    return fail(5, error);
  }

private:
  LogicalResult fail(int code, const std::string &message) {
    report.exitCode = code;
    report.error = message;
    return module.emitError(message);
  }
  std::string dumpPrefix(const std::string &name) {
    return options.dumpDirectory.empty() ? "" : options.dumpDirectory + "/" + name;
  }
  void dump(ModuleOp op, const std::string &name) {
    if (options.dumpDirectory.empty())
      return;
    std::error_code code;
    llvm::raw_fd_ostream os(dumpPrefix(name) + ".mlir", code);
    if (!code)
      op.print(os, OpPrintingFlags().useLocalScope());
  }

  // Kernels are compiled in groups, whose number depends on nothing but the program.
  LogicalResult compileKernels(std::vector<llvm::SmallVector<char, 0>> &objects) {
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
    objects.resize(groups.size());
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
        dump(*groups[i], name);
        if (failed(convertToLLVM(*groups[i], options.verify)))
          return failure();
      }
      Stopwatch watch(llvmMs[i]);
      // This may be a worker thread, which a host of the compiler cannot watch.
      LogicalResult emitted = failure();
      llvm::CrashRecoveryContext guard;
      guard.DumpStackAndCleanupOnFailure = true;
      guard.RunSafely([&] { emitted = emitObject(*groups[i], target, addKernelEntries, dumpPrefix(name), objects[i]); });
      return emitted;
    });
    for (size_t i = 0; i < groups.size(); ++i) {
      report.lowerMs += lowerMs[i];
      report.llvmMs += llvmMs[i];
    }
    if (succeeded(result))
      return result;
    return unsupported ? fail(3, "the model needs a kernel that code generation does not have")
                       : fail(70, "a kernel could not be compiled");
  }

  LogicalResult finish(const ModelSignature &signature, const Weights &weights, const HeaderInputs &header,
                       std::vector<llvm::SmallVector<char, 0>> &objects) {
    {
      Stopwatch watch(report.lowerMs);
      auto main = module.lookupSymbol<func::FuncOp>("main");
      FailureOr<OwningOpRef<ModuleOp>> host = buildHostModule(module, main, signature, weights, header.strings);
      if (failed(host))
        return fail(70, "the host program could not be built");
      dump(**host, "host");
      if (failed(convertToLLVM(**host, options.verify)))
        return fail(70, "the host program could not be lowered");
      objects.emplace_back();
      if (failed(emitObject(
              **host, target, [&](llvm::Module &code) { addModelHeader(code, header); }, dumpPrefix("host"),
              objects.back())))
        return fail(70, "the host program could not be compiled");
    }
    Stopwatch watch(report.linkMs);
    std::string error;
    int exitCode;
    if (failed(linkSharedLibrary(objects, options.outputPath, error, exitCode)))
      return fail(exitCode, error);
    return success();
  }

  ModuleOp module;
  const CodegenOptions &options;
  CodegenReport &report;
  CpuTarget target;
};
} // namespace

LogicalResult snug::compileToLibrary(ModuleOp module, const CodegenOptions &options, CodegenReport &report) {
  report = {};
  // What this stage makes ops of, besides what the program already uses.
  module.getContext()
      ->loadDialect<affine::AffineDialect, arith::ArithDialect, func::FuncDialect, linalg::LinalgDialect,
                    LLVM::LLVMDialect, math::MathDialect, memref::MemRefDialect, plan::PlanDialect, scf::SCFDialect,
                    vector::VectorDialect, cf::ControlFlowDialect, ub::UBDialect>();
  LogicalResult result = Compiler(module, options, report).run();
  if (failed(result) && report.exitCode == 0)
    report.exitCode = 70;
  return result;
}
